package main

import (
	"context"
	"errors"
	"io"
	"strings"
)

// forwarding is N1.
func forwarding(ctx context.Context, quick bool, progress io.Writer) (_ Row, err error) {
	besides := newPeers(connectionsN1)
	defer func() { err = errors.Join(err, besides.close()) }()
	return forwardingRow(ctx, quick, progress, Row{
		ID: "N1", Name: "forwarded, established, 64 bytes: ratio to the bare forwarder", Unit: "x",
		Notes: "Generator, kernel receive work and sink share two cores with the firewall. " +
			"Beside it the firewall's own CPU time per packet above the bare forwarder's. " +
			"Kernel routing and nftables are on a line of the same kind whose receive work runs in kernel threads on the firewall's core; " +
			"an AF_XDP forwarder's first half runs on the generator's. nftables NAT translates the source, Holdfast here does not. " +
			"The kernel's index keeps its size (" + conntrackBuckets() + " buckets). " + strings.Join(besides.skipped, " "),
	}, besides, []forwardingPoint{
		{"64k connections", traffic{flows: 64 << 10}, 0.85, 0.92},
		{"1M connections", traffic{flows: 1 << 20}, 0.80, 0.90},
	})
}
