package main

import (
	"context"
	"io"

	"holdfast/bench/gen"
)

// forwardingTCP is N1 with TCP: every connection opened by a handshake through the
// forwarder, then data with acknowledgements coming back.
func forwardingTCP(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	return forwardingRow(ctx, quick, progress, Row{
		ID: "N1-tcp", Name: "forwarded, established TCP after handshakes: ratio to the bare forwarder", Unit: "x",
		Notes: "The sink is an XDP program that answers, which costs the forwarder a copy of every frame; every 16th segment is acknowledged, through the forwarder. " +
			"Peers as in N1; counted are the client's segments.",
	}, nil, []forwardingPoint{
		{"64k connections, 76 bytes", traffic{protocol: tcp, flows: 64 << 10}, 0, 0},
		{"64k connections, IMIX", traffic{protocol: tcp, flows: 64 << 10, size: gen.IMIX}, 0, 0},
	})
}
