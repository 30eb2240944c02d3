package lab

// Why this is sound: SIOCETHTOOL takes a struct ifreq whose union holds a pointer to a
// struct ethtool_value. x/sys/unix has no exported way to put a pointer there. Both
// structures below have the layout of linux/if.h and linux/ethtool.h; the pointer is
// typed as one, so the collector sees it, and the kernel keeps none after the call.

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct {
	command uint32
	data    uint32
}

// ifreqPointer is struct ifreq of linux/if.h with ifr_data chosen from the union.
type ifreqPointer struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// ethtoolSet makes one request that takes a value, through any socket of the link's
// namespace.
func ethtoolSet(fd int, link string, command, data uint32) error {
	value := ethtoolValue{command, data}
	return ethtoolCall(fd, link, &value)
}

// ethtoolGet makes one request that returns a value.
func ethtoolGet(fd int, link string, command uint32) (uint32, error) {
	value := ethtoolValue{command: command}
	err := ethtoolCall(fd, link, &value)
	return value.data, err
}

func ethtoolCall(fd int, link string, value *ethtoolValue) error {
	request := ifreqPointer{data: unsafe.Pointer(value)}
	if len(link) >= len(request.name) {
		return fmt.Errorf("link name %q is longer than %d bytes", link, len(request.name)-1)
	}
	copy(request.name[:], link)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
