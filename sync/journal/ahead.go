package journal

import (
	"holdfast/conntrack"
	"holdfast/sync/wire"
)

// aheadMax is how many inserts of a batch are read before the first is applied, and how many
// updates and deletes: of either hardly more fit a batch.
const aheadMax = 32

// lateMax bounds for how long a batch can have waited, in ns: no lane is repaired after that.
const lateMax = int64(60e9)

// ahead is what a batch says, read before any of it is applied, so that the table can bring
// near what all of it touches (conntrack.Table.Warm). To apply one message by itself is to
// wait for memory half a dozen times: for two buckets, the entry, who has the port, when the shard changed.
type ahead struct {
	states [aheadMax]conntrack.State
	bad    [aheadMax]bool // not an insert that makes sense
	count  int            // inserts read
	next   int            // insert to be applied next
	named  [aheadMax]uint32
}

// look reads the inserts of a batch, up to what there is room for.
func (h *ahead) look(body []byte, a *Applier) {
	h.count, h.next = 0, 0
	named := h.named[:0]
	frames := wire.Frames{Rest: body}
	for frames.Next(&a.frame) {
		switch f := &a.frame; {
		case f.Type == wire.TypeInsert && h.count < aheadMax:
			h.bad[h.count] = wire.DecodeInsert(f, &h.states[h.count]) != nil
			h.count++
		case (f.Type == wire.TypeUpdate || f.Type == wire.TypeDelete) && len(named) < aheadMax:
			if ours, ok := a.known(wire.IndexOf(f)); ok {
				named = append(named, ours)
			}
		}
	}
	if h.count > 1 {
		a.table.Warm(h.states[:h.count])
	}
	a.table.WarmEntries(named)
}

// insert gives s the insert of a frame, of the batch that was looked at, in turn, and reports
// whether it makes sense.
func (h *ahead) insert(f *wire.Frame, s *conntrack.State) bool {
	if h.next == h.count { // no more were read
		return wire.DecodeInsert(f, s) == nil
	}
	*s = h.states[h.next]
	h.next++
	return !h.bad[h.next-1]
}
