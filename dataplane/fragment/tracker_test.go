package fragment

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// step is one piece that comes in.
type step struct {
	at     int64 // s
	start  int
	follow more
	length int
	want   Outcome
	why    drop.Reason // where it is refused
}

// run gives a tracker pieces of data's bytes, in both families.
func run(t *testing.T, name string, steps []step) {
	t.Helper()
	for _, sixth := range []bool{false, true} {
		b, all := newBench(), data(4000)
		for i, s := range steps {
			got := b.add(t, family(sixth).piece(s.start, s.follow, all[s.start:s.start+s.length]), 1+s.at*1e9)
			if got != s.want || got == Refused && b.r.Why != s.why {
				t.Errorf("%s, IPv6 %v, piece %d: %v for %v, want %v for %v", name, sixth, i, got, b.r.Why, s.want, s.why)
			}
			if got == Whole && !bytes.Equal(b.d.Frame[b.d.Split:], all[:len(b.d.Frame)-b.d.Split]) {
				t.Errorf("%s: not the bytes that were sent", name)
			}
			b.t.check(t)
		}
	}
}

// TestK1_EveryOrder: five pieces in all 120 orders become the datagram that they are of,
// and say where they ended.
func TestK1_EveryOrder(t *testing.T) {
	for _, sixth := range []bool{false, true} {
		m, all := family(sixth), data(1000)
		b := newBench()
		var order func(used []int)
		order = func(used []int) {
			if len(used) == 5 {
				for k, i := range used {
					end := min(i*208+208, 1000)
					want := Kept
					if k == 4 {
						want = Whole
					}
					if got := b.add(t, m.piece(i*208, i < 4, all[i*208:end]), 1); got != want {
						t.Fatalf("%v: piece %d: %v", used, i, got)
					}
				}
				if !bytes.Equal(b.d.Frame[b.d.Split:], all) || !reflect.DeepEqual(b.d.Ends, []uint16{208, 416, 624, 832, 1000}) {
					t.Fatalf("%v: %d bytes, ends %v", used, len(b.d.Frame), b.d.Ends)
				}
				return
			}
		next:
			for i := range 5 {
				for _, u := range used {
					if u == i {
						continue next
					}
				}
				order(append(used[:len(used):len(used)], i))
			}
		}
		order(nil)
		if n, held := b.t.Waiting(); n+held != 0 {
			t.Errorf("%d datagrams, %d bytes are left", n, held)
		}
	}
}

// TestK2_Time: what is not whole in time is gone, its memory too, and what comes later
// begins anew.
func TestK2_Time(t *testing.T) {
	for _, row := range []struct {
		m    maker
		wait int64
	}{{v4(), 30}, {v6(), 60}} {
		b := newBench()
		last := row.m.piece(8, false, data(8))
		first := row.m.piece(0, true, data(8))
		b.add(t, last, 1)
		if b.t.Sweep(row.wait*1e9, &b.r); len(b.r.Dead) != 0 {
			t.Fatal("given up before its time")
		}
		b.t.Sweep(1+row.wait*1e9, &b.r)
		if want := []Dead{{port, 1, drop.FragmentTimeout}}; !reflect.DeepEqual(b.r.Dead, want) {
			t.Fatalf("dead: %v, want %v", b.r.Dead, want)
		}
		if n, held := b.t.Waiting(); n+held != 0 {
			t.Fatalf("%d datagrams, %d bytes are left", n, held)
		}
		if got := b.add(t, first, 2+row.wait*1e9); got != Kept {
			t.Fatalf("a late first piece: %v", got)
		}
		// Without a sweep in between time counts all the same.
		if got := b.add(t, last, 3+2*row.wait*1e9); got != Kept || len(b.r.Dead) != 1 {
			t.Fatalf("the rest after its time: %v, dead %v", got, b.r.Dead)
		}
		b.t.check(t)
	}
}

