package conntrack

import (
	"testing"
	"time"

	"holdfast/dataplane/packet"
)

// lifetime sweeps once a second, as a daemon might, and returns after how many seconds of
// silence the tracer's connection was gone.
func (tr *tracer) lifetime() int {
	tr.t.Helper()
	ended := make([]Ended, 1)
	for s := 1; s <= int(timeoutMax/time.Second)+1; s++ {
		if _, n := tr.table.Sweep(0, 10, tr.now+int64(s)*int64(time.Second), GraceOwner, ended); n == 1 {
			if ended[0].Why != EndExpired {
				tr.t.Errorf("ended because %v", ended[0].Why)
			}
			return s
		}
	}
	tr.t.Fatal("lives for ever")
	return 0
}

// tcpLives is how a connection comes into each state and how many seconds of silence it
// then lives, plain and translated (BEHAVIOUR section 3, columns Linux and RFC floor).
var tcpLives = []struct {
	state, rows       string
	plain, translated int
}{
	{"SYN_SENT", "-> S seq=0 => new SS", 120, 240},
	{"SYN_SENT, SYN repeated 20 s later", "-> S seq=0 => new SS\n.. 20s\n-> S seq=0 => fwd SS", 100, 220}, // no refresh (B4); counted from the second
	{"SYN_SENT2", "-> S seq=0 => new SS\n<- S seq=0 => pass S2", 120, 240},
	{"SYN_RECV", "-> S seq=0 => new SS\n<- SA seq=0 ack=1 => pass SR", 60, 240},
	{"ESTABLISHED", shake, 432000, 7440},
	{"ESTABLISHED, unacknowledged", shake + "-> PA seq=1 ack=1 len=9 => pass ES", 300, 300},
	{"ESTABLISHED, window closed", shake + "<- A seq=1 ack=1 win=0 => pass ES", 300, 300},
	{"ESTABLISHED, inexact reset", shake + "<- R seq=500 => pass ES", 10, 240},
	{"FIN_WAIT", shake + "-> FA seq=1 ack=1 => pass FW", 120, 240},
	{"CLOSE_WAIT", shake + "-> FA seq=1 ack=1 => pass FW\n<- A seq=1 ack=2 => pass CW", 60, 240},
	{"CLOSE_WAIT, data after 50 s (E2)", shake + "-> FA seq=1 ack=1 => pass FW\n<- A seq=1 ack=2 => pass CW\n.. 50s\n<- PA seq=1 ack=2 len=9 => pass CW", 60, 240},
	{"LAST_ACK", shake + "-> FA seq=1 ack=1 => pass FW\n<- A seq=1 ack=2 => pass CW\n<- FA seq=1 ack=2 => pass LA", 30, 240},
	{"TIME_WAIT", closed, 120, 240},
	{"CLOSE", shake + "-> R seq=1 => pass CL", 10, 240},
}

// TestE10_EachStateLivesItsTime measures each state's timeout to the tick of one second,
// by nothing but packets and sweeps.
func TestE10_EachStateLivesItsTime(t *testing.T) {
	for _, row := range tcpLives {
		for _, nat := range []bool{false, true} {
			tr := newTracer(t, [2]uint32{1, 1}, nat)
			tr.run(row.rows)
			want := row.plain
			if nat {
				want = row.translated
			}
			if got := tr.lifetime(); got < want || got > want+1 {
				t.Errorf("%s, nat %v: lived %d s, want %d", row.state, nat, got, want)
			}
		}
	}
}

// TestE10_EachPseudoConnectionLivesItsTime does the same where there is no TCP.
func TestE10_EachPseudoConnectionLivesItsTime(t *testing.T) {
	echo := func(proto packet.Proto, typ uint16) packet.Tuple {
		return tuple(proto, "2001:db8::1", 77, "2001:db8::2", typ<<8)
	}
	ports := func(proto packet.Proto) packet.Tuple {
		return tuple(proto, "2001:db8::1", 4000, "2001:db8::2", 53)
	}
	bare := func(proto packet.Proto) packet.Tuple { return tuple(proto, "2001:db8::1", 0, "2001:db8::2", 0) }
	for _, row := range []struct {
		original                      packet.Tuple
		plain, translated             int
		streamPlain, streamTranslated int // once both sides talk and 3 s have passed
	}{
		{ports(packet.UDP), 30, 120, 120, 300},
		{ports(packet.UDPLite), 30, 120, 120, 300},
		{echo(packet.ICMP, packet.ICMPEchoRequest), 30, 60, 30, 60},
		{echo(packet.ICMPv6, packet.ICMPv6EchoRequest), 30, 60, 30, 60},
		{bare(packet.GRE), 30, 120, 180, 300},
		{bare(packet.ESP), 600, 600, 600, 600},
		{bare(99), 600, 600, 600, 600},
	} {
		for _, nat := range []bool{false, true} {
			for _, stream := range []bool{false, true} {
				tr := newTracer(t, [2]uint32{}, false)
				tr.proposal = proposalFor(row.original)
				want := [2]int{row.plain, row.streamPlain}
				if nat {
					tr.proposal.Reply.Dst[15]++
					want = [2]int{row.translated, row.streamTranslated}
				}
				p, answer := parsed(tr.proposal.Original, 8), parsed(tr.proposal.Reply, 8)
				life, verdicts := want[0], tr.send(&p)
				if stream {
					life = want[1]
					tr.now += int64(4 * time.Second)
					verdicts += " " + tr.send(&answer)
				}
				if verdicts != "new" && verdicts != "new pass" {
					t.Fatalf("%v: %s", row.original, verdicts)
				}
				if got := tr.lifetime(); got < life || got > life+1 {
					t.Errorf("%v, nat %v, stream %v: lived %d s, want %d", row.original, nat, stream, got, life)
				}
			}
		}
	}
}

// TestE10_Configured: whatever a timer is set to holds, for plain and translated alone.
func TestE10_Configured(t *testing.T) {
	timeouts := DefaultTimeouts()
	for i, timer := range Timers() {
		timeouts.Plain[timer] = time.Duration(1+i) * time.Second
		timeouts.Translated[timer] = time.Duration(101+i) * time.Second
	}
	for _, row := range tcpLives {
		for _, nat := range []bool{false, true} {
			tr := newTracer(t, [2]uint32{1, 1}, nat)
			tr.table = newTable(t, Config{Capacity: 1000, Node: 1, Timeouts: timeouts})
			tr.run(row.rows)
			v := tr.view()
			want := int(v.Timer) // TimerSynSent is 1, and has the first second
			if nat {
				want += 100
			}
			want -= int(v.Idle / time.Second)
			if got := tr.lifetime(); want > 0 && (got < want || got > want+1) {
				t.Errorf("%s, nat %v: lived %d s, want %d", row.state, nat, got, want)
			}
		}
	}
}

func TestTimersHaveNames(t *testing.T) {
	for _, timer := range Timers() {
		if got, ok := ParseTimer(timer.String()); !ok || got != timer {
			t.Errorf("%v is parsed as %v", timer, got)
		}
		if least, source := timer.Floor(); (least == 0) != (source == "") {
			t.Errorf("%v: floor %v of %q", timer, least, source)
		}
	}
	for _, name := range []string{"", "none", "tcp_close", "timer-3"} {
		if _, ok := ParseTimer(name); ok {
			t.Errorf("%q is a timer", name)
		}
	}
	if least, _ := Timer(200).Floor(); least != 0 {
		t.Error("a timer that is none has a floor")
	}
}
