package oracle

import (
	"testing"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// observation is what became of a packet and what the tracker holds after it.
type observation struct {
	passed bool
	// The entry after the packet; the rest is valid where it exists.
	exists    bool
	reversed  bool // its original direction is from the wan
	state     conntrack.TCPState
	refreshed bool
	timeout   int // s, valid where refreshed
	replied   bool
	assured   bool
	reason    drop.Reason // ours only
	reopened  bool        // ours only: a new incarnation in place
}

// subject is Holdfast's tracker with the rules of the oracle.
type subject struct {
	table  *conntrack.Table
	now    int64
	keys   [1]packet.Parsed
	hits   [1]conntrack.Hit
	result conntrack.Result
	view   conntrack.View
	limits *conntrack.Timeouts
	index  uint32 // of the current flow's connection
	live   bool
}

func newSubject(t testing.TB, capacity uint32) *subject {
	t.Helper()
	table, err := conntrack.New(conntrack.Config{Capacity: capacity, Node: 1, Secret: conntrack.Secret{
		1 << 63, 0x9e3779b97f4a7c15, 3, 5, 0xd6e8feb86659fd93, 11, 13, 0xa0761d6478bd642f,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return &subject{table: table, now: int64(time.Hour), limits: conntrack.DefaultTimeouts()}
}

// send runs a frame through decoder and table as the pipeline does. A packet without a
// connection begins one if it comes from the lan, or if the flow is mixed.
func (s *subject) send(frame []byte, from side, mixed bool) (o observation) {
	s.now += int64(time.Millisecond)
	if o.reason = packet.Decode(frame, &s.keys[0]); o.reason == drop.Pass {
		o.passed, o.reason, o.reopened = s.judge(from, mixed)
	}
	s.look(&o)
	return o
}

// judge is the part of send after decoding.
func (s *subject) judge(from side, mixed bool) (passed bool, reason drop.Reason, reopened bool) {
	p, r := &s.keys[0], &s.result
	s.table.Lookup(s.keys[:], s.hits[:])
	switch s.table.Track(p, &s.hits[0], s.now, r) {
	case conntrack.OutcomePass:
		s.index, s.live = r.Index, true
		return true, drop.Pass, r.Change == conntrack.ChangeReopened
	case conntrack.OutcomeDrop:
		return false, r.Reason, false
	}
	if reason = conntrack.MayOpen(p); reason != drop.Pass {
		return false, reason, false
	}
	if from == wan && !mixed {
		return false, drop.RuleBlock, false
	}
	proposal := conntrack.Proposal{Original: p.Tuple, Reply: p.Tuple.Reply(), Class: conntrack.Class{Rule: 1, Egress: 1}}
	if s.table.Insert(&proposal, p, s.now, r) != conntrack.Inserted {
		return false, r.Reason, false
	}
	s.index, s.live = r.Index, true
	return true, drop.Pass, false
}

// look fills in what the table holds of the current flow.
func (s *subject) look(o *observation) {
	if !s.live || !s.table.View(s.index, s.now, &s.view) {
		s.live = false
		return
	}
	v := &s.view
	o.exists = true
	o.reversed = v.Original.Src.Netip().As4()[0] != 10
	o.state = v.TCP
	o.refreshed = v.Idle == 0
	o.timeout = int(s.limits.Plain[v.Timer] / time.Second)
	o.replied = v.Flags&conntrack.Replied != 0
	o.assured = v.Flags&conntrack.Assured != 0
}

// end removes the current flow's connection.
func (s *subject) end() {
	if s.live {
		var state conntrack.State
		s.table.Remove(s.index, s.view.Incarnation, s.now, &state)
	}
	s.live = false
}
