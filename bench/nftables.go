package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"holdfast/internal/lab"
)

// The rules of the peers: what Holdfast's one rule says, and the same with every source
// translated into a pool, since one address has too few ports for a million flows.
const (
	nftFilter = `table ip bench {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "f0" oifname "f1" ct state new accept
  }
}
`
	nftNAT = nftFilter + `table ip bench_nat {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "f1" snat to 10.3.0.1-10.3.0.254
  }
}
`
)

// nftPath finds nft, also where PATH is that of a user.
func nftPath() (string, error) {
	for _, name := range []string{"nft", "/usr/sbin/nft", "/sbin/nft"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("nft is not installed: `make bench-deps` installs it")
}

// nftables is the kernel's routing with a filter and conntrack. The table of connections
// is empty at every start, as Holdfast's is.
func nftables(name, ruleset string) forwarder {
	return forwarder{name: name, start: func(ctx context.Context, l *line) (running, error) {
		if err := nft(ctx, l.fw, ruleset); err != nil {
			return running{}, err
		}
		return running{pids: l.napi, end: func() {
			// Not with ctx, which has ended where the run was interrupted. Whatever is
			// left ends with the namespace.
			_ = nft(context.Background(), l.fw, "flush ruleset\n")
			_ = l.fw.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
		}}, nil
	}}
}

// nft loads rules in a namespace, as one transaction.
func nft(ctx context.Context, ns *lab.Namespace, ruleset string) error {
	path, err := nftPath()
	if err != nil {
		return err
	}
	file, err := os.CreateTemp("", "holdfast-bench-*.nft")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(ruleset)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	var said bytes.Buffer
	proc, err := ns.Start(ctx, lab.Program{Path: path, Args: []string{"-f", file.Name()}, Stderr: &said})
	if err != nil {
		return err
	}
	if err := proc.Wait(); err != nil {
		return errors.Join(fmt.Errorf("nft: %w: %.300s", err, said.String()), ctx.Err())
	}
	return nil
}

// conntrackMax is the kernel's limit of connections, one for all namespaces.
const conntrackMax = "/proc/sys/net/netfilter/nf_conntrack_max"

// raiseConntrack lets the kernel track so many connections, and returns what puts the
// limit back.
func raiseConntrack(connections int) (restore func() error, err error) {
	text, err := os.ReadFile(conntrackMax)
	if err != nil {
		return nil, fmt.Errorf("the kernel has no connection tracking: %w", err)
	}
	before := strings.TrimSpace(string(text))
	if n, err := strconv.Atoi(before); err == nil && n >= connections {
		return func() error { return nil }, nil
	}
	write := func(value string) error {
		if err := os.WriteFile(conntrackMax, []byte(value), 0); err != nil {
			return fmt.Errorf("limit of connections (writable in the first network namespace only): %w", err)
		}
		return nil
	}
	if err := write(strconv.Itoa(connections)); err != nil {
		return nil, err
	}
	return func() error { return write(before) }, nil
}

// conntrackBuckets is the size of the kernel's index, one for all namespaces too.
func conntrackBuckets() string {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_buckets")
	if err != nil {
		return "no"
	}
	return strings.TrimSpace(string(text))
}
