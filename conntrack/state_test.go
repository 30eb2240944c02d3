package conntrack

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
)

// TestExportOfSYN compares what Insert tells of a SYN with what Export does.
func TestExportOfSYN(t *testing.T) {
	table := newTable(t, Config{Capacity: 1000})
	r := rand.New(rand.NewPCG(5, 5))
	for i := range 1000 {
		p := tcpPacket(numbered(i), packet.FlagSYN, r.Uint32(), 0)
		p.Window, p.End = uint16(r.Uint32()), p.End+uint32(r.IntN(3)*100)
		if r.IntN(2) == 0 {
			p.TCPOptions, p.WScale = packet.HasWScale|packet.HasSACKPermitted, uint8(r.IntN(15))
		}
		pr := proposalFor(p.Tuple)
		var res Result
		res.State.Dir = [2]DirState{{Seen: 0xff, Scale: 9, MaxWin: 9, End: 9, MaxEnd: 9, MaxAck: 9}, {Seen: 0xff, Scale: 9, MaxWin: 9, End: 9, MaxEnd: 9, MaxAck: 9}}
		var want State
		if table.Insert(&pr, &p, 1, &res) != Inserted || !table.Export(res.Index, 1, &want) || res.State != want {
			t.Fatalf("insert tells %+v\nexport %+v", res.State, want)
		}
	}
}

// anyState draws a state of one connection: incarnations collide often, and its other
// fields are whatever they like.
func anyState(t *rapid.T, name string) State {
	s := State{
		Incarnation: Incarnation(rapid.Uint64Range(1, 3).Draw(t, name+" incarnation")),
		Original:    tuple(packet.TCP, "10.0.0.2", 40000, "198.51.100.7", 80),
		Flags:       Flags(rapid.Uint16Range(0, uint16(flagsKnown)).Draw(t, name+" flags")),
		Class: Class{
			Rule:    rapid.Uint32Range(0, 2).Draw(t, name+" rule"),
			Ingress: packet.PortID(rapid.Uint8Range(0, 2).Draw(t, name+" ingress")),
			Egress:  packet.PortID(rapid.Uint8Range(0, 2).Draw(t, name+" egress")),
			Gateway: rapid.Uint8Range(0, 2).Draw(t, name+" gateway"),
			Mode:    Mode(rapid.Uint8Range(0, 2).Draw(t, name+" mode")),
			Sync:    SyncMode(rapid.Uint8Range(0, 2).Draw(t, name+" sync")),
		},
		Idle: rapid.Uint32Range(0, 3).Draw(t, name+" idle"),
	}
	switch s.Flags & (Proxied | Spliced) {
	case 0:
	case Spliced: // never alone
		s.Flags |= Proxied
		fallthrough
	default:
		s.Offset = rapid.Uint32Range(0, 3).Draw(t, name+" offset")
	}
	// One incarnation has one reply tuple.
	s.Reply = tuple(packet.TCP, "198.51.100.7", 80, "203.0.113.2", 50000+uint16(s.Incarnation))
	for d := range s.Dir {
		s.Dir[d] = DirState{
			Seen:   Seen(rapid.Uint8Range(0, uint8(seenKnown)).Draw(t, name+" seen")),
			Scale:  rapid.Uint8Range(0, 14).Draw(t, name+" scale"),
			MaxWin: rapid.Uint32Range(0, 3).Draw(t, name+" window"),
			End:    rapid.Uint64Range(0, 5).Draw(t, name+" end"),
			MaxEnd: rapid.Uint64Range(0, 5).Draw(t, name+" max end"),
			MaxAck: rapid.Uint64Range(0, 5).Draw(t, name+" max ack"),
		}
	}
	return s
}

func merged(a, b State) State {
	a.Merge(&b)
	return a
}

// TestP6_MergeIsAJoin: so updates may be lost, doubled and reordered.
func TestP6_MergeIsAJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := anyState(t, "a"), anyState(t, "b"), anyState(t, "c")
		if merged(a, a) != a {
			t.Fatal("not idempotent")
		}
		if ab, ba := merged(a, b), merged(b, a); ab != ba {
			t.Fatalf("not commutative:\n%+v\n%+v", ab, ba)
		}
		if l, r := merged(merged(a, b), c), merged(a, merged(b, c)); l != r {
			t.Fatalf("not associative:\n%+v\n%+v", l, r)
		}
		if ab := merged(a, b); merged(ab, a) != ab || merged(ab, b) != ab {
			t.Fatal("the join is not above both")
		}
	})
}

