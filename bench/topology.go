package main

import (
	"errors"
	"net"
	"net/netip"
	"os"

	"holdfast/internal/lab"
)

// MACs of the links, the same for every peer. Holdfast gives f0 and f1 theirs itself.
var (
	macF0 = net.HardwareAddr{2, 0x48, 0x46, 0, 0, 1}
	macF1 = net.HardwareAddr{2, 0x48, 0x46, 0, 0, 2}
	macS0 = net.HardwareAddr{2, 0x48, 0x46, 0, 0, 3}
	macG0 = net.HardwareAddr{2, 0x48, 0x46, 0, 0, 4}
)

// Addresses of the topology. The sources of all flows are in the first half of lan; far
// stands for the rest of the world, behind the sink.
var (
	lan      = netip.MustParsePrefix("10.1.0.0/16")
	sources  = netip.MustParsePrefix("10.1.0.0/17")
	firstSrc = netip.MustParseAddr("10.1.0.1")
	addrG0   = netip.MustParsePrefix("10.1.255.1/16")
	addrF0   = netip.MustParsePrefix("10.1.255.254/16")
	addrF1   = netip.MustParsePrefix("10.2.0.1/24")
	addrS0   = netip.MustParsePrefix("10.2.0.2/24")
	far      = netip.MustParseAddr("198.18.0.1")
)

// dstPort is the port that all generated flows go to.
const dstPort = 9

// line is the topology of forwarding rows:
//
//	ns gen [g0 10.1.255.1/16]==veth==[f0] ns fw [f1]==veth==[s0 10.2.0.2/24] ns sink
//
// gen owns all sources, so that it answers ARP for them, and its default route is the
// firewall's lan address; sink routes lan back. Frames to 198.18.0.1 die in sink's routing,
// unanswered, unless applications make the address sink's own.
type line struct {
	lab           *lab.Lab
	gen, fw, sink *lab.Namespace
	standby       *lab.Namespace // where the row has a second firewall
	dir           string
	extra         []string // arguments of `holdfast run`
	napi          []int    // kernel threads that receive for fw, where the kernel forwards
}

// newLine builds the line. Offloads: checksums, TSO and GSO are off everywhere, so that
// every peer sees real frames; GRO is off on the ends and on in the firewall's, because a
// veth without an XDP program takes redirected frames only so.
func newLine() (_ *line, err error) {
	l := &line{}
	if l.dir, err = os.MkdirTemp("", "holdfast-bench-"); err != nil {
		return nil, err
	}
	if l.lab, err = lab.New(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(l.dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	for name, ns := range map[string]**lab.Namespace{"gen": &l.gen, "fw": &l.fw, "sink": &l.sink} {
		if *ns, err = l.lab.Namespace(name); err != nil {
			return nil, err
		}
	}
	steps := []func() error{
		func() error {
			return l.lab.Veth(lab.End{Namespace: l.gen, Name: "g0", MAC: macG0, Addresses: []netip.Prefix{addrG0}},
				lab.End{Namespace: l.fw, Name: "f0", MAC: macF0})
		},
		func() error {
			return l.lab.Veth(lab.End{Namespace: l.fw, Name: "f1", MAC: macF1},
				lab.End{Namespace: l.sink, Name: "s0", MAC: macS0, Addresses: []netip.Prefix{addrS0}})
		},
		func() error { return l.gen.Own(sources) },
		func() error { return l.gen.DefaultRoute(addrF0.Addr()) },
		func() error { return l.sink.Route(lan, addrF1.Addr(), "s0") },
		func() error { return l.gen.OffloadsOff("g0") },
		func() error { return l.sink.OffloadsOff("s0") },
		func() error { return l.fw.OffloadsOff("f0", lab.TSO, lab.GSO, lab.TxChecksum) },
		func() error { return l.fw.OffloadsOff("f1", lab.TSO, lab.GSO, lab.TxChecksum) },
		func() error { return l.fw.OffloadsOn("f0", lab.GRO) },
		func() error { return l.fw.OffloadsOn("f1", lab.GRO) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// newAlone builds the line without a firewall, for what generators and sink do alone:
//
//	ns gen [g0 10.1.255.1/16]==veth==[s0 10.1.255.254/16] ns sink
//
// fw is nil. s0 has F0's address and MAC, so that the same sources send to it.
func newAlone() (_ *line, err error) {
	l := &line{}
	if l.lab, err = lab.New(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	for name, ns := range map[string]**lab.Namespace{"gen": &l.gen, "sink": &l.sink} {
		if *ns, err = l.lab.Namespace(name); err != nil {
			return nil, err
		}
	}
	steps := []func() error{
		func() error {
			return l.lab.Veth(lab.End{Namespace: l.gen, Name: "g0", MAC: macG0, Addresses: []netip.Prefix{addrG0}},
				lab.End{Namespace: l.sink, Name: "s0", MAC: macF0, Addresses: []netip.Prefix{addrF0}})
		},
		func() error { return l.gen.Own(sources) },
		func() error { return l.gen.DefaultRoute(addrF0.Addr()) },
		func() error { return l.gen.OffloadsOff("g0") },
		func() error { return l.sink.OffloadsOff("s0", lab.TSO, lab.GSO, lab.TxChecksum) },
		func() error { return l.sink.OffloadsOn("s0", lab.GRO) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *line) close() error {
	err := l.lab.Close()
	if l.dir != "" {
		err = errors.Join(err, os.RemoveAll(l.dir))
	}
	return err
}

// received returns how many frames have reached the sink's link, by the link's own
// counter: an XDP program on the sink would cost the sender a copy.
func (l *line) received() (uint64, error) {
	s0, err := l.sink.Link("s0")
	if err != nil {
		return 0, err
	}
	return s0.Attrs().Statistics.RxPackets, nil
}

// index returns a link's number, which the sources and the sink are opened with.
func index(ns *lab.Namespace, link string) (int, error) {
	l, err := ns.Link(link)
	if err != nil {
		return 0, err
	}
	return l.Attrs().Index, nil
}
