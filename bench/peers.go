package main

import (
	"errors"
	"fmt"
)

// peers are the forwarders of the kernel that stand beside Holdfast and the bare
// forwarder, on a line of their own.
type peers struct {
	line       *line
	forwarders []forwarder
	skipped    []string // "name: reason"
	restore    func() error
}

// newPeers builds them, each with room for so many connections. A peer that cannot be here
// is skipped by name.
func newPeers(connections int) *peers {
	p := &peers{restore: func() error { return nil }}
	l, err := newRoutedLine()
	if err != nil {
		p.skip("kernel routing, nftables", err)
		return p
	}
	p.line, p.forwarders = l, []forwarder{kernelRouting()}
	if _, err := nftPath(); err != nil {
		p.skip("nftables", err)
		return p
	}
	restore, err := raiseConntrack(connections)
	if err != nil {
		p.skip("nftables", err)
		return p
	}
	p.restore = restore
	p.forwarders = append(p.forwarders, nftables("nftables filter", nftFilter), nftables("nftables NAT", nftNAT))
	return p
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
	return err
}
