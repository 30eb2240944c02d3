// Package cookie makes the sequence numbers with which the firewall answers a SYN in the
// server's name without keeping anything (SYN cookies, D. J. Bernstein 1996; RFC 4987
// section 3.6). All that is needed to begin the connection when the client has proven its
// address comes back in its acknowledgement:
//
//	 31                                   9 8     6 5        2   1      0
//	+--------------------------------------+-------+----------+------+--------+
//	| MAC (23 bits)                        | MSS   | scale    | SACK | parity |
//	+--------------------------------------+-------+----------+------+--------+
//	                                        the low nine: exclusive-or with the MAC's high nine
//
// MSS is an index into a table, scale what the client offered (15: nothing), SACK whether it
// permits selective acknowledgement. The MAC is SipHash-2-4 over the client's tuple, its own
// first number, a generation and the low nine bits, under a secret. A generation lasts
// generationSeconds of the world's clock, because nodes of a cluster must agree on it; the
// parity is its lowest bit. The current generation and its two neighbours are accepted: a
// cookie is good for one to two generations, and nodes may differ by up to one.
//
// Options need no timestamps here (Linux carries them there): the scale must be exact,
// because the server is told it, so it has all four bits, and the MAC is a bit shorter than
// Linux's. A guess is right once in 2^22: each is one packet, and what it gains is one SYN.
package cookie
