package conntrack

import (
	"strings"
	"testing"
	"time"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// associationTrace runs rows, as sctpTrace reads them, through a table; "!!" moves the
// connection to another node. Verdicts: new, pass, fwd (no refresh), reopen, end, and drop
// reasons; states as in sctpShort.
func associationTrace(t *testing.T, rows string) {
	t.Helper()
	table, now := newTable(t, Config{Capacity: 10, Node: 1}), int64(time.Hour)
	var r Result
	last := State{}
	for _, row := range strings.Split(strings.TrimSpace(rows), "\n") {
		f := strings.Fields(row)
		if f[0] == "!!" {
			other := newTable(t, Config{Capacity: 10, Node: 2})
			var a Applied
			if got := other.Apply(&last, now, &a); got != AppliedNew {
				t.Fatalf("%s: applying %+v: %v", row, last, got)
			}
			table = other
			continue
		}
		now += int64(10 * time.Millisecond)
		var chunks packet.SCTPChunks
		for _, name := range strings.Split(f[1], "+") {
			chunks |= sctpChunks[name]
		}
		i := 2
		fields := map[string]uint32{}
		for ; f[i] != "=>"; i++ {
			fields[f[i][:1]] = sctpTag(f[i])
		}
		p := sctpParsed(chunks, fields["v"], fields["i"])
		if f[0] == "<-" {
			p.Tuple = p.Tuple.Reply()
		}
		hits := make([]Hit, 1)
		table.Lookup([]packet.Parsed{p}, hits)
		got, state := "", "NO"
		switch table.Track(&p, &hits[0], now, &r) {
		case OutcomePass:
			if got = "pass"; r.Change == ChangeReopened {
				got = "reopen"
			}
		case OutcomeDrop:
			got = r.Reason.String()
		case OutcomeMiss:
			if got = "miss"; r.Change == ChangeEnded {
				got = "end"
			} else if f[0] == "->" {
				pr := Proposal{Original: p.Tuple, Reply: p.Tuple.Reply()}
				if got = "new"; table.Insert(&pr, &p, now, &r) != Inserted {
					got = r.Reason.String()
				}
			}
		}
		var v View
		if table.View(r.Index, now, &v) {
			if state = sctpShort[v.SCTP]; got == "pass" && v.Idle != 0 {
				got = "fwd"
			}
			if !table.Export(r.Index, now, &last) || !last.valid() || last.SCTP() != v.SCTP || last.TCP() != StateNone {
				t.Fatalf("%s: exports %+v, %v", row, last, last.SCTP())
			}
			if r.Change != ChangeNone && r.Change != ChangeEnded && got != "tag" {
				if r.State.Idle = last.Idle; r.State != last {
					t.Fatalf("%s: tells %+v, exports %+v", row, r.State, last)
				}
			}
		}
		if got != f[i+1] || state != f[i+2] {
			t.Fatalf("%s: got %s %s", row, got, state)
		}
	}
}

// TestG8_AssociationInTheTable: an association from its first packet to its last, across a
// failover in the middle of the handshake, of the association, and of its end.
func TestG8_AssociationInTheTable(t *testing.T) {
	associationTrace(t, `
	-> DATA      v=b      => sctp-no-connection NO
	-> INIT      v=0 i=a  => new IS
	<- INITACK   v=z i=b  => sctp-tag-invalid IS
	<- INITACK   v=a i=b  => pass CW
	!!
	-> ECHO      v=b      => pass CE
	<- COOKIEACK v=a      => pass ES
	-> DATA      v=b      => pass ES
	!!
	<- DATA      v=a      => pass ES
	-> DATA      v=x      => sctp-tag-invalid ES
	<- ABORT     v=x      => sctp-tag-invalid ES
	-> INIT      v=0 i=x  => fwd ES
	<- DATA      v=a      => pass ES
	-> SHUTDOWN  v=b      => pass SS
	!!
	<- SHUTACK   v=a      => pass SA
	-> COMPLETE  v=b      => pass CL
	-> INIT      v=0 i=d  => reopen IS
	`)
	associationTrace(t, `
	-> INIT      v=0 i=a  => new IS
	<- INITACK   v=a i=b  => pass CW
	-> ECHO      v=b      => pass CE
	<- COOKIEACK v=a      => pass ES
	-> INIT      v=0 i=c  => fwd ES
	<- INITACK   v=c i=d  => fwd ES
	-> ECHO      v=d      => reopen CE
	<- COOKIEACK v=c      => pass ES
	-> DATA      v=b      => sctp-tag-invalid ES
	-> DATA      v=d      => pass ES
	`)
}

// TestG8_AssociationTimersAndFlags: each state has its timer, and only who was answered
// is assured.
func TestG8_AssociationTimersAndFlags(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	var r Result
	var v View
	look := func(state SCTPState, timer Timer, flags Flags) {
		t.Helper()
		if !table.View(0, 1, &v) || v.SCTP != state || v.Timer != timer || v.Flags != flags {
			t.Errorf("%v, %v, %v: want %v, %v, %v", v.SCTP, v.Timer, v.Flags, state, timer, flags)
		}
	}
	p := sctpParsed(packet.ChunkInit, 0, 1)
	pr := Proposal{Original: p.Tuple, Reply: p.Tuple.Reply()}
	if got := table.Insert(&pr, &p, 1, &r); got != Inserted {
		t.Fatal(got, r.Reason)
	}
	look(SCTPInitSent, TimerSCTPInit, 0)
	var e Ended
	for _, step := range []struct {
		chunks    packet.SCTPChunks
		tag, tell uint32
		reply     bool
		state     SCTPState
		timer     Timer
		flags     Flags
	}{
		{packet.ChunkInitAck, 1, 2, true, SCTPCookieWait, TimerSCTPCookieWait, Replied},
		{packet.ChunkCookieEcho, 2, 0, false, SCTPCookieEchoed, TimerSCTPCookieEchoed, Replied},
		{packet.ChunkCookieAck, 1, 0, true, SCTPEstablished, TimerSCTPEstablished, Replied | Assured},
	} {
		p := sctpParsed(step.chunks, step.tag, step.tell)
		if step.reply {
			p.Tuple = p.Tuple.Reply()
		}
		if got := offer(table, &p, &r); got != OutcomePass {
			t.Fatalf("%v: %v", step.state, r.Reason)
		}
		look(step.state, step.timer, step.flags)
	}
	if table.Evict(2, &e) {
		t.Error("an established association was evicted")
	}
}

// TestG8_AssociationsAreTold: an impossible association is not believed.
func TestG8_AssociationsAreTold(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	var r Result
	var a Applied
	p := sctpParsed(packet.ChunkInit, 0, 1)
	pr := Proposal{Original: p.Tuple, Reply: p.Tuple.Reply()}
	table.Insert(&pr, &p, 1, &r)
	for name, spoil := range map[string]func(*State){
		"a window":             func(s *State) { s.Dir[Original].MaxWin = 1 << 16 },
		"a tag too long":       func(s *State) { s.Dir[Reply].MaxAck = 1 << 32 },
		"no tag":               func(s *State) { s.Dir[Reply].MaxAck = 0 },
		"an answer to nothing": func(s *State) { s.Dir[Reply].Seen |= Seen(SCTPSeenCookieAck) },
		"nothing seen":         func(s *State) { s.Dir[Original].Seen = 0 },
	} {
		s := r.State
		if spoil(&s); newTable(t, Config{Capacity: 1}).Apply(&s, 1, &a) != Invalid {
			t.Errorf("%s was believed: %+v", name, s)
		}
	}
	q := sctpParsed(packet.ChunkShutdownAck, 5, 0)
	if why := MayOpen(&q); why != drop.SCTPNoConnection {
		t.Errorf("a SHUTDOWN ACK may open: %v", why)
	}
}
