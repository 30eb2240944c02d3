package tap

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Why this is sound. Each call passes the kernel the start and the length of a slice
// that the caller holds, converted to uintptr inside the call expression, as package
// unsafe allows for system calls; the kernel uses it only during the call.
//
// They are raw calls: the descriptor does not block, the worker has its thread to
// itself, and telling the scheduler about each frame would cost more than the call.

// Read takes one frame that the kernel sends and returns its length in bytes, 0 when
// there is none. A frame longer than buf is cut off to it: give it room for the MTU,
// 14 bytes of Ethernet header and 4 of a VLAN tag, and one byte more to see a cut.
//
// An error means that the device is gone (EBADFD: somebody deleted it).
func (t *Tap) Read(buf []byte) (int, error) {
	n, errno := transfer(unix.SYS_READ, t.fd, buf)
	if errno != 0 {
		return 0, t.failed("read", errno)
	}
	return n, nil
}

// Write hands one frame to the kernel and returns its length in bytes, 0 when the
// kernel takes none now, as it does while somebody has taken the device down; then the
// frame is lost, as on any wire.
//
// An error names what is wrong with the frame (EINVAL: shorter than an Ethernet header)
// or means that the device is gone (EBADFD: somebody deleted it).
func (t *Tap) Write(frame []byte) (int, error) {
	n, errno := transfer(unix.SYS_WRITE, t.fd, frame)
	if errno != 0 {
		return 0, t.failed("write", errno)
	}
	return n, nil
}

// transfer is read(2) or write(2) of one frame. What may pass is no error.
func transfer(call uintptr, fd int, frame []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(frame))), uintptr(len(frame)))
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
			continue
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.EIO: // EIO: tun_get_user, not IFF_UP
			return 0, 0
		default:
			return 0, errno
		}
	}
}

// failed is out of the way of the path, which does not allocate.
//
//go:noinline
func (t *Tap) failed(what string, errno syscall.Errno) error {
	return fmt.Errorf("%s TAP %s: %w", what, t.name, errno)
}
