package dataplane

import (
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// External addresses of translations may lie in a port's own network without being the
// port's. Neighbours ask for them, and the kernel does not know them: the data plane
// answers, from the policy alone, so there is nothing to move at a failover. A mute node
// gets no further than dropping what it is asked.
//
//	who has 203.0.113.5?   --->  [ policy: snat, static, dnat, nptv6 ]
//	                       <---  the port's shared MAC

// vouch answers a frame that asks for an external address, and reports whether it did. An
// address at which a host is known to live is left to that host.
func (w *Worker) vouch(b *burst, i int) bool {
	target, asked := packet.Solicited(b.frame[i], &b.parsed[i])
	if !asked || !w.snapshot.NAT.Answers(b.in.ID, &target) || w.livesAt(&target) {
		return false
	}
	mac := b.in.MAC
	w.stageOwn(b.in, func(dst []byte) int {
		return packet.AppendSolicitedAnswer(dst, b.frame[i], &b.parsed[i], mac, target)
	})
	return true // where there is no frame for an answer they ask again
}

// livesAt reports whether a neighbour has answered for an address.
func (w *Worker) livesAt(a *packet.Addr) bool {
	hop := w.hopTo(*a)
	return hop.Kind == fib.Forward && hop.Via == *a
}

// unclaimed reports whether an address, whose hop is known, is one that this node answers
// for: a packet to it that no translation has taken can go nowhere, and nobody may have it
// for a source.
func (w *Worker) unclaimed(a *packet.Addr, hop *fib.Hop) bool {
	return hop.Kind == fib.Unresolved && hop.Via == *a && w.snapshot.NAT.Answers(hop.Port, a)
}

// announcing is how far the announcement of external addresses has come.
type announcing struct {
	under bool // something is left to say
	port  int  // of this port
	next  int  // from this one of its addresses on
}

// announceStep is how many external addresses are announced in one turn, so that they take
// the frames of nobody else.
const announceStep = 32

// announceForeign goes on with the announcement, and reports whether more is to come.
func (w *Worker) announceForeign() bool {
	at := &w.announcing
	for said := 0; at.under && at.port < len(w.shares); at.port, at.next = at.port+1, 0 {
		s := w.shares[at.port]
		for all := w.snapshot.NAT.Announced(s.ID); at.next < len(all); at.next++ {
			if said++; said > announceStep {
				return true
			}
			if a := all[at.next]; !w.livesAt(&a) {
				w.announceAddress(s, a)
			}
		}
	}
	at.under = false
	return false
}