// TestK3_Overlaps: any overlap ends the datagram, later pieces included, for as long as
// one may wait; an exact duplicate does nothing.
func TestK3_Overlaps(t *testing.T) {
	run(t, "duplicates", []step{
		{0, 0, true, 16, Kept, 0}, {0, 0, true, 16, Kept, 0}, {0, 32, false, 5, Kept, 0}, {0, 32, false, 5, Kept, 0}, {0, 16, true, 16, Whole, 0},
	})
	for name, overlap := range map[string]step{
		"over the end":       {0, 8, true, 16, Refused, drop.FragmentOverlap},
		"over the beginning": {0, 24, true, 16, Refused, drop.FragmentOverlap},
		"inside":             {0, 40, true, 8, Refused, drop.FragmentOverlap},
		"around":             {0, 24, true, 64, Refused, drop.FragmentOverlap},
		"same start, less":   {0, 32, true, 16, Refused, drop.FragmentOverlap},
		"same start, more":   {0, 32, true, 48, Refused, drop.FragmentOverlap},
		"same end":           {0, 8, true, 8, Refused, drop.FragmentOverlap},
		"and says the last":  {0, 32, false, 32, Refused, drop.FragmentOverlap},
	} {
		run(t, name, []step{
			{0, 0, true, 16, Kept, 0}, {0, 32, true, 32, Kept, 0}, overlap,
			{1, 16, true, 16, Refused, drop.FragmentOverlap}, {20, 64, false, 8, Refused, drop.FragmentOverlap},
			{29, 0, true, 16, Refused, drop.FragmentOverlap}, {61, 0, true, 16, Kept, 0},
		})
	}
	for _, sixth := range []bool{false, true} { // same place, other bytes
		b, m := newBench(), family(sixth)
		b.add(t, m.piece(0, true, make([]byte, 600)), 1)
		other := make([]byte, 600)
		other[599] = 1
		if got := b.add(t, m.piece(0, true, other), 1); got != Refused || b.r.Dead[0].Why != drop.FragmentOverlap {
			t.Errorf("%v, %v", got, b.r.Dead)
		}
	}
}

// TestK5_Lengths: pieces that no datagram has, and pieces that disagree on its end.
func TestK5_Lengths(t *testing.T) {
	run(t, "two ends", []step{{0, 16, false, 8, Kept, 0}, {0, 24, false, 8, Refused, drop.FragmentOverlap}, {0, 0, true, 16, Refused, drop.FragmentOverlap}})
	run(t, "an earlier end", []step{{0, 16, true, 8, Kept, 0}, {0, 8, false, 8, Refused, drop.FragmentOverlap}})
	run(t, "past the end", []step{{0, 16, false, 8, Kept, 0}, {0, 24, true, 8, Refused, drop.FragmentOverlap}})
	for _, row := range []struct {
		name   string
		m      maker
		start  int
		follow more
		length int
		want   Outcome
	}{
		{"empty", v4(), 8, false, 0, Refused},
		{"empty 6", v6(), 8, false, 0, Refused},
		{"no multiple of eight", v4(), 8, true, 12, Refused},
		{"no multiple of eight 6", v6(), 0, true, 12, Refused},
		{"the longest", v4(), 65512, false, 3, Kept},
		{"past the longest", v4(), 65512, false, 4, Refused},
		{"far past it", v4(), 65528, false, 1400, Refused},
		{"the longest 6", v6(), 65528, false, 7, Kept},
		{"past the longest 6", v6(), 65528, false, 8, Refused},
	} {
		b := newBench()
		if got := b.add(t, row.m.piece(row.start, row.follow, data(row.length)), 1); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
		b.t.check(t)
	}
	// The headers of the first piece count too: longer ones make the datagram too long.
	b, m := newBench(), v4()
	for at := 0; at < 65512; at += 1448 {
		b.add(t, m.piece(at, true, make([]byte, min(1448, 65512-at))), 1)
	}
	if got := b.add(t, m.piece(65512, false, make([]byte, 3)), 1); got != Whole || len(b.d.Frame) != 14+65535 {
		t.Errorf("the longest datagram: %v, %d bytes", got, len(b.d.Frame))
	}
	m.id, m.options = 8, make([]byte, 4)
	b.add(t, m.piece(0, true, make([]byte, 1448)), 1)
	m.options = nil
	for at := 1448; at < 65512; at += 1448 {
		b.add(t, m.piece(at, true, make([]byte, min(1448, 65512-at))), 1)
	}
	if got := b.add(t, m.piece(65512, false, make([]byte, 3)), 1); got != Refused || b.r.Why != drop.FragmentInvalid {
		t.Errorf("past it by an option: %v, %v", got, b.r.Why)
	}
	b.t.check(t)
}

