package xdp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"holdfast/dataplane/xsk"
)

// What Attach and Detach refuse with, beside xsk.ErrNoDevice, xsk.ErrNoPermission and
// xsk.ErrNoAFXDP; each comes wrapped with the device and with what to do.
var (
	// ErrForeignProgram: the device carries a program that is not Holdfast's.
	ErrForeignProgram = errors.New("device carries a program of somebody else")
	// ErrInUse: the programs on the device serve sockets of a living Holdfast.
	ErrInUse = errors.New("device is in use by a running holdfast: stop that one first, or name another device in the configuration")
	// ErrNoHook: the device takes the receive program neither natively nor generically.
	ErrNoHook = errors.New("device takes no XDP program")
)

// explain adds what a refusal of the kernel means, where there is just one meaning.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", xsk.ErrNoPermission, err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w (%w)", xsk.ErrNoDevice, err)
	}
	return err
}

// explainLoad says why programs or maps were refused. The programs are the same
// everywhere and verify on every kernel that has the helper and the map, so EINVAL
// without a verifier's log means that one of the two is missing.
func explainLoad(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("load programs: this kernel has no BPF: boot one that is built with CONFIG_BPF_SYSCALL=y (%w)", err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EINVAL) && !errors.As(err, &verifier):
		return fmt.Errorf("load programs: %w (%w)", xsk.ErrNoAFXDP, err)
	}
	return fmt.Errorf("load programs: %w", explain(err))
}
