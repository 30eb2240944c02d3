package wire

import (
	"encoding/binary"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// UpdateMax is the longest Update, in bytes with its frame header. All Updates of one
// connection have the same length, so a later one can be written over an earlier one.
const UpdateMax = FrameHeaderSize + updateTCP

const (
	updatePlain = 8
	updateTCP   = updatePlain + traitsSize + 2*endBits/8 + 2*ackBits/8
	endBits     = 36

	updateTags = 0xff // stands before the tags of SCTP; no traits of TCP begin so
)

// Update is how a connection has changed that the receiver knows from an Insert. It
// means something only beside the receiver's own state: see Onto.
type Update struct {
	Index       uint32          // the sender's
	Incarnation uint32          // the low 32 bits: the node and 16 bits of the counter
	Flags       conntrack.Flags // the low 8 bits
	form        form
	dir         [2]conntrack.DirState // End: the 36 low bits; MaxAck, MaxEnd: none
	ack         [2]uint32             // MaxAck as ackField makes it
}

// form says what an Update holds.
type form uint8

const (
	formPlain form = iota // nothing but flags, and that the connection lives
	formTCP
	formSCTP
)

// formOf returns the form of updates of a protocol.
func formOf(p packet.Proto) form {
	switch p {
	case packet.TCP:
		return formTCP
	case packet.SCTP:
		return formSCTP
	}
	return formPlain
}

// AppendUpdate appends what of s can have changed since its Insert:
//
//	frame flags: the low 8 of conntrack.Flags
//
//	 0               4               8               12
//	+---------------+---------------+---------------+
//	| sender's index| incarnation,  | traits        |   SCTP: updateTags, then as in Insert; else ends here
//	|               | low 32 bits   |               |
//	+---------------+---+-----------+-------+-------+-------+-----------------+
//	| End, original     | End, reply        | MaxAck,         | MaxAck, reply   |
//	| (36 bits)         | (36)              | original (20)   | (20)            |
//	+-------------------+-------------------+-----------------+-----------------+
//
// Of End the 36 low bits travel: the receiver takes the position with these bits that is
// nearest to what it knows, so an Update may be 32 GiB behind or ahead (2.7 s at
// 100 Gbit/s) before it is mistaken, and a lane is repaired sooner or given up. What
// belongs to a direction not seen is 0.
// Nothing is allocated if dst has room.
func AppendUpdate(dst []byte, s *conntrack.State) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeUpdate, uint8(s.Flags))
	dst = binary.BigEndian.AppendUint32(dst, s.Index)
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.Incarnation))
	if s.Original.Proto == packet.TCP {
		dst = appendTraits(dst, &s.Dir)
		var end, ack [2]uint64
		for d := range s.Dir {
			if s.Dir[d].MaxWin != 0 {
				end[d] = s.Dir[d].End & (1<<endBits - 1)
			}
			if peer := &s.Dir[d^1]; peer.MaxWin != 0 {
				ack[d] = uint64(ackField(s.Dir[d].MaxAck, peer.End))
			}
		}
		dst = binary.BigEndian.AppendUint64(dst, end[0]<<28|end[1]>>8)
		dst = append(dst, byte(end[1]))
		dst = appendUint(dst, ack[0]<<ackBits|ack[1], 5)
	} else if s.Original.Proto == packet.SCTP {
		dst = appendTags(append(dst, updateTags), &s.Dir)
	}
	return endFrame(dst, start)
}

// DecodeUpdate reads an Update; every field of u is overwritten. On an error u is undefined.
func DecodeUpdate(f *Frame, u *Update) error {
	c := f.open(TypeUpdate, 0xff)
	*u = Update{Index: c.u32(), Incarnation: c.u32(), Flags: conntrack.Flags(f.Flags)}
	if len(c.rest) == 0 {
		return c.end()
	}
	if c.rest[0] == updateTags {
		u.form = formSCTP
		c.u8()
		c.tags(&u.dir)
		return c.end()
	}
	u.form = formTCP
	c.traits(&u.dir)
	ends := c.u64()
	u.dir[0].End, u.dir[1].End = ends>>28, ends<<8&(1<<endBits-1)|uint64(c.u8())
	acks := c.uint(5)
	u.ack[0], u.ack[1] = c.ack(acks>>ackBits), c.ack(acks&(1<<ackBits-1))
	for d := range u.dir {
		seen, peerSeen := u.dir[d].MaxWin != 0, u.dir[d^1].MaxWin != 0
		c.must(seen || u.dir[d].End == 0, BadValue)
		c.must(peerSeen || u.ack[d] == 0, BadValue)
	}
	return c.end()
}

// Names reports whether u is about the life of a connection that i names.
func (u *Update) Names(i conntrack.Incarnation) bool { return u.Incarnation == uint32(i) }

// Onto fills to with what u says, read beside ours, what the receiver holds of the
// connection now. It reports whether u is about that connection and life; if not, the
// receiver answers with an UpdateRequest.
func (u *Update) Onto(ours *conntrack.State, to *conntrack.Update) bool {
	if !u.Names(ours.Incarnation) || u.form != formOf(ours.Original.Proto) {
		return false
	}
	*to = conntrack.Update{Incarnation: u.Incarnation, Flags: u.Flags, Dir: u.dir}
	if u.form != formTCP {
		return true
	}
	for d := range to.Dir {
		if to.Dir[d].MaxWin != 0 {
			to.Dir[d].End = nearest(ours.Dir[d].End, u.dir[d].End)
		}
	}
	for d := range to.Dir {
		if peer := &to.Dir[d^1]; peer.MaxWin != 0 {
			to.Dir[d].MaxAck = ackPosition(u.ack[d], peer.End)
		}
	}
	complete(&to.Dir)
	return true
}

// nearest returns the position whose 36 low bits are low and that is nearest to known.
// Where nothing is known the direction has just begun, and low is the position.
func nearest(known, low uint64) uint64 {
	if known == 0 {
		return low
	}
	p := known + signed(low-known, endBits)
	if int64(p) < 0 {
		p += 1 << endBits // positions begin at 2^32: the one below does not exist
	}
	return p
}
