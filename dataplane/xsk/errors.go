package xsk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What Open refuses with; each says what to do.
var (
	// ErrNoAFXDP: the kernel was built without it.
	ErrNoAFXDP = errors.New("this kernel has no AF_XDP: boot one that is built with CONFIG_XDP_SOCKETS=y, version 5.10 or later")
	// ErrNoPermission: not root and without the capabilities.
	ErrNoPermission = errors.New("no permission for AF_XDP sockets: run as root, or with CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_IPC_LOCK")
	// ErrDeviceTaken: some socket is bound to that queue.
	ErrDeviceTaken = errors.New("device already taken: another AF_XDP socket is bound to this queue; `ss --xdp -ap` names its program: stop it, or run `holdfast detach` after a daemon that died")
	// ErrNoDevice: no device of that index in this network namespace.
	ErrNoDevice = errors.New("no such device in this network namespace")
	// ErrLockedMemory: the limit on locked memory is too small for the packet memory.
	ErrLockedMemory = errors.New("packet memory exceeds the limit on locked memory: run as root or with CAP_IPC_LOCK, or raise it (`ulimit -l`, LimitMEMLOCK=)")
)

// socketError explains what socket(2) refuses (xsk_create).
func socketError(err error) error {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w (%w)", ErrNoAFXDP, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", ErrNoPermission, err)
	}
	return fmt.Errorf("socket: %w", err)
}

// registerError explains what XDP_UMEM_REG refuses (xdp_umem_account_pages).
func registerError(err error) error {
	if errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("%w (%w)", ErrLockedMemory, err)
	}
	return fmt.Errorf("register packet memory: %w", err)
}

// bindError explains what bind(2) refuses (xsk_bind, xp_assign_dev).
func bindError(err error, device string, queue int) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w (%w)", ErrDeviceTaken, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", ErrNoPermission, err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w (%w)", ErrNoDevice, err)
	case errors.Is(err, unix.EINVAL):
		if channels, asked := ReadChannels(device); asked == nil && queue >= channels.Receive {
			return fmt.Errorf("the device has receive queues 0 to %d only; for more run `ethtool -L %s combined %d` (%w)", channels.Receive-1, device, queue+1, err)
		}
	}
	return fmt.Errorf("bind: %w", err)
}
