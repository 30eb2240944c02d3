package config

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/cespare/xxhash/v2"
)

// form is the canonical form of a policy on its way into a hash. The bytes are the same on
// every machine:
//
//	octet, bool, enum      one byte
//	number, time in ns     unsigned varint of encoding/binary, 1 to 10 bytes
//	text                   its length in bytes as a number, the bytes
//	list                   its length as a number, the elements
//	pointer                0, or 1 and what it points to
//	address                0, 4 or 16, so many bytes in network order; behind 16 the zone as text
//	prefix                 address, its bits as one byte, 255 for none
//
// Whoever reads a form from the front knows at each byte which field it is of and where that
// ends, so two forms are the same only where all fields are. What a hash makes of forms that
// differ is another matter: two in 2^64 meet.
type form struct {
	digest xxhash.Digest
	buf    []byte // what the digest has not had; it goes there in large pieces
}

// formPiece is from how many bytes on a form goes to its digest. It is of no account to the
// hash, and fits a core's first cache.
const formPiece = 16 << 10

func newForm() *form {
	f := &form{buf: make([]byte, 0, formPiece+4<<10)}
	f.digest.Reset()
	return f
}

// sum ends the form and returns its hash.
func (f *form) sum() uint64 {
	f.spill()
	return f.digest.Sum64()
}

// spill gives the digest what has come together.
func (f *form) spill() {
	_, _ = f.digest.Write(f.buf) // it cannot fail
	f.buf = f.buf[:0]
}

func (f *form) bytes(b ...uint8) { f.buf = append(f.buf, b...) }

func (f *form) number(n uint64) { f.buf = binary.AppendUvarint(f.buf, n) }

func (f *form) duration(d time.Duration) { f.number(uint64(d)) }

func (f *form) text(s string) {
	f.number(uint64(len(s)))
	f.buf = append(f.buf, s...)
}

// has writes whether something is there that may be missing, and returns it.
func (f *form) has(there bool) bool {
	f.bytes(bit(there))
	return there
}

func (f *form) address(a netip.Addr) {
	switch {
	case a.Is4():
		b := a.As4()
		f.bytes(4)
		f.bytes(b[:]...)
	case a.Is6():
		b := a.As16()
		f.bytes(16)
		f.bytes(b[:]...)
		f.text(a.Zone())
	default:
		f.bytes(0)
	}
}

func (f *form) prefix(p netip.Prefix) {
	f.address(p.Addr())
	f.bytes(uint8(p.Bits())) // -1 without one, and never above 128
}

// element writes an element of from, to or a table.
func (f *form) element(a Address) {
	f.bytes(uint8(a.Kind), uint8(a.Sense))
	f.address(a.First)
	f.address(a.Last)
	f.text(a.Table)
}

func (f *form) ports(r PortRange) {
	f.buf = binary.BigEndian.AppendUint16(f.buf, r.First)
	f.buf = binary.BigEndian.AppendUint16(f.buf, r.Last)
}

// list writes values, without where they stand.
func list[T any](f *form, all []Value[T], put func(*form, T)) {
	f.number(uint64(len(all)))
	for i := range all {
		put(f, all[i].V)
		f.spillOver()
	}
}

// octets writes values of one byte each.
func octets[T ~uint8](f *form, all []Value[T]) {
	f.number(uint64(len(all)))
	for i := range all {
		f.bytes(uint8(all[i].V))
	}
}

// each writes objects.
func each[T any](f *form, all []T, put func(*T, *form)) {
	f.number(uint64(len(all)))
	for i := range all {
		put(&all[i], f)
		f.spillOver()
	}
}

// spillOver keeps the form's memory small, however long a list is.
func (f *form) spillOver() {
	if len(f.buf) >= formPiece {
		f.spill()
	}
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