// TestK5_TooMany: a datagram of more pieces than any needs is given up.
func TestK5_TooMany(t *testing.T) {
	b := newBench()
	for i := range PiecesMax {
		if got := b.add(t, v4().piece(i*8, true, data(8)), 1); got != Kept {
			t.Fatalf("piece %d: %v", i, got)
		}
	}
	if got := b.add(t, v4().piece(PiecesMax*8, false, data(8)), 1); got != Refused || b.r.Why != drop.FragmentInvalid {
		t.Errorf("%v, %v", got, b.r.Why)
	}
	if want := []Dead{{port, PiecesMax, drop.FragmentInvalid}}; !reflect.DeepEqual(b.r.Dead, want) {
		t.Errorf("dead: %v", b.r.Dead)
	}
	b.t.check(t)
}

// TestK1_WhatTellsDatagramsApart: addresses, identification, protocol (IPv4) and port do;
// the protocol that a later IPv6 piece names does not (RFC 8200 section 4.5).
func TestK1_WhatTellsDatagramsApart(t *testing.T) {
	for name, change := range map[string]func(*maker){
		"source":         func(m *maker) { m.src = m.src[:len(m.src)-1] + "3" },
		"destination":    func(m *maker) { m.dst = m.dst[:len(m.dst)-1] + "8" },
		"identification": func(m *maker) { m.id++ },
		"protocol":       func(m *maker) { m.proto = 6 },
	} {
		for _, sixth := range []bool{false, true} {
			b, m := newBench(), family(sixth)
			b.add(t, m.piece(0, true, data(8)), 1)
			change(&m)
			want := Kept
			if sixth && name == "protocol" {
				want = Whole
			}
			if got := b.add(t, m.piece(8, false, data(8)), 1); got != want {
				t.Errorf("another %s, IPv6 %v: %v", name, sixth, got)
			}
		}
	}
	b := newBench()
	b.add(t, v4().piece(0, true, data(8)), 1)
	var p packet.Parsed
	f := v4().piece(8, false, data(8))
	packet.Decode(f, &p)
	if b.t.Add(port+1, f, &p, 1, &b.d, &b.r); b.r.Outcome != Kept {
		t.Errorf("by another port: %v", b.r.Outcome)
	}
}

// TestK1_HeadersOfTheWhole: TTL is the lowest, congestion is kept (RFC 3168 section 5.3),
// DF is that of any piece, the rest of the first.
func TestK1_HeadersOfTheWhole(t *testing.T) {
	for _, row := range []struct {
		first, second uint8 // ECN
		want          uint8
		outcome       Outcome
	}{
		{0, 0, 0, Whole}, {1, 2, 1, Whole}, {2, 3, 3, Whole}, {3, 1, 3, Whole}, {3, 3, 3, Whole}, {0, 3, 0, Refused}, {3, 0, 0, Refused}, {0, 2, 0, Whole},
	} {
		for _, sixth := range []bool{false, true} {
			b, m := newBench(), family(sixth)
			m.class, m.ttl = 0xb8|row.first, 60
			b.add(t, m.piece(0, true, data(64)), 1)
			m.class, m.ttl = row.second, 50
			got := b.add(t, m.piece(64, false, data(9)), 1)
			if got != row.outcome {
				t.Fatalf("%+v: %v", row, got)
			}
			b.t.check(t)
			if got == Refused {
				continue
			}
			var p packet.Parsed
			packet.Decode(b.d.Frame, &p)
			if p.TTL != 50 || packet.Class(b.d.Frame, &p) != 0xb8|row.want || p.Fragment || int(p.End) != len(b.d.Frame) || packet.DontFragment(b.d.Frame, &p) != sixth {
				t.Errorf("%+v, IPv6 %v: TTL %d, class %#x, %+v", row, sixth, p.TTL, packet.Class(b.d.Frame, &p), p)
			}
		}
	}
}

// hosts returns a maker whose source is host i.
func host(i int) maker {
	m := v4()
	m.src = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()
	return m
}

// TestK11_OneSource: a source that fills its share pushes out its own oldest, of others nothing.
func TestK11_OneSource(t *testing.T) {
	b := newBench()
	b.add(t, host(1).piece(0, true, data(1400)), 1)
	flood := host(2)
	killed := 0
	for i := range 5000 {
		flood.id = uint32(i)
		if b.add(t, flood.piece(0, true, data(1400)), 2); len(b.r.Dead) > 0 && b.r.Dead[0].Why != drop.FragmentPressure {
			t.Fatal(b.r.Dead)
		}
		killed += len(b.r.Dead)
	}
	n, held := b.t.Waiting()
	if held > (production.share+3)*cellSize || killed != 5000+1-n {
		t.Errorf("%d bytes held, %d datagrams wait, %d were given up", held, n, killed)
	}
	if got := b.add(t, host(1).piece(1400, false, data(8)), 3); got != Whole {
		t.Errorf("another source's datagram: %v", got)
	}
	// One IPv6 host has a /64 to choose from: it is one source.
	for i := range 3000 {
		m := v6()
		m.src = fmt.Sprintf("2001:db8:1::%x", i+100)
		b.add(t, m.piece(0, true, data(1200)), 4)
	}
	if _, held := b.t.Waiting(); held > 2*production.share*cellSize {
		t.Errorf("%d bytes held by two sources", held)
	}
	b.t.check(t)
}

