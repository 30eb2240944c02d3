package node

import (
	"testing"

	"holdfast/dataplane/packet"
	"holdfast/sync/wire"
)

// Nodes with different histories number timeouts differently: a connection gets those of its
// rule here, and none of its own where the rule is gone.
func TestReload_TimeoutsOfAnotherHistory(t *testing.T) {
	idle := func(s string) string { return "state = { timeouts = { udp = \"" + s + "\" } }" }
	last := ruleText("c", "3", idle("13s")) + ruleText("b", "2", idle("12s"))
	there := newReloader(t, ruleText("a", "1", idle("11s"))+ruleText("b", "2", idle("12s")))
	there.reload(last, 0) // b has number 2
	here := newReloader(t, last)
	here.reload(last, 0) // and here 2 is another's
	here.reload(ruleText("b", "2", idle("12s")), 0)
	if there.generation().seats == here.generation().seats {
		t.Fatal("their histories do not differ")
	}
	of := func(r *reloader, rule string, port uint16, number uint8) uint8 {
		s := translated(1, packet.UDP, rule, 0)
		s.Original.DstPort, s.Reply.SrcPort = port, port
		s.Timeouts = number
		r.settleTimeouts(&wire.Standing{Seats: there.generation().seats}, &s)
		return s.Timeouts
	}
	if got := of(there, "b", 2, 2); got != 2 {
		t.Errorf("told by one with the same history: %d", got)
	}
	if got := of(here, "b", 2, 5); got == 5 || *here.set().Timeouts()[got] != *there.set().Timeouts()[2] {
		t.Errorf("rule b: number %d", got)
	}
	if got := of(here, "gone", 9, 1); got != 0 {
		t.Errorf("a rule that is gone: number %d", got)
	}
}

// A reload that changes translations announces on the active node, and on no other.
func TestReload_AnnouncesExternalAddresses(t *testing.T) {
	r := newReloader(t, ruleText("web", "80", ""))
	r.announces = make(chan struct{}, 1)
	announced := func() bool {
		select {
		case <-r.announces:
			return true
		default:
			return false
		}
	}
	const snat = "[[nat]]\nkind = \"snat\"\nout = \"wan\"\nfrom = \"10.0.0.0/24\"\ntarget = \"203.0.113.7\"\n"
	r.reload(ruleText("web", "81", ""), 0)
	if announced() {
		t.Error("announced although no translation has changed")
	}
	r.reload(ruleText("web", "81", "")+snat, 0)
	if !announced() {
		t.Error("not announced")
	}
	r.lease.Revoke()
	r.reload(ruleText("web", "81", ""), 0)
	if announced() {
		t.Error("a node that stands by announces")
	}
}
