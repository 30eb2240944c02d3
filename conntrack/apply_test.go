package conntrack

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// established returns the state of a connection, made by packets.
func established(t *testing.T, nat bool) State {
	t.Helper()
	tr := newTracer(t, [2]uint32{1000, 5000}, nat)
	tr.run(shake)
	return tr.result.State
}

func TestApplyValidates(t *testing.T) {
	for name, spoil := range map[string]func(*State){
		"no incarnation":         func(s *State) { s.Incarnation = 0 },
		"unknown flag":           func(s *State) { s.Flags |= 1 << 7 },
		"translation not shown":  func(s *State) { s.Flags &^= SourceNAT },
		"translation not there":  func(s *State) { s.Flags |= DestinationNAT },
		"assured, not replied":   func(s *State) { s.Flags &^= Replied },
		"no such mode":           func(s *State) { s.Sync = syncModes },
		"no such port":           func(s *State) { s.Egress = 64 },
		"idle for a year":        func(s *State) { s.Idle = 1 << 31 },
		"two protocols":          func(s *State) { s.Reply.Proto = packet.UDP },
		"two families":           func(s *State) { s.Reply.Dst = packet.Addr{0: 0x20, 15: 1} },
		"to itself":              func(s *State) { s.Reply = s.Original },
		"to everybody":           func(s *State) { s.Original.Dst = packet.Addr{10: 0xff, 11: 0xff, 12: 224, 15: 1} },
		"from nowhere":           func(s *State) { s.Original.Src = packet.Addr{10: 0xff, 11: 0xff} },
		"no SYN":                 func(s *State) { s.Dir[Original].Seen &^= SeenSYN },
		"FIN acked but not sent": func(s *State) { s.Dir[Reply].Seen |= SeenFINAcked },
		"unknown element":        func(s *State) { s.Dir[Reply].Seen |= 1 << 7 },
		"scale 15":               func(s *State) { s.Dir[Reply].Scale = 15 },
		"scale not offered":      func(s *State) { s.Dir[Reply].Seen &^= SeenScale },
		"no window":              func(s *State) { s.Dir[Original].MaxWin = 0 },
		"window above 1 GiB":     func(s *State) { s.Dir[Original].MaxWin = 1<<30 + 1 },
		"position before start":  func(s *State) { s.Dir[Original].End = 5 },
		"position near overflow": func(s *State) { s.Dir[Original].End = 1 << 63 },
		"edge behind":            func(s *State) { s.Dir[Original].MaxEnd = s.Dir[Original].End - 1 },
		"edge far ahead":         func(s *State) { s.Dir[Original].MaxEnd = s.Dir[Original].End + 1<<31 },
		"acked before sent":      func(s *State) { s.Dir[Original].MaxAck = s.Dir[Reply].End + 1 },
		"acked long ago":         func(s *State) { s.Dir[Original].MaxAck = s.Dir[Reply].End - 1<<31 },
		"UDP with positions": func(s *State) {
			s.Original.Proto, s.Reply.Proto = packet.UDP, packet.UDP
		},
		"IGMP with ports": func(s *State) {
			s.Original.Proto, s.Reply.Proto, s.Dir = 2, 2, [2]DirState{}
		},
	} {
		table := newTable(t, Config{Capacity: 10})
		var a Applied
		s := established(t, true)
		spoil(&s)
		if got := table.Apply(&s, 1, &a); got != Invalid || table.Len() != 0 {
			t.Errorf("%s: %v", name, got)
		}
		if s = established(t, true); table.Apply(&s, 1, &a) != AppliedNew {
			t.Errorf("%s: the unspoilt state is refused", name)
		}
	}
}

