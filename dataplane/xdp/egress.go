package xdp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// egressName is the silencing program's name in the kernel, see programs.c, and that
// of its filter.
const egressName = "holdfast_egress"

// Our filter's place among the filters of the hook, the first of all.
const (
	egressPriority = 1
	egressHandle   = 1
)

// egress is what the kernel's own packets meet on their way out of a device.
type egress struct {
	qdisc   bool   // a clsact is there, ours or not
	ours    bool   // our filter is in it
	foreign string // something that is not ours, in words; empty: nothing
}

// readEgress asks the kernel for what is at the egress hook of the device. A filter of
// anybody else may accept a packet before ours sees it, so there must be none.
func (d *device) readEgress() (egress, error) {
	var out egress
	qdiscs, err := d.handle.QdiscList(d.link)
	if err != nil {
		return out, fmt.Errorf("ask for qdiscs: %w", explain(err))
	}
	for _, q := range qdiscs {
		if q.Attrs().Parent != netlink.HANDLE_CLSACT {
			continue
		}
		if q.Type() != "clsact" {
			out.foreign = fmt.Sprintf("qdisc %q: remove it with `tc qdisc del dev %s %s`", q.Type(), d.name(), q.Type())
			return out, nil
		}
		out.qdisc = true
	}
	// tcx programs run before every filter and may end the walk (Linux 6.6; an older
	// kernel has none).
	tcx, err := link.QueryPrograms(link.QueryOptions{Target: d.ifindex(), Attach: ebpf.AttachTCXEgress})
	if err == nil && len(tcx.Programs) > 0 {
		out.foreign = fmt.Sprintf("tcx egress program (id %d; see `bpftool net`): stop whoever attached it", tcx.Programs[0].ID)
	}
	if !out.qdisc {
		return out, nil
	}
	filters, err := d.handle.FilterList(d.link, netlink.HANDLE_MIN_EGRESS)
	if err != nil {
		return out, fmt.Errorf("ask for egress filters: %w", explain(err))
	}
	for _, f := range filters {
		ours, err := isOurs(f)
		if err != nil {
			return out, err
		}
		if ours {
			out.ours = true
			continue
		}
		out.foreign = fmt.Sprintf("%s filter at egress (preference %d): remove it with `tc filter del dev %s egress`, or stop whoever attached it", f.Type(), f.Attrs().Priority, d.name())
	}
	return out, nil
}

// isOurs reports whether a filter stands in our place and runs our program.
func isOurs(f netlink.Filter) (bool, error) {
	filter, ok := f.(*netlink.BpfFilter)
	if !ok || filter.Priority != egressPriority || filter.Handle != egressHandle {
		return false, nil
	}
	program, name, err := identify(ebpf.ProgramID(filter.Id))
	if err != nil || program == nil {
		return false, err
	}
	return name == egressName, program.Close()
}

// egressFilter describes our filter with the program of descriptor fd.
func egressFilter(device netlink.Link, fd int) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: device.Attrs().Index,
			Parent:    netlink.HANDLE_MIN_EGRESS,
			Priority:  egressPriority,
			Handle:    egressHandle,
			Protocol:  unix.ETH_P_ALL,
		},
		Fd:           fd,
		Name:         egressName,
		DirectAction: true, // the program's return value is the verdict
	}
}

// clsact describes the qdisc that carries the hook; it queues nothing.
func clsact(device netlink.Link) netlink.Qdisc {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: device.Attrs().Index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
}

// silence takes the kernel's voice on the device: at once, and in one step where an
// earlier Holdfast's program is replaced (cls_bpf_change).
func (d *device) silence(program *ebpf.Program) error {
	if err := d.handle.QdiscAdd(clsact(d.link)); err != nil && !errors.Is(err, unix.EEXIST) {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("add clsact qdisc: this kernel has none: boot one that is built with CONFIG_NET_SCH_INGRESS (%w)", err)
		}
		return fmt.Errorf("add clsact qdisc: %w", explain(err))
	}
	if err := d.handle.FilterReplace(egressFilter(d.link, program.FD())); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("add egress filter: this kernel has no BPF filters: boot one that is built with CONFIG_NET_CLS_BPF (%w)", err)
		}
		return fmt.Errorf("add egress filter: %w", explain(err))
	}
	return nil
}

// unsilence gives the kernel its voice back: it removes our filter, and the qdisc
// where no filter of anybody is left in it.
func (d *device) unsilence(out egress) error {
	if out.ours {
		if err := d.handle.FilterDel(egressFilter(d.link, none)); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove egress filter: %w", explain(err))
		}
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_EGRESS, netlink.HANDLE_MIN_INGRESS} {
		filters, err := d.handle.FilterList(d.link, parent)
		if err != nil {
			return fmt.Errorf("ask for filters: %w", explain(err))
		}
		if len(filters) > 0 {
			return nil
		}
	}
	if err := d.handle.QdiscDel(clsact(d.link)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove clsact qdisc: %w", explain(err))
	}
	return nil
}
