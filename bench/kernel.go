package main

import (
	"context"
	"errors"

	"holdfast/internal/lab"
)

// newRoutedLine builds a line of its own for the peers that are the kernel: fw has
// addresses and routes. Its receive work runs in kernel threads on the firewall's core:
// left alone it would run on the generator's. Holdfast keeps its devices beyond its
// process's end, which is why the kernel's peers do not share its line.
func newRoutedLine() (l *line, err error) {
	if l, err = newLine(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	for _, step := range []func() error{
		func() error { return l.fw.Address("f0", addrF0) },
		func() error { return l.fw.Address("f1", addrF1) },
		func() error { return l.fw.DefaultRoute(addrS0.Addr()) },
		func() error { return l.fw.Neighbor("f1", addrS0.Addr(), macS0) },
		func() error { return l.fw.Neighbor("f0", addrG0.Addr(), macG0) },
		func() error { return l.fw.Sysctl("net/ipv4/ip_forward", "1") },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	for _, link := range []string{"f0", "f1"} {
		pids, err := l.fw.ThreadedNAPI(link)
		if err != nil {
			return nil, err
		}
		for _, pid := range pids {
			if err := pin(pid, coreFirewall); err != nil {
				return nil, err
			}
		}
		l.napi = append(l.napi, pids...)
	}
	return l, nil
}

// kernelRouting is the kernel's own forwarding, without any filter: ip_forward.
func kernelRouting() forwarder {
	return forwarder{name: "kernel routing", start: func(_ context.Context, l *line) (running, error) {
		return running{pids: l.napi, end: func() {}}, nil
	}}
}

// processRunning is a forwarder that is a process.
func processRunning(p *lab.Process) running {
	return running{pids: []int{p.Pid()}, end: func() { endProcess(p) }}
}