func TestApplyStaleAndGreater(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	var a Applied
	old := established(t, true)
	if got := table.Apply(&old, 1, &a); got != AppliedNew {
		t.Fatal(got)
	}
	index := a.Index

	behind := old
	behind.Flags &^= Assured
	behind.Dir[Reply].End -= 1 << 20
	behind.Dir[Reply].MaxEnd -= 1 << 20
	if got := table.Apply(&behind, 1, &a); got != Stale || a.Ours.Flags != old.Flags || a.Index != index {
		t.Errorf("older edges: %v, %+v", got, a.Ours)
	}
	if got := table.Apply(&old, 1, &a); got != AppliedMerged {
		t.Errorf("a duplicate: %v", got)
	}

	next := old
	next.Incarnation += 1 << 16
	a.Ours = State{}
	if got := table.Apply(&next, 1, &a); got != AppliedReopened || a.Index != index || len(a.Ended) != 0 || a.Ours.Incarnation != old.Incarnation {
		t.Errorf("greater incarnation: %v over %v", got, a.Ours.Incarnation)
	}
	if got := table.Apply(&old, 1, &a); got != Stale || a.Ours.Incarnation != next.Incarnation {
		t.Errorf("lower incarnation: %v", got)
	}

	// The same original tuple with another translation, then somebody else's connection
	// to that translation: each time the greater incarnation has it.
	moved := next
	moved.Incarnation += 1 << 16
	moved.Reply.DstPort++
	if got := table.Apply(&moved, 1, &a); got != AppliedNew || len(a.Ended) != 1 || a.Ended[0].State.Reply != next.Reply || a.Ended[0].Why != EndReplaced {
		t.Errorf("other translation: %v, %+v", got, a.Ended)
	}
	if got := table.Apply(&next, 1, &a); got != Stale || a.Ours.Reply != moved.Reply {
		t.Errorf("the older translation again: %v", got)
	}
	rival := moved
	rival.Original.SrcPort++
	rival.Incarnation--
	if got := table.Apply(&rival, 1, &a); got != AppliedClash || a.Ours.Original != moved.Original {
		t.Errorf("older rival: %v", got)
	}
	rival.Incarnation += 2
	if got := table.Apply(&rival, 1, &a); got != AppliedNew || len(a.Ended) != 1 || a.Ended[0].State.Original != moved.Original {
		t.Errorf("newer rival: %v", got)
	}
	if table.Len() != 1 {
		t.Errorf("%d connections", table.Len())
	}
	// What begins here is greater than all that was heard of.
	if r := insertNumbered(t, table, 1); r.Incarnation <= rival.Incarnation {
		t.Errorf("new incarnation %v, heard of %v", r.Incarnation, rival.Incarnation)
	}
}

func TestMergeNamesOneLife(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	var a Applied
	s := established(t, false)
	table.Apply(&s, 1, &a)
	u := Update{Incarnation: uint32(s.Incarnation), Flags: s.Flags, Dir: s.Dir}
	u.Dir[Original].Seen |= SeenFIN
	if got := table.Merge(a.Index, &u, 1, &a); got != AppliedMerged {
		t.Errorf("update: %v", got)
	}
	var v View
	if table.View(a.Index, 1, &v); v.TCP != FinWait || v.Timer != TimerFinWait {
		t.Errorf("after a FIN: %v, %v", v.TCP, v.Timer)
	}
	u.Incarnation++
	if got := table.Merge(a.Index, &u, 1, &a); got != Unknown {
		t.Errorf("another life: %v", got)
	}
	if got := table.Merge(7, &u, 1, &a); got != Unknown {
		t.Errorf("an index never used: %v", got)
	}
	u.Incarnation--
	u.Dir[Original].Scale = 99
	if got := table.Merge(a.Index, &u, 1, &a); got != Invalid {
		t.Errorf("nonsense: %v", got)
	}
}

