package xdp

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Tags says where the VLAN tag of a received frame is. The zero value is illegal.
type Tags uint8

const (
	TagsUnset   Tags = iota
	TagsInFrame      // where the sender put it
	TagsBeside       // the device took it out; only the kernel's own stack learns which it was
)

// flagStrip is ETH_FLAG_RXVLAN of <linux/ethtool.h>: rx-vlan-offload in `ethtool -k`.
const flagStrip = 1 << 8

// ReadTags says where a device of the current network namespace leaves VLAN tags. One that
// cannot be asked is taken to leave them in the frame.
func ReadTags(device string) (Tags, error) {
	flags, err := vlanFlags(device)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return TagsInFrame, nil
	case err != nil:
		return TagsUnset, fmt.Errorf("VLAN offload of %s: %w", device, explain(err))
	case flags&flagStrip != 0:
		return TagsBeside, nil
	}
	return TagsInFrame, nil
}

// SetTags makes a device leave VLAN tags where t says. A device that knows only the other
// way is an error.
func SetTags(device string, t Tags) error {
	flags, err := vlanFlags(device)
	if errors.Is(err, unix.EOPNOTSUPP) && t == TagsInFrame {
		return nil
	}
	want, word := flags&^flagStrip, "off"
	if t == TagsBeside {
		want, word = flags|flagStrip, "on"
	}
	if err == nil && want != flags {
		err = flagsOf(device, &ethtoolValue{unix.ETHTOOL_SFLAGS, want})
	}
	if err != nil {
		return fmt.Errorf("%s does not let VLAN offload be switched %s (`ethtool -K %s rx-vlan-offload %s`), and a tag that the device takes out does not reach AF_XDP: use another device for tagged ports: %w",
			device, word, device, word, explain(err))
	}
	return nil
}

func vlanFlags(device string) (uint32, error) {
	v := ethtoolValue{command: unix.ETHTOOL_GFLAGS}
	err := flagsOf(device, &v)
	return v.data, err
}

// flagsOf runs one request about a device of the current namespace.
func flagsOf(device string, v *ethtoolValue) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return errors.Join(ethtool(fd, device, v), unix.Close(fd))
}
