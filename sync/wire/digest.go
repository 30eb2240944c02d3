package wire

import (
	"encoding/binary"

	"holdfast/conntrack"
)

// A table is compared in 2^bits shards; which one a connection belongs to follows from
// its identity alone, so it is the same on every node (package digest).
const (
	DigestBitsMax = 16
	// digestFixed is the length of a Digest without its positions and sums.
	digestFixed = 8
)

// Digest tells what the sender's table holds, as one sum for each of some shards.
type Digest struct {
	Round     uint32 // of the sender's life, from 1
	Bits      uint8  // at most DigestBitsMax
	First     uint16 // shard of the first sum
	Positions Lanes  // what each lane of the sender had sent when the round began
	Sums      []byte // eight bytes a shard, one shard or more; Decode leaves it in the batch
}

// DigestSumsMax returns how many sums fit a Digest of a sender with so many lanes into a
// batch of so many bytes.
func DigestSumsMax(batch, lanes int) int {
	return (batch - BatchHeaderSize - FrameHeaderSize - digestFixed - 1 - 8*lanes) / 8
}

// Sum returns the i-th sum.
func (d *Digest) Sum(i int) uint64 { return binary.BigEndian.Uint64(d.Sums[8*i:]) }

// Len returns how many sums there are.
func (d *Digest) Len() int { return len(d.Sums) / 8 }

// Append appends d:
//
//	 0               4       5       6               8
//	+---------------+-------+-------+---------------+
//	| round         | bits  | 0     | first         |
//	+---------------+-------+-------+---------------+
//	| Lanes (1 + 8n)  ...                           |
//	+-----------------------------------------------+
//	| sum (8) | sum (8) | ... to the end of the     |
//	+-----------------------------------------------+   frame
func (d *Digest) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeDigest, 0)
	dst = binary.BigEndian.AppendUint32(dst, d.Round)
	dst = append(dst, d.Bits, 0)
	dst = binary.BigEndian.AppendUint16(dst, d.First)
	dst = d.Positions.append(dst)
	dst = append(dst, d.Sums...)
	return endFrame(dst, start)
}

// Decode reads a Digest.
func (d *Digest) Decode(f *Frame) error {
	c := f.open(TypeDigest, 0)
	d.Round, d.Bits = c.u32(), c.u8()
	c.must(c.u8() == 0, BadValue)
	d.First = c.u16()
	c.lanes(&d.Positions)
	d.Sums = c.take(len(c.rest))
	c.must(d.Round != 0 && d.Bits <= DigestBitsMax && len(d.Sums) > 0 && len(d.Sums)%8 == 0, BadValue)
	c.must(int(d.First)+d.Len() <= 1<<min(d.Bits, DigestBitsMax), BadValue)
	return c.end()
}

// Proof answers the Digests of a round: how the receiver's table compares.
type Proof struct {
	Round     uint32
	Shards    uint32 // that were compared: equal, moving and divergent ones
	Moving    uint32 // that changed while they were compared, so nothing is known of them
	Divergent uint32 // that differ
}

// Append appends p:
//
//	 0               4               8               12
//	+---------------+---------------+---------------+---------------+
//	| round         | shards        | moving        | divergent     |
//	+---------------+---------------+---------------+---------------+
func (p *Proof) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeProof, 0)
	for _, v := range [...]uint32{p.Round, p.Shards, p.Moving, p.Divergent} {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	return endFrame(dst, start)
}

// Decode reads a Proof.
func (p *Proof) Decode(f *Frame) error {
	c := f.open(TypeProof, 0)
	*p = Proof{Round: c.u32(), Shards: c.u32(), Moving: c.u32(), Divergent: c.u32()}
	c.must(p.Round != 0 && p.Shards <= 1<<DigestBitsMax, BadValue)
	c.must(p.Moving <= p.Shards && p.Divergent <= p.Shards-min(p.Moving, p.Shards), BadValue)
	return c.end()
}

// TransferShardsMax bounds the shards that one TransferRequest names.
const TransferShardsMax = 512

// TransferRequest asks for the connections of some shards, or of all, whole: a bulk
// transfer, or the repair of what a Digest has shown to differ. They come as Inserts on
// the lane of the receiver that is this node's alone, behind them a TransferEnd. A newer
// request takes the place of one that is under way.
type TransferRequest struct {
	ID     uint32 // of the sender's life, from 1
	Bits   uint8  // as in the Digest that showed them; 0 for all
	Shards []byte // two bytes a shard; none asks for all. Decode leaves it in the batch
}

// Append appends r:
//
//	 0               4       5       6
//	+---------------+-------+-------+-----------+---
//	| id            | bits  | 0     | shard (2) | ...
//	+---------------+-------+-------+-----------+---
func (r *TransferRequest) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeTransferRequest, 0)
	dst = binary.BigEndian.AppendUint32(dst, r.ID)
	dst = append(dst, r.Bits, 0)
	dst = append(dst, r.Shards...)
	return endFrame(dst, start)
}

// Decode reads a TransferRequest.
func (r *TransferRequest) Decode(f *Frame) error {
	c := f.open(TypeTransferRequest, 0)
	r.ID, r.Bits = c.u32(), c.u8()
	c.must(c.u8() == 0, BadValue)
	r.Shards = c.take(len(c.rest))
	c.must(r.ID != 0 && r.Bits <= DigestBitsMax && len(r.Shards)%2 == 0 && len(r.Shards) <= 2*TransferShardsMax, BadValue)
	for i := 0; c.bad == 0 && i < len(r.Shards); i += 2 {
		c.must(int(binary.BigEndian.Uint16(r.Shards[i:])) < 1<<r.Bits, BadValue)
	}
	return c.end()
}

// TransferEndMax is the length of a TransferEnd with its frame header, in bytes.
const TransferEndMax = FrameHeaderSize + 12

// TransferEnd ends what a TransferRequest asked for, on the lane that the Inserts came by.
type TransferEnd struct {
	ID uint32
	// Cut is above the incarnation of every connection that began before the transfer did.
	Cut conntrack.Incarnation
	// Whole says that the sender forwards, and knows every connection that it should: what
	// of the shards was not told and is not above Cut has ended.
	Whole bool
}

const transferWhole = 1 << 0

// Append appends e:
//
//	frame flags: bit 0: Whole
//
//	 0               4                               12
//	+---------------+-------------------------------+
//	| id            | cut                           |
//	+---------------+-------------------------------+
func (e *TransferEnd) Append(dst []byte) []byte {
	start := len(dst)
	var flags uint8
	if e.Whole {
		flags |= transferWhole
	}
	dst = beginFrame(dst, TypeTransferEnd, flags)
	dst = binary.BigEndian.AppendUint32(dst, e.ID)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Cut))
	return endFrame(dst, start)
}

// Decode reads a TransferEnd.
func (e *TransferEnd) Decode(f *Frame) error {
	c := f.open(TypeTransferEnd, transferWhole)
	*e = TransferEnd{ID: c.u32(), Cut: conntrack.Incarnation(c.u64()), Whole: f.Flags&transferWhole != 0}
	c.must(e.ID != 0 && e.Cut != 0 && e.Cut>>63 == 0, BadValue)
	return c.end()
}
