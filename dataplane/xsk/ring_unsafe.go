package xsk

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Why this is sound. A ring lives in a mapping made by mmap(2) on the socket: outside
// the Go heap, page-aligned, never moved, and valid until Munmap, which Close calls
// after it has dropped every pointer made here. The mapping is as long as its highest
// slot asks for, and the offsets come from the kernel that laid the ring out
// (XDP_MMAP_OFFSETS); each is checked against the mapping's length and its alignment
// before a pointer is made. The words are only touched by sync/atomic; the slots hold
// no pointers, every bit pattern of them is a valid value, and the protocol of ring.go
// says which side may touch a slot. Desc has the layout of struct xdp_desc (compile-time
// check below).

const ringNeedWakeup = unix.XDP_RING_NEED_WAKEUP

var _ [16]byte = [unsafe.Sizeof(Desc{})]byte{}
var _ [8]byte = [unsafe.Offsetof(Desc{}.Len)]byte{}

// mapping is the mapped memory of one ring.
type mapping struct {
	bytes   []byte
	offsets unix.XDPRingOffset
}

// mapRing maps a ring of size slots, each slotBytes long, found at pgoff.
func mapRing(fd int, offsets unix.XDPRingOffset, pgoff int64, size uint32, slotBytes uintptr) (mapping, error) {
	length := offsets.Desc + uint64(size)*uint64(slotBytes)
	for _, at := range []uint64{offsets.Producer, offsets.Consumer, offsets.Flags} {
		if at+4 > length || at%4 != 0 {
			return mapping{}, fmt.Errorf("ring word at %d of %d bytes: the kernel's layout is not one this program knows", at, length)
		}
	}
	if offsets.Desc%8 != 0 {
		return mapping{}, fmt.Errorf("ring slots at %d: the kernel's layout is not one this program knows", offsets.Desc)
	}
	bytes, err := unix.Mmap(fd, pgoff, int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return mapping{}, fmt.Errorf("map a ring: %w", err)
	}
	return mapping{bytes: bytes, offsets: offsets}, nil
}

// word returns the 32-bit word at an offset that mapRing has checked.
func (m mapping) word(at uint64) *uint32 { return (*uint32)(unsafe.Pointer(&m.bytes[at])) }

// ringSlots returns the slot array. T is Desc or uint64, and the mapping was made for
// size slots of it.
func ringSlots[T Desc | uint64](m mapping, size uint32) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(&m.bytes[m.offsets.Desc])), size)
}

// slotSize returns the size in bytes of a slot of type T.
func slotSize[T Desc | uint64]() uintptr {
	var slot T
	return unsafe.Sizeof(slot)
}

// mapProducer maps a ring that we fill.
func mapProducer[T Desc | uint64](fd int, offsets unix.XDPRingOffset, pgoff int64, size uint32) (producer, []T, mapping, error) {
	m, err := mapRing(fd, offsets, pgoff, size, slotSize[T]())
	if err != nil {
		return producer{}, nil, m, err
	}
	p := producer{head: m.word(offsets.Producer), tail: m.word(offsets.Consumer), flags: m.word(offsets.Flags), size: size}
	return p, ringSlots[T](m, size), m, nil
}

// mapConsumer maps a ring that we empty.
func mapConsumer[T Desc | uint64](fd int, offsets unix.XDPRingOffset, pgoff int64, size uint32) (consumer, []T, mapping, error) {
	m, err := mapRing(fd, offsets, pgoff, size, slotSize[T]())
	if err != nil {
		return consumer{}, nil, m, err
	}
	c := consumer{head: m.word(offsets.Producer), tail: m.word(offsets.Consumer), size: size}
	return c, ringSlots[T](m, size), m, nil
}

// unmap gives the memory back. No pointer into it may be used afterwards.
func (m *mapping) unmap() error {
	if m.bytes == nil {
		return nil
	}
	err := unix.Munmap(m.bytes)
	m.bytes = nil
	return err
}
