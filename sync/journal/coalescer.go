package journal

import "holdfast/conntrack"

// coalescer remembers where in the open batch updates of connections lie: a small
// direct-mapped memory, because a miss costs only a second message.
type coalescer struct {
	slots [64]struct {
		incarnation conntrack.Incarnation
		index       uint32
		at          uint32 // offset in the batch; 0: empty
	}
	any bool // there is one: a batch of inserts has nothing to forget
}

func (c *coalescer) find(index uint32, i conntrack.Incarnation) (at int, ok bool) {
	s := &c.slots[index%64]
	return int(s.at), s.at != 0 && s.index == index && s.incarnation == i
}

func (c *coalescer) remember(index uint32, i conntrack.Incarnation, at int) {
	s := &c.slots[index%64]
	s.index, s.incarnation, s.at = index, i, uint32(at)
	c.any = true
}

func (c *coalescer) reset() {
	if c.any {
		clear(c.slots[:])
		c.any = false
	}
}
