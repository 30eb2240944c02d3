// Package drop names why a packet died and counts it.
//
// Every stage of the packet path returns a Reason. The zero value is Unset, which
// is neither "pass" nor a known way to die: a stage that forgets to decide is
// counted as Unset and its packet is dropped, so nothing passes by accident.
//
// It stands on the ground floor, below package packet, because the decoder is the
// first stage that names a reason.
//
// Counters belong to one worker each: the worker alone writes its own set, anybody
// may read it at any time. Summation happens when somebody looks, never per packet.
package drop
