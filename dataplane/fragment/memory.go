package fragment

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// sourceOf returns whom a datagram counts for: its source, in IPv6 the /64, because one
// host can take any address of that.
func sourceOf(k *key) packet.Addr {
	a := k.src
	if !a.Is4() {
		clear(a[8:])
	}
	return a
}

// beginLocked makes an entry for a datagram of which nothing is known. Where there is no
// more room for names, the oldest of all gives way.
func (t *Tracker) beginLocked(k *key, p *packet.Parsed, now int64, r *Result) int32 {
	if t.free == none {
		t.killLocked(t.oldestLocked(none), drop.FragmentPressure, r)
	}
	i := t.free
	e := &t.entries[i]
	t.free = e.older
	*e = entry{key: *k, born: now, first: none, last: none, family: p.Version / 6}
	t.names.enter(k, i)
	t.listLocked(i, collecting)
	if dies := t.dies(i); dies < t.due.Load() {
		t.due.Store(dies)
	}
	return i
}

// forgetLocked frees an entry that holds no cells.
func (t *Tracker) forgetLocked(i int32) {
	t.unlistLocked(i)
	e := &t.entries[i]
	t.names.remove(i)
	*e = entry{older: t.free}
	t.free = i
}

// emptyLocked gives up an entry's pieces, and says so.
func (t *Tracker) emptyLocked(i int32, why drop.Reason, r *Result) {
	if e := &t.entries[i]; e.pieces > 0 {
		r.Dead = append(r.Dead, Dead{Port: e.key.port, Pieces: int(e.pieces), Why: why})
	}
	t.releaseLocked(i)
}

// releaseLocked frees an entry's cells.
func (t *Tracker) releaseLocked(i int32) {
	e := &t.entries[i]
	for c := e.first; c != none; {
		next := t.pieces[c].next
		for c != none {
			rest := t.chain[c]
			t.chain[c] = t.freeCell
			t.freeCell = c
			c = rest
		}
		c = next
	}
	if e.cells > 0 {
		t.holdings[e.source].cells -= int32(e.cells)
		t.cellsGot -= int(e.cells)
	}
	e.first, e.last, e.cells, e.pieces = none, none, 0, 0
}

// storeLocked copies bytes into cells for entry i, and makes room for them first: in its
// source's share, then in all. Nothing of entry i itself gives way: what one datagram can
// take is less than a share.
func (t *Tracker) storeLocked(i int32, content []byte, r *Result) (first int32) {
	e := &t.entries[i]
	need := (len(content) + cellSize - 1) / cellSize
	h := &t.holdings[e.source]
	for int(h.cells)+need > t.limits.share {
		victim := h.entries.oldest
		if victim == i {
			victim = e.younger
		}
		t.killLocked(victim, drop.FragmentPressure, r)
	}
	for t.cellsGot+need > t.limits.cells {
		t.killLocked(t.oldestLocked(i), drop.FragmentPressure, r)
	}
	h.cells += int32(need)
	t.cellsGot += need
	e.cells += int16(need)

	end := &first
	for len(content) > 0 {
		c := t.freeCell
		t.freeCell = t.chain[c]
		content = content[copy(t.cell(c), content):]
		*end = c
		end = &t.chain[c]
	}
	*end = none
	return first
}

// copyLocked copies a piece from its byte skip on to dst, and returns what it has written.
func (t *Tracker) copyLocked(dst []byte, first int32, skip int) []byte {
	left := int(t.pieces[first].length) - skip
	n := 0
	for c := first; n < left; c = t.chain[c] {
		if skip >= cellSize {
			skip -= cellSize
			continue
		}
		cell := t.cell(c)[skip:]
		n += copy(dst[n:left], cell)
		skip = 0
	}
	return dst[:left]
}

func (t *Tracker) cell(c int32) []byte { return t.data[int(c)*cellSize:][:cellSize] }

// oldestLocked returns the entry that has waited longest: of all, or where cells are
// wanted for entry but, of those that hold some and are not that one.
func (t *Tracker) oldestLocked(but int32) int32 {
	oldest := int32(none)
	for s := collecting; s < states; s++ {
		for _, l := range t.lists[s] {
			i := l.oldest
			if i == but && i != none {
				i = t.entries[i].newer
			}
			if i != none && (oldest == none || t.entries[i].born < t.entries[oldest].born) {
				oldest = i
			}
		}
		if but != none {
			break // the poisoned hold none
		}
	}
	return oldest
}

// listLocked enters an entry as the newest of a state, and of its source where it collects.
func (t *Tracker) listLocked(i int32, s state) {
	e := &t.entries[i]
	e.state = s
	l := &t.lists[s][e.family]
	e.older, e.newer = l.newest, none
	if l.newest == none {
		l.oldest = i
	} else {
		t.entries[l.newest].newer = i
	}
	l.newest = i
	e.elder, e.younger = none, none
	if s != collecting {
		return
	}
	h := t.holdingLocked(e)
	e.elder = h.entries.newest
	if e.elder == none {
		h.entries.oldest = i
	} else {
		t.entries[e.elder].younger = i
	}
	h.entries.newest = i
}

// holdingLocked finds the holding of an entry's source, and makes one where it has none.
func (t *Tracker) holdingLocked(e *entry) *holding {
	source := sourceOf(&e.key)
	i := t.sources.find(&source)
	if i == none {
		i = t.freeHold // there is one: no more sources than entries collect
		t.freeHold = t.holdings[i].entries.oldest
		t.holdings[i] = holding{source: source, entries: list{none, none}}
		t.sources.enter(&source, i)
	}
	e.source = i
	return &t.holdings[i]
}

// unlistLocked takes an entry out of its lists.
func (t *Tracker) unlistLocked(i int32) {
	e := &t.entries[i]
	l := &t.lists[e.state][e.family]
	if e.older == none {
		l.oldest = e.newer
	} else {
		t.entries[e.older].newer = e.newer
	}
	if e.newer == none {
		l.newest = e.older
	} else {
		t.entries[e.newer].older = e.older
	}
	if e.state != collecting {
		return
	}
	h := &t.holdings[e.source]
	if e.elder == none {
		h.entries.oldest = e.younger
	} else {
		t.entries[e.elder].younger = e.younger
	}
	if e.younger == none {
		h.entries.newest = e.elder
	} else {
		t.entries[e.younger].elder = e.elder
	}
	if h.entries.oldest == none {
		t.sources.remove(e.source)
		h.entries.oldest = t.freeHold
		t.freeHold = e.source
	}
}
