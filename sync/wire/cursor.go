package wire

import (
	"encoding/binary"

	"holdfast/dataplane/packet"
)

// cursor reads a body from front to back. After the first thing that is wrong it yields
// zeros, and bad says what it was: a decoder reads everything and asks once, at the end.
type cursor struct {
	rest []byte
	bad  Malformed
}

// fail notes m unless something was wrong before.
func (c *cursor) fail(m Malformed) {
	if c.bad == 0 {
		c.bad = m
	}
}

// must notes m if ok is false.
func (c *cursor) must(ok bool, m Malformed) {
	if !ok {
		c.fail(m)
	}
}

// take returns the next n bytes, or nil if there are not so many.
func (c *cursor) take(n int) []byte {
	if len(c.rest) < n {
		c.rest = nil
		c.fail(Truncated)
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) u8() uint8 {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// uint reads a number of n bytes, at most 8.
func (c *cursor) uint(n int) (v uint64) {
	for _, x := range c.take(n) {
		v = v<<8 | uint64(x)
	}
	return v
}

// appendUint appends the n low bytes of v.
//
// Not a byte behind them is touched, spare room or not: an Update is written over an older one
// in the middle of a batch.
func appendUint(dst []byte, v uint64, n int) []byte {
	for n--; n >= 0; n-- {
		dst = append(dst, byte(v>>(8*n)))
	}
	return dst
}

// family says how addresses of a message are written.
type family uint8

const (
	v4 family = iota // 4 bytes
	v6               // 16 bytes
)

// familyOf returns the shortest family that can hold all addresses.
func familyOf(addresses ...*packet.Addr) family {
	for _, a := range addresses {
		if !a.Is4() {
			return v6
		}
	}
	return v4
}

// address reads an address of family f. An IPv4 address in 16 bytes is not accepted:
// every address has one encoding, and a message one family.
func (c *cursor) address(f family) (a packet.Addr) {
	if f == v4 {
		a[10], a[11] = 0xff, 0xff
		copy(a[12:], c.take(4))
		return a
	}
	copy(a[:], c.take(16))
	c.must(!a.Is4(), BadAddress)
	return a
}

// appendAddress appends a in the form of family f, which must hold it.
func appendAddress(dst []byte, f family, a *packet.Addr) []byte {
	if f == v4 {
		return append(dst, a[12:]...)
	}
	return append(dst, a[:]...)
}

// end returns what was wrong with the body, which must be used up.
func (c *cursor) end() error {
	c.must(len(c.rest) == 0, TrailingBytes)
	return c.bad.check()
}
