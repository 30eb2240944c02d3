package journal

// unsafe is sound here: pointers go to the kernel for the time of one call, in the call's own
// expression, and into structs that live until it returns; nothing keeps them.
//
// The calls do not tell Go's scheduler, as those of package xsk do not: they do not block, and a
// worker that gives its processor back for a datagram may have to wait for another.

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

// send hands one datagram to a connected socket (send(2)); it does not block.
func send(fd int, datagram []byte) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(datagram))), uintptr(len(datagram)),
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// sendRun hands a run of datagrams of so many bytes to a connected socket (sendmsg(2)), to be
// cut there; it does not block.
func sendRun(fd int, run []byte, size int) error {
	control := segmentSize(size)
	whole := unix.Iovec{Base: unsafe.SliceData(run)}
	whole.SetLen(len(run))
	m := unix.Msghdr{Iov: &whole, Control: (*byte)(unsafe.Pointer(&control))}
	m.SetIovlen(1)
	m.SetControllen(int(unsafe.Sizeof(control)))
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return errno
	}
	return nil
}
