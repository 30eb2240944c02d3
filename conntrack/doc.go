// Package conntrack is the table of connections: what belongs to what, what a segment may
// do, when a connection has ended, and the form in which it is told to another node.
//
//	           Lookup            Track                      Insert
//	packets ----------> hits ----------> pass / drop / miss ------> inserted / exists / clash / full
//	                                        |                          |
//	                                        +---- Result.State --------+---> the journal, to the peers
//	                                                                          |
//	               Apply, Merge <---------------------------------------------+ on their side
//
// A connection has two tuples: that of its first packet and that of the packets that
// answer. Translation is nothing more than that the second is not the mirror of the
// first; package nat proposes it and this package neither knows nor asks why.
//
// # Life-cycle
//
// New, then any method from any goroutine, then Close when none runs any more. Lookup,
// Track and Insert are for the packet path: they do not allocate, and they learn the time
// as an argument, in nanoseconds of CLOCK_BOOTTIME. Entries are named by a dense index
// and an Incarnation; an index alone may have been used again.
//
// # Locks
//
// The index is 2048 shards by hash. A slot of the index is read by anybody without a lock
// and written under its shard's. An entry's home is the shard of its original tuple, and
// the home lock guards everything in the entry but its link word. Whoever inserts or
// removes takes the two shards of the two tuples in ascending order; nobody ever holds a
// third. Holding a shard, one may also read the tuples, and only these, of any entry that
// a slot of it names: they stand still until that slot is cleared.
//
//	       shard a (home)                shard b
//	slots: [.. orig|7 ..]                [.. reply|7 ..]
//	                  \                     /
//	                   entry 7: tuples, edges, ...   (guarded by a)
//
// So a lookup is only a hint. A false hit is found out under the home lock, where tuple
// and liveness are verified. A false miss, which a reader can see while a slot is moved,
// is found out by Insert, which checks both tuples under their locks and says Exists.
// In a race build the tests check every lock against this order, and the arenas lie on
// the Go heap so that the race detector sees them.
//
// # Classes and kills
//
// What a connection has from its rule and its way (Class) is kept once for all that share
// it, and a whole class is killed by one store (Kill). See class.go and kill.go.
//
// # A full table
//
// It makes room by ending a half-open connection, else a closing one, and never one in
// use (Evict). The caller decides when, because what ended held ports and had peers.
//
// # Decisions
//
// Where the known trackers disagree (BEHAVIOUR 1.5) this one does the following.
//
//   - The window test is Linux's: a segment need only intersect the window, old duplicates
//     are forwarded without refresh, and a sender may overrun by one window (C11), again
//     without refresh. So of C1 "the first byte beyond drops" holds for what lies more
//     than one window beyond.
//   - A reset in an established connection closes it only if exact: the number that the
//     peer has acknowledged, or the one after the sender's furthest byte (Linux compares
//     with the sender's last packet instead). In the window but inexact it is forwarded
//     and a short timer runs until traffic shows that the connection lives. Outside it
//     drops. While closing every reset counts, in TIME_WAIT none does (RFC 1337), though
//     it is forwarded.
//   - A SYN in a live connection is forwarded and remembered; the firewall sends no
//     challenge ACK of its own. A SYN/ACK that answers the remembered SYN begins a new
//     incarnation, with the window, scale and SACK of the new SYNs. A packet that the
//     original side sends in the connection's own window makes us forget the SYN.
//   - A SYN of the original side in TIME_WAIT or CLOSE re-opens the connection in place,
//     with the same translation. One of the reply side in TIME_WAIT ends the entry and is
//     then a packet without a connection: the rules decide (E6), since they let only the
//     other side begin this one. In CLOSE it drops.
//   - A newer SYN before any answer begins a new incarnation as well: its options may
//     differ, and within an incarnation nothing may be taken back.
//   - A connection is established, and only then assured, when each SYN was acknowledged:
//     SYN, SYN/ACK and an ACK that covers it; or, opened from both sides, a SYN/ACK from
//     each. A split handshake does not get through: its last ACK is invalid (B11).
//   - LAST_ACK becomes TIME_WAIT when both FINs are acknowledged, not upon any ACK; so a
//     challenge ACK cannot be taken for the last one (E4), and crossing FINs need two.
//     Its price: where SYNs crossed and one SYN/ACK was lost, a bare ACK does not complete
//     the connection, and its data drops until the SYN/ACK is sent again.
//   - A connection that was refused stays in CLOSE for its time, so that what follows the
//     refusal is not a stranger; a challenge ACK is no reply; a reset moves no edge, and
//     what is invalid changes no timer.
//   - Scale and SACK count if both SYNs offered them; for SACK RFC 2018 asks the receiver's
//     alone.
//   - What does not begin with a SYN has no connection (F1), unless its rule picks up: then
//     a segment with ACK begins one in mid-stream, as from its own side, with windows of
//     1 GiB, because the scale is unknown (pf's choice), and never where the policy would
//     translate it (F4). It expires after five minutes until somebody answers. A killed
//     connection of such a rule is picked up again by its next segment, by what the rules
//     say then.
//   - Modes. Liberal: what the window test would drop counts, but moves no edge; resets
//     must prove themselves (nf_conntrack_tcp_be_liberal). Sloppy: states without sequence
//     numbers, also where only one direction is seen (pf); resets are believed.
//   - Both directions refresh a pseudo-connection (RFC 4787 REQ-6).
//   - Data in flight without acknowledgement, or a closed window, lowers the established
//     timeout to five minutes. Three identical packets, Linux's third reason, do not:
//     a retransmission is unacknowledged data already.
//
// # Proxied connections
//
// Where the firewall has answered a client with a cookie, the connection has an offset
// between the numbers that its two ends know. The table holds the server's: what the client
// sends is spliced before it is tracked, what the server sends after it. See proxied.go.
//
// # ICMP errors
//
// An error belongs to the connection of the packet that it quotes (Related) and changes
// nothing in it. In TCP the quoted segment must have been in flight not long ago, unless
// the connection is liberal or sloppy.
//
// # After a failover
//
// Edges arrive rounded (see State), marked ahead. Until the wire catches up, the bounds
// of the window test that depend on such an edge give way by two cells of the grid, and
// the edge itself is not taken for the sender's last byte. A reset must still lie between
// what the peer acknowledged and what it allowed, and closes only where it is exact, so a
// blind one gains nothing (F5).
//
// # What it is not
//
// It knows no rule, no route, no port of an address; it sends nothing; it reads no clock.
// Fragments, helpers and expectations are not matched yet.
package conntrack
