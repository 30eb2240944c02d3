package fragment

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// twin is the tracker in its plainest form, without limits: a map of bytes per datagram.
type twin struct {
	datagrams map[string]*twinned
}

type twinned struct {
	bytes  map[int]byte
	spans  map[[2]int]bool // of the pieces
	end    int             // -1: not known
	dead   bool
	dies   int64
	pieces int
}

// add returns what Add should, and the data of the datagram once it is whole.
func (w *twin) add(key string, wait int64, start int, last bool, data []byte, now int64) (Outcome, []byte) {
	d := w.datagrams[key]
	if d == nil || d.dies <= now {
		d = &twinned{bytes: map[int]byte{}, spans: map[[2]int]bool{}, end: -1, dies: now + wait}
		w.datagrams[key] = d
	}
	if d.dead {
		return Refused, nil
	}
	end := start + len(data)
	if d.spans[[2]int{start, end}] && last == (d.end == end) {
		same := true
		for i, v := range data {
			same = same && d.bytes[start+i] == v
		}
		if same {
			return Kept, nil
		}
	}
	bad := last && d.end >= 0 && d.end != end || d.end >= 0 && end > d.end || d.pieces == PiecesMax
	for at := range d.bytes {
		bad = bad || at >= start && at < end || last && at >= end
	}
	if bad {
		d.dead, d.dies = true, now+wait
		return Refused, nil
	}
	for i, v := range data {
		d.bytes[start+i] = v
	}
	d.spans[[2]int{start, end}] = true
	d.pieces++
	if last {
		d.end = end
	}
	if d.end < 0 || len(d.bytes) < d.end {
		return Kept, nil
	}
	all := make([]byte, d.end)
	for at, v := range d.bytes {
		all[at] = v
	}
	delete(w.datagrams, key)
	return Whole, all
}

// TestK1_AsTheTwin sends pieces of a few datagrams of both families in any order, with
// duplicates, overlaps and wrong ends, over more time than they have.
func TestK1_AsTheTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, w := newSmall(limits{cells: 600, names: 16, share: 300}), &twin{datagrams: map[string]*twinned{}}
		type sent struct {
			m     maker
			start int
			more  more
			data  []byte
		}
		var pieces []sent
		for id := range uint32(rapid.IntRange(1, 4).Draw(t, "datagrams")) {
			m := family(rapid.Bool().Draw(t, "v6"))
			m.id = id / 2 // two may meet
			all := data(rapid.IntRange(1, 900).Draw(t, "length"))
			for at := 0; at < len(all); {
				n := 8 * rapid.IntRange(1, 40).Draw(t, "piece")
				n = min(n, len(all)-at)
				pieces = append(pieces, sent{m, at, at+n < len(all), all[at : at+n]})
				at += n
			}
		}
		for range rapid.IntRange(0, 4).Draw(t, "again") {
			p := pieces[rapid.IntRange(0, len(pieces)-1).Draw(t, "which")]
			p.data = bytes.Clone(p.data)
			switch rapid.IntRange(0, 4).Draw(t, "how") {
			case 1:
				p.data[len(p.data)-1] ^= 1
			case 2:
				p.start += 8
			case 3:
				p.more = !p.more && len(p.data)%8 == 0
			}
			pieces = append(pieces, p)
		}
		pieces = rapid.Permutation(pieces).Draw(t, "order")
		now := int64(1)
		for _, p := range pieces {
			if rapid.IntRange(0, 9).Draw(t, "pause") == 0 {
				now += int64(rapid.IntRange(0, 40).Draw(t, "seconds")) * 1e9
			}
			wait := wait4
			if p.m.v6 {
				wait = wait6
			}
			var q packet.Parsed
			frame := p.m.piece(p.start, p.more, p.data)
			if packet.Decode(frame, &q) != drop.Fragment {
				continue // nothing was cut
			}
			want, whole := w.add(p.m.src+string(rune(p.m.id)), wait, p.start, !bool(p.more), p.data, now)
			b.t.Add(port, frame, &q, now, &b.d, &b.r)
			if b.r.Outcome != want {
				t.Fatalf("piece %d+%d of %+v: %v (%v), want %v", p.start, len(p.data), p.m, b.r.Outcome, b.r.Why, want)
			}
			if want == Whole && !bytes.Equal(b.d.Frame[b.d.Split:], whole) {
				t.Fatalf("the datagram is\n%x, want\n%x", b.d.Frame[b.d.Split:], whole)
			}
			b.t.check(t)
		}
	})
}

