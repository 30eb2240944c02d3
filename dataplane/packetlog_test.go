package dataplane

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

const logPolicy = `
[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/24"]
[defaults]
log = true
[[nat]]
kind = "masquerade"
from = ["10.0.0.0/24"]
out = "wan"
[[rules]]
id = "watched"
action = "match"
proto = "tcp"
to_port = 443
log = "all"
[[rules]]
id = "no-telnet"
action = "reject"
in = "lan"
proto = "tcp"
to_port = 23
log = "first"
[[rules]]
id = "quiet"
action = "block"
in = "lan"
proto = "tcp"
to_port = 25
[[rules]]
id = "first"
action = "pass"
in = "lan"
out = "wan"
proto = "tcp"
to_port = 80
log = "first"
[[rules]]
id = "out"
action = "pass"
in = "lan"
out = "wan"
proto = "tcp"
`

// logRig is a rig of a policy with a packet log, which keeps 64 bytes of each packet.
func logRig(t testing.TB, policy string) *rig {
	t.Helper()
	r := rigOf(t, policy, rigRoutes, rigNeighbors, 1000)
	log, err := NewPacketLog(1, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	r.w.logbook = newLogbook(log, 0)
	return r
}

// logged takes what is logged, one line each, without what changes from run to run.
func (r *rig) logged() (lines []string) {
	r.w.logbook.log.Take(func(p *LoggedPacket) {
		rule, _ := r.w.snapshot.Rules.ByNumber(p.Rule)
		line := fmt.Sprintf("%s %v %v %d>%d %v", rule.ID, p.Action, p.Reason, p.In, p.Out, p.Parsed.Tuple)
		if p.Translated {
			line += fmt.Sprintf(" as %v", p.Sent.Src)
		}
		if p.Incarnation != 0 {
			line += " " + p.Direction.String()
		}
		lines = append(lines, line)
	})
	return lines
}

func (r *rig) wantLogged(what string, want ...string) {
	r.t.Helper()
	if got := r.logged(); fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("%s: logged\n%q, want\n%q", what, got, want)
	}
}

// TestLog_Path: what of which packet is logged, by the rule that decided on it.
func TestLog_Path(t *testing.T) {
	r := logRig(t, logPolicy)
	out := func(dport uint16, flags string, seq, ack uint32) []byte {
		return fromClient(packetIn{sport: 4000, dport: dport, flags: flags, seq: seq, ack: ack}).frame(t)
	}
	back := func(sport uint16, flags string, seq, ack uint32) []byte {
		return fromServer(packetIn{sport: sport, dport: 4000, flags: flags, seq: seq, ack: ack}).frame(t)
	}

	r.feed(lan, out(23, "S", 1, 0))
	r.wantLogged("reject, first", "no-telnet reject rule-reject 0>1 tcp 10.0.0.10:4000 > 203.0.113.10:23")
	r.feed(lan, out(25, "S", 1, 0))
	r.wantLogged("a rule that does not log")
	r.feed(wan, fromServer(packetIn{proto: packet.UDP, sport: 9, dport: 9}).frame(t))
	r.wantLogged("default, to the node", "default block to-self 1>255 udp 203.0.113.10:9 > 203.0.113.2:9")
	r.feed(lan, fromClient(packetIn{proto: packet.UDP, sport: 9, dport: 9}).frame(t))
	r.wantLogged("default", "default block rule-block 0>1 udp 10.0.0.10:9 > 203.0.113.10:9")

	r.feed(lan, out(80, "S", 100, 0))
	r.feed(wan, back(80, "SA", 500, 101))
	r.feed(lan, out(80, "A", 101, 501))
	r.wantLogged("first of three", "first pass pass 0>1 tcp 10.0.0.10:4000 > 203.0.113.10:80 as 203.0.113.2 original")

	r.feed(lan, out(443, "S", 100, 0))
	r.feed(wan, back(443, "SA", 500, 101))
	r.feed(lan, out(443, "A", 101, 501), out(443, "A", 0x7fff0000, 501))
	r.wantLogged("a match rule says all",
		"out pass pass 0>1 tcp 10.0.0.10:4000 > 203.0.113.10:443 as 203.0.113.2 original",
		"out pass pass 1>0 tcp 203.0.113.10:443 > 203.0.113.2:4000 as 203.0.113.10 reply",
		"out pass pass 0>1 tcp 10.0.0.10:4000 > 203.0.113.10:443 as 203.0.113.2 original",
		"out pass "+drop.TCPBeyondWindow.String()+" 0>1 tcp 10.0.0.10:4000 > 203.0.113.10:443 original")
}

// TestLog_Bytes: what is kept is the packet's beginning as it came, and its whole length.
func TestLog_Bytes(t *testing.T) {
	r := logRig(t, logPolicy)
	frame := fromClient(packetIn{sport: 4000, dport: 80, flags: "S", payload: 300}).frame(t)
	r.feed(lan, frame)
	n := 0
	r.w.logbook.log.Take(func(p *LoggedPacket) {
		n++
		if !bytes.Equal(p.Bytes, frame[:64]) || p.FrameLen != len(frame) || p.Port != lan || p.Sense != LogInbound || p.At != r.w.now {
			t.Errorf("%+v, the frame is %x", p, frame)
		}
	})
	if n != 1 {
		t.Errorf("%d logged", n)
	}
}