// TestP6_AppliedInAnyOrder gives the exported states of a real connection to a second
// table in a random order, some of them twice, by Apply and by Merge: in the end it
// exports what the first one does.
func TestP6_AppliedInAnyOrder(t *testing.T) {
	tr := newTracer(t, [2]uint32{0xffffff00, 7}, true)
	var states []State
	for _, row := range []string{
		"-> S seq=0 ws=7 sackok => new SS",
		"<- SA seq=0 ack=1 ws=7 sackok => pass SR",
		"-> A seq=1 ack=1 => pass ES",
		"<- PA seq=8000000 ack=1 len=1000 => pass ES",
		"-> A seq=1 ack=8001000 => pass ES",
		"-> FA seq=1 ack=8001000 => pass FW",
		"<- A seq=8001000 ack=2 => pass CW",
		"<- FA seq=8001000 ack=2 => pass LA",
		"-> A seq=2 ack=8001001 => pass TW",
		"-> S seq=70000 ws=2 => reopen SS",
		"<- SA seq=5 ack=70001 ws=3 => pass SR",
		"-> A seq=70001 ack=6 => pass ES",
	} {
		tr.run(row)
		if tr.result.Change != ChangeNone {
			states = append(states, tr.result.State)
		}
	}
	var want State
	if tr.table.Export(tr.result.Index, tr.now, &want); len(states) < 10 {
		t.Fatalf("only %d updates were due", len(states))
	}
	rapid.Check(t, func(rt *rapid.T) {
		order := rapid.Permutation(append(append([]State{}, states...), states...)).Draw(rt, "order")
		other, err := New(Config{Capacity: 10, Node: 2})
		if err != nil {
			rt.Fatal(err)
		}
		defer other.Close()
		var a Applied
		for i := range order {
			s := &order[i]
			u := Update{Incarnation: uint32(s.Incarnation), Flags: s.Flags, Dir: s.Dir, Idle: s.Idle}
			if rapid.Bool().Draw(rt, "as update") && other.Merge(0, &u, tr.now, &a) != Unknown {
				continue
			}
			switch got := other.Apply(s, tr.now, &a); got {
			case AppliedNew, AppliedMerged, AppliedReopened:
			case Stale:
				if !a.Ours.outdoes(s) && a.Ours.Incarnation <= s.Incarnation {
					rt.Fatalf("called stale by what is not better")
				}
			default:
				rt.Fatalf("outcome %v", got)
			}
		}
		var got State
		if other.Len() != 1 || !other.Export(0, tr.now, &got) {
			rt.Fatalf("%d connections", other.Len())
		}
		got.Index, got.Idle = want.Index, want.Idle
		if got != want {
			rt.Fatalf("ends as\n%+v, want\n%+v", got, want)
		}
	})
}

// TestUpdateDue: a download of 16 MiB within one window's cell is exported once per cell
// and side, not once per packet, and what was exported is never behind the wire.
func TestUpdateDue(t *testing.T) {
	tr := newTracer(t, [2]uint32{1000, 5000}, false)
	tr.run(shake)
	exported := tr.result.State
	if exported.TCP() != Established || exported.Flags != Replied|Assured {
		t.Fatalf("after the handshake: %v %v", exported.TCP(), exported.Flags)
	}
	updates := 0
	for range 16 << 20 / 60000 {
		tr.run("<- PA seq=1 ack=1 len=60000 win=502 => pass ES")
		if tr.result.Change != ChangeNone {
			updates++
			exported = tr.result.State
		}
		tr.isn[1] += 60000
		tr.run("-> A seq=1 ack=1 win=1000 => pass ES")
		if tr.result.Change != ChangeNone {
			updates++
			exported = tr.result.State
		}
		wire := tr.table.conns.all[tr.result.Index].edge[Reply].position()
		if ahead := int64(exported.Dir[Reply].End - wire); ahead < 1<<20 || ahead > 2<<20 {
			t.Fatalf("End is exported %d ahead", ahead)
		}
	}
	if updates < 16 || updates > 2*16+3 {
		t.Errorf("%d updates for 16 MiB", updates)
	}
}

// TestUpdateDueWhenIdle: a connection that only stays alive is exported in every third
// of its timeout, and not more often than twice.
func TestUpdateDueWhenIdle(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	p, hit := parsed(numbered(1), 0), []Hit{{}}
	pr := proposalFor(p.Tuple)
	var r Result
	now := int64(time.Hour)
	table.Insert(&pr, &p, now, &r)
	last, longest, updates := now, int64(0), 0
	for range 600 {
		now += int64(time.Second)
		table.Lookup([]packet.Parsed{p}, hit)
		table.Track(&p, &hit[0], now, &r)
		if r.Change != ChangeNone {
			longest, last = max(longest, now-last), now
			updates++
		}
	}
	if longest > int64(10*time.Second) {
		t.Errorf("unheard of for %v of a timeout of 30s", time.Duration(longest))
	}
	if updates > 600/5 {
		t.Errorf("%d updates in 600 s", updates)
	}
}
