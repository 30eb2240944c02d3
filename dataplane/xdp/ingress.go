package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ingressName is the receive program's name in the kernel, see programs.c.
const ingressName = "holdfast_rx"

// ingress is what receives on a device. A device has one program at most, unless
// somebody attached natively and to the hardware at once.
type ingress struct {
	hook    Hook          // where ours is; 0: nowhere
	program *ebpf.Program // ours, from an earlier Attach; nil with hook 0
	foreign string        // one that is not ours, in words; empty: none
}

// readIngress asks the kernel for the XDP programs of the device. The caller closes
// what it returns.
func (d *device) readIngress() (ingress, error) {
	ids, err := programsOf(d.ifindex())
	if err != nil {
		return ingress{}, fmt.Errorf("ask for XDP programs: %w", explain(err))
	}
	var in ingress
	for attribute, id := range ids {
		program, name, err := identify(ebpf.ProgramID(id))
		if err != nil {
			return ingress{}, errors.Join(err, in.close())
		}
		if program == nil {
			continue
		}
		hook := hookOf[attribute]
		if name == ingressName && hook != 0 && in.program == nil {
			in.hook, in.program = hook, program
			continue
		}
		in.foreign = fmt.Sprintf("XDP program %q (id %d; see `bpftool net`): remove it with `ip link set dev %s xdp off`, or stop whoever attached it", name, id, d.name())
		if err := program.Close(); err != nil {
			return ingress{}, errors.Join(err, in.close())
		}
	}
	return in, nil
}

func (in *ingress) close() error {
	if in.program == nil {
		return nil
	}
	return in.program.Close()
}

// hookOf tells where a program runs by the attribute that names it. A program in the
// hardware is at no hook of ours.
var hookOf = map[uint16]Hook{
	unix.IFLA_XDP_DRV_PROG_ID: HookNative,
	unix.IFLA_XDP_SKB_PROG_ID: HookGeneric,
	unix.IFLA_XDP_HW_PROG_ID:  0,
}

// programsOf returns the program numbers in IFLA_XDP, by attribute (rtnl_xdp_fill,
// net/core/rtnetlink.c).
func programsOf(ifindex int) (map[uint16]uint32, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = int32(ifindex)
	request.AddData(message)
	replies, err := request.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return nil, err
	}
	ids := make(map[uint16]uint32)
	for _, reply := range replies {
		attributes, err := nl.ParseRouteAttr(reply[message.Len():])
		if err != nil {
			return nil, err
		}
		for _, attribute := range attributes {
			if attribute.Attr.Type&^unix.NLA_F_NESTED != unix.IFLA_XDP {
				continue
			}
			inner, err := nl.ParseRouteAttr(attribute.Value)
			if err != nil {
				return nil, err
			}
			for _, a := range inner {
				if _, known := hookOf[a.Attr.Type]; known && len(a.Value) >= 4 {
					ids[a.Attr.Type] = binary.NativeEndian.Uint32(a.Value)
				}
			}
		}
	}
	return ids, nil
}

// none is the descriptor that means no program.
const none = -1

// flag returns the hook as an XDP_FLAGS_*_MODE of linux/if_link.h.
func (h Hook) flag() uint32 {
	if h == HookNative {
		return unix.XDP_FLAGS_DRV_MODE
	}
	return unix.XDP_FLAGS_SKB_MODE
}

// setIngress puts the program of descriptor fd, or none, at the hook of a device in
// one step, provided that what is there is old (nil: nothing): whoever else changes
// it at the same time makes this fail, not disappear. Linux 5.7.
func setIngress(ifindex int, hook Hook, fd int, old *ebpf.Program) error {
	flags := hook.flag()
	xdp := nl.NewRtAttr(unix.IFLA_XDP|unix.NLA_F_NESTED, nil)
	xdp.AddRtAttr(unix.IFLA_XDP_FD, nl.Uint32Attr(uint32(int32(fd))))
	if old == nil {
		flags |= unix.XDP_FLAGS_UPDATE_IF_NOEXIST
	} else {
		flags |= unix.XDP_FLAGS_REPLACE
		xdp.AddRtAttr(unix.IFLA_XDP_EXPECTED_FD, nl.Uint32Attr(uint32(int32(old.FD()))))
	}
	xdp.AddRtAttr(unix.IFLA_XDP_FLAGS, nl.Uint32Attr(flags))

	request := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = int32(ifindex)
	request.AddData(message)
	request.AddData(xdp)

	// A socket of its own, because drivers say in words why they refuse, and package
	// netlink asks for these words in the whole process or not at all.
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer socket.Close()
	if err := socket.SetExtAck(true); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	_, err = request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// replaceIngress puts the program at the best hook that the device gives, in place of
// old, and says why it is not the native one. The device must be down: where the hook
// changes there is an instant without any program.
func replaceIngress(ifindex int, program *ebpf.Program, old ingress) (hook Hook, fallback, err error) {
	for _, hook := range []Hook{HookNative, HookGeneric} {
		before := old.program
		if before != nil && old.hook != hook { // the kernel allows one hook at a time
			if err := setIngress(ifindex, old.hook, none, before); err != nil {
				return 0, nil, fmt.Errorf("remove the earlier XDP program: %w", explain(err))
			}
			old.program, before = nil, nil
		}
		err := setIngress(ifindex, hook, program.FD(), before)
		if err == nil {
			return hook, fallback, nil
		}
		if fallback != nil {
			return 0, nil, fmt.Errorf("%w: native: %w; generic: %w", ErrNoHook, fallback, explain(err))
		}
		fallback = err
	}
	panic("unreachable: the second hook returns")
}