// TestApplyAnything feeds states whose every field is random around a valid one, then
// packets: whatever is let in, the table survives.
func TestApplyAnything(t *testing.T) {
	base := established(t, true)
	var a Applied
	var res Result
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		table, err := New(Config{Capacity: 50})
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		if table.Apply(&base, int64(time.Hour), &a) != AppliedNew {
			t.Fatal("the base is refused")
		}
		s := base
		s.Incarnation = Incarnation(rapid.Uint64Range(0, 1<<20).Draw(t, "incarnation"))
		s.Reply.DstPort = uint16(rapid.IntRange(50000, 50003).Draw(t, "port"))
		s.Original.SrcPort = uint16(rapid.IntRange(40000, 40003).Draw(t, "client port"))
		s.Flags = Flags(rapid.SampledFrom([]uint16{0, 4, 5, 7, 7, 15, 99}).Draw(t, "flags"))
		for d := range s.Dir {
			s.Dir[d].Seen = Seen(rapid.Uint8().Draw(t, "seen"))&seenKnown | SeenSYN
			s.Dir[d].Scale = 0
			s.Dir[d].MaxWin = rapid.SampledFrom([]uint32{0, 1, 65535, 1 << 30}).Draw(t, "window")
			s.Dir[d].End = rapid.SampledFrom([]uint64{0, 1 << 32, 1<<32 + 77, 1<<33 - 1, 1<<61 - 1}).Draw(t, "end")
			s.Dir[d].MaxEnd = s.Dir[d].End + rapid.SampledFrom([]uint64{0, 1, 1 << 30}).Draw(t, "max end")
		}
		for d := range s.Dir {
			s.Dir[d].MaxAck = s.Dir[d^1].End - rapid.SampledFrom([]uint64{0, 1, 1 << 30}).Draw(t, "max ack")
		}
		if table.Apply(&s, int64(time.Hour), &a) != Invalid {
			accepted++
		}
		for d, side := range []packet.Tuple{s.Original, s.Reply} {
			p := parsed(side, rapid.IntRange(0, 1400).Draw(t, "length"))
			p.TCPFlags = packet.TCPFlags(rapid.Uint8().Draw(t, "flags"))
			p.Seq, p.Ack = uint32(s.Dir[d].End), uint32(s.Dir[d^1].End)
			hits := make([]Hit, 1)
			table.Lookup([]packet.Parsed{p}, hits)
			if table.Track(&p, &hits[0], int64(time.Hour), &res) == OutcomePass && res.Change != ChangeNone && !res.State.valid() {
				t.Fatalf("exports what it would not accept: %+v", res.State)
			}
		}
	})
	if accepted == 0 {
		t.Error("nothing random was ever accepted")
	}
}

func TestG1_UDP(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	now := int64(time.Hour)
	send := func(tup packet.Tuple) (r Result) {
		t.Helper()
		p := parsed(tup, 20)
		hits := make([]Hit, 1)
		table.Lookup([]packet.Parsed{p}, hits)
		if table.Track(&p, &hits[0], now, &r) != OutcomePass {
			pr := proposalFor(tup)
			if got := table.Insert(&pr, &p, now, &r); got != Inserted {
				t.Fatal(got)
			}
		}
		return r
	}
	client := tuple(packet.UDP, "10.0.0.2", 5000, "10.1.0.1", 53)
	timer := func(r Result) Timer {
		var v View
		table.View(r.Index, now, &v)
		return v.Timer
	}
	if r := send(client); r.Change != ChangeNew || r.Flags != 0 || timer(r) != TimerUDP {
		t.Errorf("first: %+v", r)
	}
	now += int64(10 * time.Second)
	if r := send(client); timer(r) != TimerUDP {
		t.Error("a stream without a reply")
	}
	if r := send(client.Reply()); r.Change != ChangeUpdate || r.Flags != Replied|Assured || timer(r) != TimerUDPStream || r.Direction != Reply {
		t.Errorf("reply: %+v", r)
	}
	// A question and its answer make no stream.
	dns := tuple(packet.UDP, "10.0.0.2", 5001, "10.1.0.1", 53)
	send(dns)
	if r := send(dns.Reply()); r.Flags != Replied || timer(r) != TimerUDP {
		t.Errorf("answer: %+v", r)
	}
}

