package journal

// unsafe is sound here: the bytes that are looked at are those of one struct without pointers
// or gaps, which lives on its caller's stack for as long as they are used.

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// segmentControl is the control message that gives the length of the datagrams of a run
// (cmsg(3), udp(7)).
type segmentControl struct {
	header unix.Cmsghdr
	size   uint16
	_      [6]byte // to the alignment of a header
}

// segmentSize returns the control message for datagrams of so many bytes.
func segmentSize(size int) (c segmentControl) {
	c.header.Level, c.header.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	c.header.SetLen(unix.CmsgLen(2))
	c.size = uint16(size)
	return c
}

// bytes returns the message as the kernel reads it.
func (c *segmentControl) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(c)), unsafe.Sizeof(*c))
}