// TestLog_Own: what the node itself sends is logged as it leaves by its port.
func TestLog_Own(t *testing.T) {
	r := logRig(t, logPolicy+"[[rules]]\nid = \"own\"\naction = \"block\"\nfrom = \"self\"\nproto = \"udp\"\nlog = true\n")
	p := packetIn{from: wanAddr, to: server, fromMAC: macWan, toMAC: macServer, proto: packet.UDP, sport: 5, dport: 53}
	r.kernel[wan].say = append(r.kernel[wan].say, p.frame(t))
	r.w.fromKernel(r.w.shares[wan])
	r.take()
	r.wantLogged("own", "own block rule-block 255>1 udp 203.0.113.2:5 > 203.0.113.10:53")
}

// TestLog_Parked: a packet that waits for its neighbour is logged once, when it goes on.
func TestLog_Parked(t *testing.T) {
	r := rigOf(t, logPolicy, rigRoutes, rigNeighbors[:1], 1000)
	log, err := NewPacketLog(1, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r.w.logbook = newLogbook(log, 0)
	r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S"}).frame(t))
	r.wantLogged("waits")
	if r.w.parked.n != 1 {
		t.Fatalf("%d parked", r.w.parked.n)
	}
	snapshot := *r.w.snapshot
	snapshot.Routes = fib.NewTable(rigRoutes, rigNeighbors)
	r.w.snapshot, r.w.parked.generation = &snapshot, ^uint64(0) // the routes have changed
	r.w.retryParked()
	r.take()
	r.wantLogged("goes on", "first pass pass 0>1 tcp 10.0.0.10:4000 > 203.0.113.10:80 as 203.0.113.2 original")
}

// TestLog_Fragments: a datagram in pieces is one packet, also beside others of its burst.
func TestLog_Fragments(t *testing.T) {
	r := logRig(t, logPolicy)
	whole := fromClient(packetIn{proto: packet.UDP, sport: 9, dport: 9, payload: 1200}).frame(t)
	pieces := cut4(whole, cutting{size: 800, id: 1})
	other := fromClient(packetIn{sport: 4000, dport: 80, flags: "S"}).frame(t)
	r.feed(lan, other, pieces[0], pieces[1], fromClient(packetIn{sport: 4000, dport: 23, flags: "S"}).frame(t))
	r.wantLogged("a burst",
		"first pass pass 0>1 tcp 10.0.0.10:4000 > 203.0.113.10:80 as 203.0.113.2 original",
		"default block rule-block 0>1 udp 10.0.0.10:9 > 203.0.113.10:9",
		"no-telnet reject rule-reject 0>1 tcp 10.0.0.10:4000 > 203.0.113.10:23")
}

// TestLog_Shed: what finds no room is counted and lost, and its packet is not; when there is
// room again, the log goes on.
func TestLog_Shed(t *testing.T) {
	r := logRig(t, logPolicy)
	frame := fromClient(packetIn{sport: 4000, dport: 23, flags: "S"}).frame(t)
	for range logSlots + 7 {
		r.feed(lan, frame)
	}
	if n := len(r.dropped(lan)); n != logSlots+7 {
		t.Errorf("%d were rejected", n)
	}
	if n, shed := len(r.logged()), r.w.logbook.log.Shed(); n != logSlots || shed != 7 {
		t.Errorf("%d logged, %d shed", n, shed)
	}
	r.feed(lan, frame)
	if n := len(r.logged()); n != 1 {
		t.Errorf("%d logged after the flood", n)
	}
}

// TestLog_NoAllocations: neither a logged packet nor one that is not costs memory.
func TestLog_NoAllocations(t *testing.T) {
	r := logRig(t, logPolicy)
	for _, dport := range []uint16{23, 443} {
		frame := fromClient(packetIn{sport: 4000, dport: dport, flags: "S"}).frame(t)
		b := &r.w.burst
		feed := func() {
			b.in, b.n = r.w.shares[lan], r.w.umem.Alloc(b.desc[:1])
			buf := r.w.umem.Bytes(b.desc[0])
			b.desc[0].Len = uint32(copy(buf[:cap(buf)], frame))
			r.w.forward(b)
			r.discard()
		}
		feed()
		if n := testing.AllocsPerRun(100, feed); n != 0 {
			t.Errorf("port %d: %v allocations", dport, n)
		}
	}
	if n := len(r.logged()); n < 200 {
		t.Errorf("%d were logged", n)
	}
}

// TestLog_Bell: who waits is woken by a packet, misses none of two workers', and by Close.
func TestLog_Bell(t *testing.T) {
	const each = 5000
	log, err := NewPacketLog(2, 64)
	if err != nil {
		t.Fatal(err)
	}
	var producers sync.WaitGroup
	taken := 0
	taker := make(chan error)
	go func() {
		for {
			err := log.Wait()
			log.Take(func(p *LoggedPacket) {
				if p.FrameLen != 3 || string(p.Bytes) != "abc" {
					t.Errorf("torn: %+v", p)
				}
				taken++
			})
			if err != nil {
				taker <- err
				return
			}
		}
	}()
	for i := range 2 {
		producers.Go(func() {
			l := newLogbook(log, i)
			b := &burst{in: &share{Port: &Port{}}}
			b.frame[0] = []byte("abc")
			for range each {
				if l.begin(b, 0, 1) != nil {
					l.settle(b)
					l.publish()
				}
			}
		})
	}
	producers.Wait()
	log.Close()
	if err := <-taker; err != os.ErrClosed {
		t.Error(err)
	}
	if shed := int(log.Shed()); taken+shed != 2*each || taken == 0 {
		t.Errorf("%d taken and %d shed of %d", taken, shed, 2*each)
	}
}