func TestG4_ICMP(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	var r Result
	insert := func(tup packet.Tuple) InsertOutcome {
		p := parsed(tup, 20)
		pr := proposalFor(tup)
		return table.Insert(&pr, &p, 1, &r)
	}
	request := tuple(packet.ICMP, "10.0.0.2", 7, "10.1.0.1", 8<<8)
	if got := insert(request.Reply()); got != Refused || r.Reason != drop.ICMPNoRequest {
		t.Errorf("a reply without a request: %v, %v", got, r.Reason)
	}
	if got := insert(request); got != Inserted {
		t.Errorf("request: %v", got)
	}
	// G5: a request in the other direction with the same identifier is its own connection.
	if got := insert(tuple(packet.ICMP, "10.1.0.1", 7, "10.0.0.2", 8<<8)); got != Inserted {
		t.Errorf("request of the other side: %v", got)
	}
	if got := insert(tuple(packet.ICMP, "10.0.0.2", 0, "10.1.0.1", 3<<8)); got != Refused || r.Reason != drop.ICMPErrorUnmatched {
		t.Errorf("error: %v, %v", got, r.Reason)
	}
	if got := insert(tuple(packet.ICMPv6, "2001:db8::1", 0, "2001:db8::2", 128<<8)); got != Inserted {
		t.Errorf("ICMPv6 echo with identifier 0 (G6): %v", got)
	}
	if got := insert(tuple(packet.ICMPv6, "2001:db8::1", 0, "2001:db8::2", 139<<8)); got != Refused || r.Reason != drop.ICMPTypeUntracked {
		t.Errorf("node information query: %v, %v", got, r.Reason)
	}
}

func TestG6_NeighborDiscoveryNeverTracked(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	var r Result
	p := parsed(tuple(packet.ICMPv6, "2001:db8::1", 0, "2001:db8::2", 135<<8), 20)
	p.Kind = packet.KindND
	pr := proposalFor(p.Tuple)
	if got := table.Insert(&pr, &p, 1, &r); got != Refused || r.Reason == drop.Pass {
		t.Errorf("%v, %v", got, r.Reason)
	}
	hits := []Hit{{Found: true}}
	if table.Lookup([]packet.Parsed{p}, hits); hits[0].Found {
		t.Error("found")
	}
}

func TestG9_AnyProtocolByAddresses(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	var r Result
	p := parsed(tuple(packet.ESP, "10.0.0.2", 0, "10.1.0.1", 0), 20)
	pr := Proposal{Original: p.Tuple, Reply: tuple(packet.ESP, "10.1.0.1", 0, "203.0.113.2", 0)}
	if got := table.Insert(&pr, &p, 1, &r); got != Inserted || !r.Translated || r.Flags != SourceNAT {
		t.Errorf("%v, %+v", got, r)
	}
	if r.Rewrite.Changes != packet.ChangesSrc {
		t.Errorf("rewrites %v", r.Rewrite.Changes)
	}
}

// TestI1_RewriteBothWays: the first packet leaves with the external source, the answer
// with the inside destination.
func TestI1_RewriteBothWays(t *testing.T) {
	tr := newTracer(t, [2]uint32{1, 1}, true)
	tr.run("-> S seq=0 => new SS")
	if r := &tr.result; !r.Translated || r.Rewrite.Src != tr.proposal.Reply.Dst || r.Rewrite.SrcPort != 50001 || r.Rewrite.DstPort != 80 {
		t.Errorf("out: %+v", r.Rewrite)
	}
	tr.run("<- SA seq=0 ack=1 => pass SR")
	if r := &tr.result; !r.Translated || r.Rewrite.Dst != tr.proposal.Original.Src || r.Rewrite.DstPort != 40000 || r.Class().Egress != 1 {
		t.Errorf("in: %+v", r.Rewrite)
	}
}
