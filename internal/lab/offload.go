package lab

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Offload is work that a link leaves to its hardware, or in a veth to nobody.
type Offload string

// The offloads that show in frames: checksums left open, segments joined.
const (
	TxChecksum Offload = "tx-checksum"
	TSO        Offload = "tso"
	GSO        Offload = "gso"
	GRO        Offload = "gro"
)

// offloadCommands are the ETHTOOL_S* requests of linux/ethtool.h, each with a struct
// ethtool_value, in the order in which they must be cleared: TSO hangs on checksums. They
// are set in the opposite order.
var offloadCommands = []struct {
	offload Offload
	command uint32
}{
	{TSO, unix.ETHTOOL_STSO},
	{GSO, unix.ETHTOOL_SGSO},
	{TxChecksum, unix.ETHTOOL_STXCSUM},
	{GRO, unix.ETHTOOL_SGRO},
}

// OffloadsOff switches the named offloads of a link off, all of them when none is
// named. On every end that carries real TCP to or from AF_XDP they must be off: it
// hands over and takes frames as they are, with open checksums and 64 KiB segments.
func (n *Namespace) OffloadsOff(link string, which ...Offload) error {
	return n.offloads(link, off, which)
}

// OffloadsOn switches the named offloads of a link on, all of them when none is named.
// A veth end with GRO on takes frames that were redirected into it, also without an XDP
// program of its own.
func (n *Namespace) OffloadsOn(link string, which ...Offload) error {
	return n.offloads(link, on, which)
}

// setting is what an offload becomes.
type setting uint32

const (
	off setting = 0
	on  setting = 1
)

func (s setting) String() string {
	if s == on {
		return "on"
	}
	return "off"
}

func (n *Namespace) offloads(link string, to setting, which []Offload) error {
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("offloads of %s in %s: socket: %w", link, n.name, err)
		}
		var errs []error
		commands := slices.Clone(offloadCommands)
		if to == on {
			slices.Reverse(commands)
		}
		for _, o := range commands {
			if !named(o.offload, which) {
				continue
			}
			if err := ethtoolSet(fd, link, o.command, uint32(to)); err != nil {
				errs = append(errs, fmt.Errorf("switch %s of %s in %s %s: %w", o.offload, link, n.name, to, err))
			}
		}
		return errors.Join(append(errs, unix.Close(fd))...)
	})
}

func named(o Offload, which []Offload) bool {
	for _, w := range which {
		if w == o {
			return true
		}
	}
	return len(which) == 0
}
