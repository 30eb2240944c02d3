package conntrack

import (
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

var both = []bool{false, true}

// TestC17_Liberal: what lies outside the window counts, except a reset.
func TestC17_Liberal(t *testing.T) {
	class := Class{Rule: 77, Egress: 1, Mode: ModeLiberal}
	traceAs(t, class, both, shake+`
	-> PA seq=90000000 ack=1 len=100   => pass ES       strict: beyond the window
	<- A  seq=1 ack=70000000           => pass ES       strict: an acknowledgement of what was never seen
	-> PA seq=1 ack=1 len=100          => pass ES       and the connection goes on where it was
	<- A  seq=1 ack=101                => pass ES
	-> R  seq=90000000                 => tcp-reset-invalid ES
	<- R  seq=-5                       => tcp-reset-invalid ES
	<- FA seq=90000000 ack=101         => pass FW       closing is believed too
	`)
	traceAs(t, Class{Rule: 77, Egress: 1}, both, shake+`
	-> PA seq=90000000 ack=1 len=100   => tcp-beyond-window ES
	<- A  seq=1 ack=70000000           => tcp-ack-unseen ES
	`)
}

// TestC17_Sloppy: the states without sequence numbers, with both directions and with one.
func TestC17_Sloppy(t *testing.T) {
	class := Class{Rule: 77, Egress: 1, Mode: ModeSloppy}
	traceAs(t, class, both, `
	-> S  seq=0                        => new  SS
	<- SA seq=0 ack=1                  => pass SR
	-> A  seq=1 ack=1                  => pass ES
	-> PA seq=90000000 ack=7 len=100   => pass ES
	<- PA seq=-9000000 ack=7 len=100   => pass ES
	-> FA seq=4 ack=4                  => pass FW
	<- A  seq=4 ack=4                  => pass CW
	<- FA seq=4 ack=4                  => pass LA
	-> A  seq=5 ack=5                  => pass TW
	-> S  seq=70000                    => reopen SS
	`)
	traceAs(t, class, both, `
	-> S  seq=0                        => new  SS       one direction only
	-> A  seq=1 ack=1                  => pass ES
	-> PA seq=1 ack=1 len=100          => pass ES
	-> PA seq=101 ack=500000 len=100   => pass ES
	!!
	-> PA seq=201 ack=900000 len=100   => pass ES       on the other node
	-> FA seq=301 ack=900000           => pass FW
	-> A  seq=302 ack=900001           => pass TW
	`)
	traceAs(t, class, both, `
	-> S  seq=0                        => new  SS
	-> A  seq=1 ack=1                  => pass ES
	-> R  seq=55555                    => pass CL       a reset is believed
	-> S  seq=70000                    => reopen SS
	`)
}

// pick is a class that picks up.
var pick = Class{Rule: 77, Egress: 1, PickUp: true}

// TestF1_Strict: without pick-up mid-stream segments begin nothing.
func TestF1_Strict(t *testing.T) {
	trace(t, `
	-> A  seq=500 ack=500              => tcp-no-connection NO
	-> PA seq=500 ack=500 len=100      => tcp-no-connection NO
	`)
}

// TestF1_PickUp: established, not assured, and not for long until somebody answers.
func TestF1_PickUp(t *testing.T) {
	traceAs(t, pick, []bool{false}, `
	-> PA seq=500 ack=500 len=100      => new  ES
	.. 299s
	-> PA seq=600 ack=500 len=100      => pass ES
	<- A  seq=500 ack=700              => pass ES
	`)
	tr := newTracer(t, [2]uint32{1, 1}, false)
	tr.proposal.Class = pick
	tr.run("-> PA seq=500 ack=500 len=100 => new ES")
	if v := tr.view(); v.Flags != PickedUp || v.Timer != TimerUnacknowledged {
		t.Errorf("picked up: %v, %v", v.Flags, v.Timer)
	}
	tr.run("<- A seq=500 ack=600 => pass ES")
	if v := tr.view(); v.Flags != PickedUp|Replied|Assured || v.Timer != TimerEstablished {
		t.Errorf("answered: %v, %v", v.Flags, v.Timer)
	}
}

// TestF2_UnknownScale: a transfer whose windows are scaled by 14 in truth, and whose
// segments from before are still under way, has nothing invalid.
func TestF2_UnknownScale(t *testing.T) {
	traceAs(t, pick, []bool{false}, `
	-> A  seq=0 ack=0 win=500                    => new  ES
	<- PA seq=0 ack=0 len=1460 win=500           => pass ES
	<- PA seq=3000000 ack=0 len=1460 win=500     => pass ES       far ahead of any window without scale
	-> A  seq=0 ack=3001460 win=500              => pass ES
	-> A  seq=0 ack=5000000 win=500              => pass ES       acknowledges what passed elsewhere
	-> PA seq=7000000 ack=5000000 len=1460       => pass ES
	<- A  seq=5000000 ack=7001460 win=1          => pass ES
	!!
	<- PA seq=6000000 ack=7001460 len=1460       => pass ES       and after a failover
	-> A  seq=7001460 ack=6001460                => pass ES
	`)
}

// TestF3_BlindReset: once both ends were seen a reset below what was acknowledged is none,
// and an inexact one closes nothing.
func TestF3_BlindReset(t *testing.T) {
	traceAs(t, pick, []bool{false}, `
	-> PA seq=0 ack=0 len=100          => new  ES
	<- A  seq=0 ack=100                => pass ES
	-> R  seq=-2000000                 => tcp-reset-invalid ES
	-> R  seq=-1                       => tcp-reset-invalid ES
	-> R  seq=5000                     => pass ES       inexact
	-> PA seq=100 ack=0 len=10         => pass ES
	<- A  seq=0 ack=110                => pass ES
	-> R  seq=110                      => pass CL
	`)
}

// TestF4_Translated: a connection that would be translated is not picked up.
func TestF4_Translated(t *testing.T) {
	tr := newTracer(t, [2]uint32{1, 1}, true)
	tr.proposal.Class = pick
	tr.run("-> PA seq=500 ack=500 len=100 => pick-up-translated NO")
	// From the reply side the rules of these traces admit nothing.
	tr.run("<- PA seq=500 ack=500 len=100 => miss NO")
}

// TestF6_WhatPicksUp: a keepalive and a pure ACK do; FIN, RST and SYN/ACK never.
func TestF6_WhatPicksUp(t *testing.T) {
	traceAs(t, pick, []bool{false}, `
	-> A  seq=-1 ack=0 len=1           => new  ES       a keepalive with its byte of garbage
	<- A  seq=0 ack=5                  => pass ES       the peer has more of us than that
	-> PA seq=5 ack=0 len=100          => pass ES
	<- A  seq=0 ack=105                => pass ES
	`)
	for _, flags := range []string{"FA", "R", "RA", "SA"} {
		tr := newTracer(t, [2]uint32{1, 1}, false)
		tr.proposal.Class = pick
		tr.run("-> " + flags + " seq=500 ack=500 => tcp-no-connection NO")
	}
}

// TestPickedUpFrom: what a peer tells of a picked-up connection is believed, and of a
// translated one not.
func TestPickedUpFrom(t *testing.T) {
	tr := newTracer(t, [2]uint32{1, 1}, false)
	tr.proposal.Class = pick
	tr.run("-> PA seq=500 ack=500 len=100 => new ES")
	s := tr.result.State
	other := newTable(t, Config{Capacity: 10, Node: 2})
	var a Applied
	if got := other.Apply(&s, 1, &a); got != AppliedNew {
		t.Errorf("told of a picked-up connection: %v", got)
	}
	s.Reply.DstPort++
	s.Flags |= SourceNAT
	if got := other.Apply(&s, 1, &a); got != Invalid {
		t.Errorf("told of a translated one: %v", got)
	}
	p := parsed(tuple(packet.UDP, "10.0.0.1", 1, "10.0.0.2", 2), 0)
	if MayPickUp(&p) || MayOpen(&p) != drop.Pass {
		t.Error("a datagram is no segment in mid-stream")
	}
}
