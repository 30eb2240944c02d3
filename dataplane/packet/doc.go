// Package packet looks at an Ethernet frame once, rewrites it in place, and makes the
// few frames that the firewall sends in its own name.
//
//	frame --Decode--> Parsed ----> (tracking, rules, route) ----> Rewrite.Apply
//	                    |                                         DecrementTTL
//	                    +--> AppendTimeExceeded, AppendReset, ... SetMACs
//
// Decode is the only place that trusts no length. It fills a caller-owned Parsed with
// the tuple, the offsets and the TCP fields, and every later stage slices by these
// offsets only. All lengths are int, and nothing is subtracted before it was compared.
//
// A VLAN tag is taken off before Decode and put on after everything else (vlan.go).
//
// Of an ICMP error DecodeQuote looks at what it quotes, as distrustfully, and Quote.Restore
// gives it back the form in which the quoted packet's sender knows it.
//
// Transport checksums are not verified on the path, except those of ICMP errors. They are only ever adjusted by the
// difference that a rewrite makes (RFC 1624; for SCTP see crc.go), so a packet that came in wrong goes out
// wrong and its receiver finds out (BEHAVIOUR A4).
//
// Inside, every address has one 16-byte form; the IP version matters to Decode, Apply
// and to the header writer of our own frames, nowhere else.
//
// Everything here is a pure function of its arguments: no allocation, no clock, no lock.
// Any number of workers may call it, each with its own frame and Parsed.
//
// What it is not: it keeps no state, reassembles no fragments, translates no payload,
// and does not decide: multicast, link-local or a TTL of 1 are facts that it tells, and
// the pipeline, which knows the node's addresses, acts on them.
package packet
