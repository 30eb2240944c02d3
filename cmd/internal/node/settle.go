package node

import (
	"holdfast/conntrack"
	"holdfast/sync/wire"
)

// settleTimeouts gives a connection that a peer tells of the timeouts that its rule brings
// here. Numbers of timeouts follow the policies that a node has had since its start, so two
// nodes may have another history: then the rules are asked, as for the first packet. A rule
// that is gone leaves the policy's own timeouts.
func (d *daemon) settleTimeouts(peer *wire.Standing, s *conntrack.State) {
	if peer != nil && peer.Seats == d.generation().seats {
		return
	}
	snapshot := d.snapshot.Load()
	tuple := conntrack.Judged(&s.Original, &s.Reply)
	v := snapshot.Rules.Match(&tuple, s.Ingress, s.Egress, nil, snapshot.Tables)
	s.Timeouts = 0
	if v.Number == s.Rule {
		s.Timeouts = v.Timeouts
	}
}