// TestK11_ManySources: a flood from everywhere pushes out what has waited longest, and
// datagrams whose pieces come together still get through. Nothing allocates.
func TestK11_ManySources(t *testing.T) {
	b := newBench()
	for _, size := range []int{8, 1480} {
		for i := range 20000 {
			b.add(t, host(1000+i).piece(0, true, data(size)), int64(i))
			if i%1000 != 0 {
				continue
			}
			m := host(5)
			m.id = uint32(i)
			for at := 0; at < 65000; at += 1480 { // as ping -s 65000 sends them
				want := Kept
				if at+1480 >= 65000 {
					want = Whole
				}
				if got := b.add(t, m.piece(at, at+1480 < 65000, data(min(1480, 65000-at))), int64(i)); got != want {
					t.Fatalf("after %d of the flood, at %d: %v", i, at, got)
				}
			}
		}
		b.t.check(t)
	}
	frame := host(7).piece(0, true, data(1400))
	var p packet.Parsed
	packet.Decode(frame, &p)
	id := byte(0)
	if n := testing.AllocsPerRun(3000, func() {
		id++
		p.Tuple.Src[14], frame[19] = id, id
		b.t.Add(port, frame, &p, 30000, &b.d, &b.r)
	}); n > 0 {
		t.Errorf("%v allocations per piece", n)
	}
}

// TestREL34_FourMiB: all the memory of a tracker.
func TestREL34_FourMiB(t *testing.T) {
	size := func(v any) int { return int(reflect.TypeOf(v).Size()) }
	indexed := size(link[key]{}) + size(link[packet.Addr]{}) + 2*2*4 // and two heads each
	total := production.cells*(cellSize+4+size(piece{})) + production.names*(size(entry{})+size(holding{})+indexed) + size(Identities{})
	if total > 4<<20 {
		t.Errorf("%d bytes of %d", total, 4<<20)
	}
}

// TestK10_Queues: pieces that come in by several queues at once make each datagram once.
func TestK10_Queues(t *testing.T) {
	tracker := New()
	const datagrams, pieces = 60, 20
	var wholes [4]int
	var wait sync.WaitGroup
	for queue := range wholes {
		wait.Go(func() {
			b := &bench{t: tracker}
			for id := range datagrams {
				for i := queue; i < pieces; i += len(wholes) {
					m := host(id)
					if b.add(t, m.piece(i*80, i < pieces-1, data(1600)[i*80:i*80+80]), 1) == Whole {
						wholes[queue]++
						if !bytes.Equal(b.d.Frame[b.d.Split:], data(1600)) {
							t.Error("not the bytes that were sent")
						}
					}
				}
			}
		})
	}
	wait.Wait()
	if n := wholes[0] + wholes[1] + wholes[2] + wholes[3]; n != datagrams {
		t.Errorf("%d datagrams of %d: %v", n, datagrams, wholes)
	}
	tracker.check(t)
}

// TestK7_Identities: between two hosts none comes twice in 2^16, whoever asks.
func TestK7_Identities(t *testing.T) {
	tracker := New()
	src, dst := packet.AddrFrom(netip.MustParseAddr("203.0.113.2")), packet.AddrFrom(netip.MustParseAddr("203.0.113.9"))
	var mu sync.Mutex
	seen := map[uint32]bool{}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 1 << 14 {
				id := tracker.Identities.Next(&src, &dst)
				mu.Lock()
				if seen[id] || id > 0xffff {
					t.Errorf("%#x again, or too long", id)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	six := packet.AddrFrom(netip.MustParseAddr("2001:db8::1"))
	wide := map[uint32]bool{}
	for range 1 << 16 {
		wide[tracker.Identities.Next(&six, &six)] = true
	}
	if len(wide) != 1<<16 {
		t.Errorf("%d of %d are different", len(wide), 1<<16)
	}
}
