package wire

import (
	"math/bits"

	"holdfast/conntrack"
)

// The TCP part of Insert and Update is made of the same pieces. It carries the exported
// form and uses what is known of it (conntrack.State):
//
//	windows  a power of two from 64 KiB to 1 GiB, or 0: that direction was not seen.
//	         Four bits: 0 is 0, n is 2^(15+n).
//	MaxEnd   not carried: it is End plus the other direction's window, at least 64 KiB.
//	MaxAck   20 bits: how far it is behind the other direction's End, which it
//	         acknowledges. 0 and 19 bits are bytes, less than 512 KiB; 1 and 19 bits are
//	         cells of 8 KiB, up to 2 GiB, counted between the cells of the two positions.
//	         In cells MaxAck is rounded down, which is behind, where it may be; on the
//	         grid of an open connection, and before, nothing is lost.
//
// Example of MaxAck in cells: the peer's End is 0x1_0853_2107, exact since its FIN, and
// MaxAck is 0x1_07f0_0000, on the grid. End is in cell 0x84299, MaxAck in 0x83f80: 0x319
// cells travel, and the receiver makes (0x84299 - 0x319) * 8 KiB of it.

const (
	ackBits   = 20
	ackCoarse = 1 << (ackBits - 1) // the bit that says cells; also the first distance that needs it
	ackCell   = 13                 // exponent of a cell
	ackMin    = ackCoarse >> ackCell
	ackMax    = 1 << 31 >> ackCell
)

const windowMin = 1 << 16

// windowNibble returns the four bits of a window, rounded up.
func windowNibble(w uint32) byte {
	if w == 0 {
		return 0
	}
	return byte(min(max(bits.Len32(w-1), 16), 30) - 15)
}

// windowOf is the inverse of windowNibble.
func windowOf(nibble byte) uint32 {
	if nibble == 0 {
		return 0
	}
	return 1 << (15 + nibble)
}

// appendTraits appends what both messages say of the two directions first:
//
//	+----------------+--------------+-------------------+------------------+
//	| seen, original | seen, reply  | windows, 4 bits   | scales, 4 bits   |
//	|                |              | original | reply  | original | reply |
//	+----------------+--------------+-------------------+------------------+
func appendTraits(dst []byte, dir *[2]conntrack.DirState) []byte {
	return append(dst, byte(dir[0].Seen), byte(dir[1].Seen),
		windowNibble(dir[0].MaxWin)<<4|windowNibble(dir[1].MaxWin),
		min(dir[0].Scale, 14)<<4|min(dir[1].Scale, 14))
}

const traitsSize = 4

// traits reads what appendTraits has written.
func (c *cursor) traits(dir *[2]conntrack.DirState) {
	dir[0].Seen, dir[1].Seen = conntrack.Seen(c.u8()), conntrack.Seen(c.u8())
	windows, scales := c.u8(), c.u8()
	dir[0].MaxWin, dir[1].MaxWin = windowOf(windows>>4), windowOf(windows&15)
	dir[0].Scale, dir[1].Scale = scales>>4, scales&15
	c.must(dir[0].Scale <= 14 && dir[1].Scale <= 14, BadValue) // RFC 7323 section 2.3
}

// ackField returns the bits of MaxAck ack, which acknowledges what ends at end. What no
// connection has (ahead of end, or 2 GiB behind) becomes the nearest that fits.
func ackField(ack, end uint64) uint32 {
	if ack >= end {
		return 0
	}
	if behind := end - ack; behind < ackCoarse {
		return uint32(behind)
	}
	return ackCoarse | uint32(min(end>>ackCell-ack>>ackCell, ackMax))
}

// ackPosition is the inverse of ackField; 0 if there is no such position.
func ackPosition(field uint32, end uint64) uint64 {
	behind := uint64(field)
	if field&ackCoarse == 0 {
		return end - min(behind, end)
	}
	behind &^= ackCoarse
	return (end>>ackCell - min(behind, end>>ackCell)) << ackCell
}

// ack checks the bits of a MaxAck: every distance has one form only.
func (c *cursor) ack(field uint64) uint32 {
	cells := field &^ ackCoarse
	c.must(field&ackCoarse == 0 || cells >= ackMin && cells <= ackMax, BadValue)
	c.must(field < 1<<ackBits, BadValue)
	return uint32(field)
}

// signed returns the low bits of v as a signed number, in two's complement.
func signed(v uint64, width uint) uint64 {
	return uint64(int64(v<<(64-width)) >> (64 - width))
}

// complete fills in what is not carried.
func complete(dir *[2]conntrack.DirState) {
	for d := range dir {
		if dir[d].MaxWin != 0 {
			dir[d].MaxEnd = dir[d].End + uint64(max(dir[d^1].MaxWin, windowMin))
		}
	}
}
