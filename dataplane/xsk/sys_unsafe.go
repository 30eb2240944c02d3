package xsk

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Why this is sound. Each call passes the kernel a pointer to a Go value that lives on
// this stack frame or was passed in, converted to uintptr inside the call expression,
// as package unsafe allows for system calls; the kernel uses it only during the call.
// Sizes are taken from the types. Option values are plain structs without pointers,
// whose layout golang.org/x/sys generates from the kernel's headers. The address in
// XDPUmemReg is that of a mapping outside the Go heap, which never moves.

// setOption sets a SOL_XDP option to a plain value.
func setOption[T uint32 | unix.XDPUmemReg](fd, option int, value T) error {
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option),
		uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0)
	return errnoError(errno)
}

// getOption reads a SOL_XDP option. A kernel that knows a shorter form fills that part.
func getOption[T uint32 | unix.XDPMmapOffsets | unix.XDPStatistics](fd, option int) (T, error) {
	var value T
	length := uint32(unsafe.Sizeof(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option),
		uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&length)), 0)
	return value, errnoError(errno)
}

// address returns where a mapping outside the Go heap starts.
func address(mapped []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mapped)))) }

// wakeTransmit is sendto(fd, NULL, 0, MSG_DONTWAIT). It is a raw call: the worker has
// its thread to itself, the call never sleeps for long, and telling the scheduler
// about it would cost more than a small batch.
func wakeTransmit(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// wakeReceive is recvfrom(fd, NULL, 0, MSG_DONTWAIT): it makes a sleeping driver look
// at the fill ring and transmits nothing that is not published.
func wakeReceive(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// ethtoolChannels is struct ethtool_channels of <linux/ethtool.h>.
type ethtoolChannels struct {
	Cmd                                         uint32
	MaxRx, MaxTx, MaxOther, MaxCombined         uint32
	RxCount, TxCount, OtherCount, CombinedCount uint32
}

// ethtoolRxnfc is the head of struct ethtool_rxnfc, as ETHTOOL_GRXRINGS uses it; the
// room behind it is for what the kernel copies back.
type ethtoolRxnfc struct {
	Cmd, FlowType uint32
	Data          uint64
	_             [23]uint64
}

// ifreqPointer is struct ifreq with ifr_data.
type ifreqPointer struct {
	Name [unix.IFNAMSIZ]byte
	Data unsafe.Pointer
	_    [16]byte
}

// ethtool runs one SIOCETHTOOL request; its command stands in the first word.
func ethtool[T ethtoolChannels | ethtoolRxnfc](fd int, device string, request *T) error {
	var ifr ifreqPointer
	copy(ifr.Name[:unix.IFNAMSIZ-1], device)
	ifr.Data = unsafe.Pointer(request)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
	return errnoError(errno)
}

// errnoError turns the kernel's zero into nil.
func errnoError(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