// check verifies what must hold of a tracker between calls.
func (t *Tracker) check(tb interface{ Fatalf(string, ...any) }) {
	t.mu.Lock()
	defer t.mu.Unlock()
	used, held := 0, 0
	bySource := map[packet.Addr]int{}
	for i := range t.entries {
		e := &t.entries[i]
		if e.state == unused {
			continue
		}
		used++
		held += int(e.cells)
		if e.cells > 0 {
			bySource[sourceOf(&e.key)] += int(e.cells)
		}
		if t.names.find(&e.key) != int32(i) {
			tb.Fatalf("entry %d is not found by its name", i)
		}
		if e.state == collecting && e.pieces == 0 || e.state == poisoned && e.cells+e.pieces != 0 {
			tb.Fatalf("entry %d in state %d has %d pieces, %d cells", i, e.state, e.pieces, e.cells)
		}
		chained, bytes, pieces := 0, int32(0), 0
		for c := e.first; c != none; c = t.pieces[c].next {
			pieces++
			bytes += t.pieces[c].end - t.pieces[c].start
			for k := c; k != none; k = t.chain[k] {
				chained++
			}
		}
		if pieces != int(e.pieces) || chained != int(e.cells) || e.state == collecting && bytes != e.got {
			tb.Fatalf("entry %d: %d pieces of %d, %d cells of %d, %d bytes of %d", i, pieces, e.pieces, chained, e.cells, bytes, e.got)
		}
	}
	free, listed, freeNames := 0, 0, 0
	for c := t.freeCell; c != none; c = t.chain[c] {
		free++
	}
	for i := t.free; i != none; i = t.entries[i].older {
		freeNames++
	}
	for s := range t.lists {
		for f := range t.lists[s] {
			born := int64(0)
			for i := t.lists[s][f].oldest; i != none; i = t.entries[i].newer {
				listed++
				if t.entries[i].born < born || t.dies(i) < t.due.Load() {
					tb.Fatalf("the list %d of family %d is not in order", s, f)
				}
				born = t.entries[i].born
			}
		}
	}
	if held != t.cellsGot || held+free != t.limits.cells || listed != used || used+freeNames != t.limits.names || t.names.len != used {
		tb.Fatalf("%d cells held (%d known), %d free; %d entries used, %d listed, %d free, %d named", held, t.cellsGot, free, used, listed, freeNames, t.names.len)
	}
	sources := 0
	for k, h := range t.holdings {
		a := h.source
		if t.sources.find(&a) != int32(k) {
			continue // free
		}
		sources++
		if h.source != a || int(h.cells) != bySource[a] || int(h.cells) > t.limits.share {
			tb.Fatalf("source %v has %d cells of %d", a, bySource[a], h.cells)
		}
		if h.entries.oldest == none {
			tb.Fatalf("source %v has nothing", a)
		}
	}
	if sources != t.sources.len || sources < len(bySource) {
		tb.Fatalf("%d sources found, %d known, %d hold something", sources, t.sources.len, len(bySource))
	}
}

// FuzzAdd gives a tracker pieces that are cut out of the input: an order in two bytes,
// then offset, flags and length of each.
func FuzzAdd(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 0, 2, 0, 1, 0, 4, 1, 1})
	f.Add([]byte{1, 0, 1, 2, 1, 1, 1, 1, 1, 0, 1, 2})
	f.Add([]byte{0, 31, 255, 255, 0, 31, 254, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		b := newSmall(limits{cells: 400, names: 4, share: 260})
		all := data(2000)
		now := int64(1)
		for ; len(in) >= 4; in = in[4:] {
			m := family(in[0]&1 != 0)
			m.id = uint32(in[0] >> 1 & 3)
			start := int(binary.BigEndian.Uint16(in[1:])&0x1fff) * 8
			frame := m.piece(start, in[3]&1 != 0, all[:int(in[3]>>1)*8+int(in[3]>>6&in[0]>>3&7)])
			var p packet.Parsed
			if packet.Decode(frame, &p) != drop.Fragment {
				continue
			}
			now += int64(in[0]>>4) * 1e9
			b.t.Add(port, frame, &p, now, &b.d, &b.r)
			b.t.Sweep(now, &b.r)
			b.t.check(t)
		}
	})
}
