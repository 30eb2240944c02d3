package fragment

import (
	"bytes"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// addLocked puts a piece in its place among those of entry i. An overlap poisons the
// entry: of what overlaps, receivers make different things.
func (t *Tracker) addLocked(i int32, frame []byte, p *packet.Parsed, q *packet.Piece, now int64, r *Result) {
	e := &t.entries[i]
	if e.state == poisoned {
		r.Outcome, r.Why = Refused, drop.FragmentOverlap
		return
	}
	before, after := t.neighborsLocked(e, int32(q.Start))
	if before != none && t.pieces[before].start == int32(q.Start) && t.sameLocked(e, before, frame, p, q) {
		r.Outcome = Kept // it came twice
		return
	}
	start, end := int32(q.Start), int32(q.End)
	switch {
	case before != none && t.pieces[before].end > start, after != none && t.pieces[after].start < end,
		e.end != 0 && (q.Last || end > e.end), q.Last && e.last != none && t.pieces[e.last].end > end:
		r.Outcome, r.Why = Refused, drop.FragmentOverlap
		t.poisonLocked(i, drop.FragmentOverlap, now, r)
		return
	case e.pieces == PiecesMax:
		r.Outcome, r.Why = Refused, drop.FragmentInvalid
		t.poisonLocked(i, drop.FragmentInvalid, now, r)
		return
	}
	content := frame[p.L4:p.End]
	if q.Start == 0 {
		content = frame[:p.End] // the datagram's headers
		e.headers, e.class = p.L4, packet.Class(frame, p)
	}
	c := t.storeLocked(i, content, r)
	t.pieces[c] = piece{next: after, start: start, end: end, length: int32(len(content))}
	if before == none {
		e.first = c
	} else {
		t.pieces[before].next = c
	}
	if after == none {
		e.last = c
	}
	e.pieces++
	e.got += end - start
	if q.Last {
		e.end = end
	}
	if e.pieces == 1 || p.TTL < e.ttl {
		e.ttl = p.TTL
	}
	e.seen |= 1 << (packet.Class(frame, p) & 3)
	e.df = e.df || packet.DontFragment(frame, p)
	r.Outcome = Kept
}

// neighborsLocked returns the last piece that does not start after start, and the one after it.
func (t *Tracker) neighborsLocked(e *entry, start int32) (before, after int32) {
	if e.last != none && t.pieces[e.last].start <= start {
		return e.last, none // in order, as most come
	}
	before, after = none, e.first
	for after != none && t.pieces[after].start <= start {
		before, after = after, t.pieces[after].next
	}
	return before, after
}

// sameLocked reports whether a piece is there already, byte for byte.
func (t *Tracker) sameLocked(e *entry, c int32, frame []byte, p *packet.Parsed, q *packet.Piece) bool {
	was := &t.pieces[c]
	if was.end != int32(q.End) || q.Last != (e.end == was.end) {
		return false
	}
	data := frame[p.L4:p.End]
	skip := int(was.length) - len(data)
	for ; len(data) > 0; c = t.chain[c] {
		cell := t.cell(c)
		if skip >= cellSize {
			skip -= cellSize
			continue
		}
		n := min(cellSize-skip, len(data))
		if !bytes.Equal(cell[skip:skip+n], data[:n]) {
			return false
		}
		data, skip = data[n:], 0
	}
	return true
}

// poisonLocked gives up what has come, and keeps the name for as long again.
func (t *Tracker) poisonLocked(i int32, why drop.Reason, now int64, r *Result) {
	t.emptyLocked(i, why, r)
	t.unlistLocked(i)
	t.entries[i].born = now
	t.listLocked(i, poisoned)
}

// wholeLocked makes d the datagram of entry i, all of whose pieces are there, and forgets it.
func (t *Tracker) wholeLocked(i int32, d *Datagram, r *Result) {
	e := &t.entries[i]
	split := 0
	if ecn, ok := e.seen.merge(e.class & 3); ok {
		head := t.copyLocked(d.frame[:], e.first, 0)
		split = packet.JoinHeaders(d.frame[:], head[:e.headers], &packet.Join{
			Length: int(e.end), TTL: e.ttl, Class: e.class&^3 | ecn, DF: e.df,
		})
	}
	if split == 0 {
		r.Outcome, r.Why = Refused, drop.FragmentInvalid
		e.pieces-- // the last to come is counted as refused
		t.killLocked(i, drop.FragmentInvalid, r)
		return
	}
	d.ID, d.Split, d.Ends = e.key.id, split, d.ends[:0]
	for c := e.first; c != none; c = t.pieces[c].next {
		q := &t.pieces[c]
		t.copyLocked(d.frame[split+int(q.start):], c, int(q.length-(q.end-q.start)))
		d.Ends = append(d.Ends, uint16(q.end))
	}
	d.Frame = d.frame[:split+int(e.end)]
	r.Outcome = Whole
	t.releaseLocked(i)
	t.forgetLocked(i)
}
