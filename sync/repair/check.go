package repair

import (
	"holdfast/sync/digest"
	"holdfast/sync/wire"
)

// patience is how long a Check waits for the rest of a round whose Digests came in part,
// in nanoseconds: above a round trip of a sync link.
const patience = 100e6

// overtaking is by how much a beat has to be later than the last Digest of a round to have
// been sent after it, in nanoseconds: links reorder.
const overtaking = 50e6

// Check collects the rounds of one peer and compares them with this node's table. Take,
// Due and Begin belong to the peer's reader, Compare to whoever has summed the table.
type Check struct {
	round     uint32 // being collected; 0: none
	bits      uint8
	positions wire.Lanes
	sums      []uint64
	got       []bool // by shard
	missing   int
	heard     int64      // when its last Digest came
	closed    bool       // a beat came after it
	sent      wire.Lanes // and said that this had been sent
	done      uint32
}

// Take takes in a Digest at now (ns).
func (c *Check) Take(d *wire.Digest, now int64) {
	if d.Round <= c.done || d.Round < c.round {
		return // late
	}
	if d.Round != c.round || d.Bits != c.bits {
		n := 1 << d.Bits
		c.round, c.bits, c.positions = d.Round, d.Bits, d.Positions
		c.sums, c.got, c.missing, c.closed = make([]uint64, n), make([]bool, n), n, false
	}
	c.heard = now
	for i := range d.Len() {
		shard := int(d.First) + i
		if !c.got[shard] {
			c.got[shard], c.sums[shard] = true, d.Sum(i)
			c.missing--
		}
	}
}

// Sent takes in a beat at now (ns): what the lanes of the peer have sent. The sums of a round
// hold changes that were made while it went on, and what tells them may be lost and come
// late. So a round is compared when all that was sent until its end has been applied: what
// the first beat after it says.
func (c *Check) Sent(sent *wire.Lanes, now int64) {
	if c.collected(now) && !c.closed && now-c.heard >= overtaking {
		c.closed, c.sent = true, *sent
	}
}

// collected reports whether a round has come, whole or as far as it will.
func (c *Check) collected(now int64) bool {
	return c.round != 0 && (c.missing == 0 || now-c.heard >= patience)
}

// Forget forgets the rounds of a life of the peer.
func (c *Check) Forget() { *c = Check{} }

// Asked is a round that is compared: what the peer's table held when nothing past
// positions had been told, and since when nothing may have touched a shard.
type Asked struct {
	round uint32
	bits  uint8
	sums  []uint64
	got   []bool
	since uint64
}

// Begin returns the round that can be compared now, once: it has come, whole or as far as
// it will, and all that was told before its end is applied. The caller then sums its table.
func (c *Check) Begin(trail *digest.Trail, ledger *digest.Ledger, now int64) (*Asked, bool) {
	if !c.collected(now) || !c.closed {
		return nil, false
	}
	if _, behind, _ := trail.After(ledger, c.sent.Slice()); behind {
		return nil, false
	}
	since, behind, ok := trail.After(ledger, c.positions.Slice())
	if behind {
		return nil, false
	}
	a := &Asked{round: c.round, bits: c.bits, sums: c.sums, got: c.got, since: since}
	c.done, c.round, c.sums, c.got = c.round, 0, nil, nil
	return a, ok
}

// Bits says in how many shards, as a power of two, this node's table is to be summed.
func (a *Asked) Bits() uint8 { return a.bits }

// Compared is what came of a round.
type Compared struct {
	wire.Proof
	Bits   uint8
	Differ []uint16 // the divergent shards, of 2^Bits
	Agree  []bool   // by shard: equal, or moving
}

// Compare compares the round with the sums of this node's table, in as many shards.
func (a *Asked) Compare(sums *digest.Sums, ledger *digest.Ledger) *Compared {
	c := &Compared{Bits: a.bits, Agree: make([]bool, len(a.sums))}
	c.Round = a.round
	for shard, theirs := range a.sums {
		if !a.got[shard] {
			continue
		}
		c.Shards++
		switch {
		case !ledger.Still(a.bits, uint32(shard), a.since):
			c.Moving++
			c.Agree[shard] = true
		case sums.Shard[shard] == theirs:
			c.Agree[shard] = true
		default:
			c.Divergent++
			c.Differ = append(c.Differ, uint16(shard))
		}
	}
	return c
}

// settled is the set of shards that were compared and agreed.
type settled struct {
	marked []bool
	count  int
}

// add takes in the shards that agreed in a round. Rounds in another number of shards begin
// the set anew.
func (s *settled) add(c *Compared) {
	if len(s.marked) != len(c.Agree) {
		*s = settled{marked: make([]bool, len(c.Agree))}
	}
	for shard, agrees := range c.Agree {
		if agrees && !s.marked[shard] {
			s.marked[shard] = true
			s.count++
		}
	}
}

func (s *settled) all() bool { return s.count > 0 && s.count == len(s.marked) }
