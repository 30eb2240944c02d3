// Package capture tells of the packets that rules want logged: a structured line for each,
// and the packet itself in a pcapng file, with what was decided of it as its comment.
//
//	workers' rings (dataplane.PacketLog) --> Logger.Run --> rates --> line (slog)
//	                                                             \--> File (pcapng)
//
// A Logger is one goroutine (Run), which alone writes lines and files; Counts may be asked
// from any. Nothing here can hold up a worker: what the Logger does not take in time the
// rings shed, and count.
//
// What is too much is suppressed before it is formatted, by a rate of each rule and one of all
// together; each is counted, and the next line of the rule says how many. A file that cannot
// be written costs packets in the file, never lines, and is told once until it works again.
//
// Only what the decoder has checked becomes text. The bytes of a packet are copied into the
// file and looked at by nobody.
package capture
