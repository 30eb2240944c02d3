package xdp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Why this is sound. The call passes the kernel a pointer to a struct of this stack frame,
// converted to uintptr inside the call expression, as package unsafe allows for system
// calls; in it stands a pointer to another one, which the garbage collector sees as such.
// The kernel uses both only during the call.

// ethtoolValue is struct ethtool_value of <linux/ethtool.h>.
type ethtoolValue struct {
	command, data uint32
}

// ifreqValue is struct ifreq with ifr_data.
type ifreqValue struct {
	name [unix.IFNAMSIZ]byte
	data *ethtoolValue
	_    [16]byte
}

// ethtool runs one SIOCETHTOOL request with a plain value.
func ethtool(fd int, device string, v *ethtoolValue) error {
	request := ifreqValue{data: v}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
