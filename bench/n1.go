package main

import (
	"context"
	"io"
)

// forwarding is N1.
func forwarding(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	return forwardingRow(ctx, quick, progress, Row{
		ID: "N1", Name: "forwarded, established, 64 bytes: ratio to the bare forwarder", Unit: "x",
		Notes: "Generator, kernel receive work and sink share two cores with the firewall. " +
			"Peers: bare and holdfast in packets/s at the sink, cost_ns as the firewall's own CPU time per packet above the bare forwarder's.",
	}, []forwardingPoint{
		{"64k connections", traffic{flows: 64 << 10}, 0.85, 0.92},
		{"1M connections", traffic{flows: 1 << 20}, 0.80, 0.90},
	})
}
