package repair

import (
	"encoding/binary"

	"holdfast/conntrack"
	"holdfast/sync/digest"
	"holdfast/sync/wire"
)

// Rounds sums this node's table for its peers. One goroutine owns it.
type Rounds struct {
	table *conntrack.Table
	sums  digest.Sums
	pass  *digest.Pass // nil between rounds
	round uint32
	began int64
}

// NewRounds returns the rounds of a table.
func NewRounds(table *conntrack.Table) *Rounds { return &Rounds{table: table} }

// Begin begins a round. What the lanes had sent must have been read before.
func (r *Rounds) Begin(now int64) {
	r.round++
	r.began = now
	r.pass = digest.Begin(r.table, digest.BitsFor(r.table.Len()), &r.sums)
}

// Began returns when the last round began; 0 before the first.
func (r *Rounds) Began() int64 { return r.began }

// Running reports whether a round has begun that is not summed yet.
func (r *Rounds) Running() bool { return r.pass != nil }

// Step sums up to count entries more and reports whether the round is done. The round
// must be running.
func (r *Rounds) Step(count int, now int64) (done bool) {
	if done = r.pass.Step(count, now); done {
		r.pass = nil
	}
	return done
}

// Each gives the messages of the round that was done last to send, each to fit a batch of
// so many bytes. positions is what the lanes that the receiver hears had sent at Begin.
func (r *Rounds) Each(positions []uint64, batch int, send func(*wire.Digest)) {
	d := wire.Digest{Round: r.round, Bits: r.sums.Bits}
	d.Positions.Set(positions)
	most := wire.DigestSumsMax(batch, len(positions))
	for shard, sum := range r.sums.Shard {
		if len(d.Sums) == 0 {
			d.First = uint16(shard)
		}
		d.Sums = binary.BigEndian.AppendUint64(d.Sums, sum)
		if d.Len() == most || shard == len(r.sums.Shard)-1 {
			send(&d)
			d.Sums = d.Sums[:0]
		}
	}
}
