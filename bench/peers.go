package main

import (
	"errors"
	"fmt"
)

// peers are other people's forwarders that stand beside Holdfast and the bare
// forwarder, on a line of their own.
type peers struct {
	line       *line
	ovs        *line // Open vSwitch's: its ports are AF_XDP's, as Holdfast's are
	forwarders []forwarder
	skipped    []string // "name: reason"
	restore    func() error
}

// newPeers builds them, each with room for so many connections. A peer that cannot be here
// is skipped by name.
func newPeers(connections int) *peers {
	p := &peers{restore: func() error { return nil }}
	p.addKernel(connections)
	p.addOpenVSwitch()
	return p
}

// addOpenVSwitch adds Open vSwitch in user space.
func (p *peers) addOpenVSwitch() {
	paths, schema, err := ovsPaths()
	if err == nil {
		p.ovs, err = newLine()
	}
	if err != nil {
		p.skip("Open vSwitch", err)
		return
	}
	f := openVSwitch(paths, schema)
	f.line = p.ovs
	p.forwarders = append(p.forwarders, f)
}

// addKernel adds those of the kernel.
func (p *peers) addKernel(connections int) {
	l, err := newRoutedLine()
	if err != nil {
		p.skip("kernel routing, nftables", err)
		return
	}
	p.line, p.forwarders = l, []forwarder{kernelRouting()}
	if _, err := nftPath(); err != nil {
		p.skip("nftables", err)
		return
	}
	restore, err := raiseConntrack(connections)
	if err != nil {
		p.skip("nftables", err)
		return
	}
	p.restore = restore
	p.forwarders = append(p.forwarders, nftables("nftables filter", nftFilter), nftables("nftables NAT", nftNAT))
}

func (p *peers) skip(name string, err error) {
	p.skipped = append(p.skipped, fmt.Sprintf("%s skipped: %v.", name, err))
}

// close puts everything back.
func (p *peers) close() error {
	err := p.restore()
	if p.line != nil {
		err = errors.Join(err, p.line.close())
	}
	if p.ovs != nil {
		err = errors.Join(err, p.ovs.close())
	}
	return err
}
