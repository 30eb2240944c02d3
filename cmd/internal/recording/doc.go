// Package recording reads packet captures of the sync link, for `holdfast sync decode`.
//
//	pcap or pcapng --file--> frames --datagram--> UDP payloads --Decoder--> Lines, Totals
//
// What can be seen depends on what the reader holds:
//
//	nothing             kinds, session ids, lanes, counters, sizes; gaps and repeats in counters
//	the key file        also who asks in a handshake1, and with which key. No more: the record
//	                    keys depend on what both ephemeral secrets of the handshake have in
//	                    common, and those are never written down (Noise NNpsk0)
//	a key log of        every message of the sessions in it, in words
//	either node
//
// A capture is hostile like everything received: what is cut or makes no sense is named
// and counted, and memory grows with the number of sessions in it, not with its length.
package recording
