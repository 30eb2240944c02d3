package digest

import (
	"encoding/binary"
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/sync/wire"
)

// Hash says which shard a connection belongs to and what it adds to its sum. The zero
// value is ready. Not safe for concurrent use.
type Hash struct{ buf []byte }

// ShardOf returns the finest shard of a connection. The hash is not keyed, because all
// nodes must agree on it: who can choose connections can crowd a shard, and gains nothing
// but that its repair is longer.
func (h *Hash) ShardOf(t *packet.Tuple) uint32 {
	b := binary.BigEndian.AppendUint16(h.buf[:0], t.Zone)
	b = append(b, byte(t.Proto))
	b = append(b, t.Src[:]...)
	b = append(b, t.Dst[:]...)
	b = binary.BigEndian.AppendUint16(b, t.SrcPort)
	h.buf = binary.BigEndian.AppendUint16(b, t.DstPort)
	return uint32(xxhash.Sum64(h.buf) >> (64 - wire.DigestBitsMax))
}

// Of returns the number of a connection. What is the node's own does not enter it: Index,
// Idle, and Timeouts, whose numbers depend on what a node has reloaded before.
func (h *Hash) Of(s *conntrack.State) uint64 {
	index, idle, timeouts := s.Index, s.Idle, s.Timeouts
	s.Index, s.Idle, s.Timeouts = 0, 0, 0
	h.buf = wire.AppendInsert(h.buf[:0], s)
	s.Index, s.Idle, s.Timeouts = index, idle, timeouts
	return xxhash.Sum64(h.buf)
}

// BitsFor returns in how many shards, as a power of two, a table of so many connections is
// compared: some 16 connections each, so that a repair is small and a digest is too.
func BitsFor(connections int) uint8 {
	return uint8(min(max(bits.Len(uint(connections/16)), 6), wire.DigestBitsMax))
}

// Coarse returns in which of 2^bits shards a finest one lies.
func Coarse(shard uint32, bits uint8) uint32 { return shard >> (wire.DigestBitsMax - bits) }

// Sums are those of a table, in 2^Bits shards.
type Sums struct {
	Bits        uint8
	Connections int
	Shard       []uint64
}

// Pass sums a table, a piece at a time. Make it with Begin; not safe for concurrent use.
type Pass struct {
	Sums  *Sums
	hash  Hash
	table *conntrack.Table
	next  uint32
	state conntrack.State
}

// Begin begins to sum a table anew into sums, in 2^bits shards.
func Begin(table *conntrack.Table, bits uint8, sums *Sums) *Pass {
	sums.Bits, sums.Connections = bits, 0
	sums.Shard = append(sums.Shard[:0], make([]uint64, 1<<bits)...)
	return &Pass{Sums: sums, table: table}
}

// Step takes in up to count entries of the table, at now (CLOCK_BOOTTIME ns), and reports
// whether that was the last. Connections that are not replicated do not count.
func (p *Pass) Step(count int, now int64) (done bool) {
	high := p.table.High()
	for ; count > 0 && p.next < high; count-- {
		if p.table.Export(p.next, now, &p.state) && p.state.Sync != conntrack.SyncNone {
			p.Sums.Shard[Coarse(p.hash.ShardOf(&p.state.Original), p.Sums.Bits)] += p.hash.Of(&p.state)
			p.Sums.Connections++
		}
		p.next++
	}
	return p.next >= high
}
