package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// connectionsN1 is how many connections each stateful peer has room for.
const connectionsN1 = 2 << 20

// forwardingPoint is one point of a row of forwarding; must 0: it has no goal.
type forwardingPoint struct {
	at        string
	traffic   traffic
	must, aim float64
}

func forwardingRow(ctx context.Context, quick bool, progress io.Writer, row Row, besides *peers, points []forwardingPoint) (_ Row, err error) {
	row.PeerUnit = "packets/s"
	v := versus{bare: bareForwarder(), peers: besides, rounds: 7, length: 3 * time.Second}
	if quick {
		v.rounds, v.length = 3, time.Second
	}
	l, err := newLine()
	if err != nil {
		return row, err
	}
	defer l.close()
	if profile := os.Getenv("BENCH_CPUPROFILE"); profile != "" {
		l.extra = []string{"--cpuprofile", profile}
	}
	binary, err := l.buildHoldfast(ctx)
	if err != nil {
		return row, err
	}
	v.holdfast = holdfast(binary, connectionsN1)
	for _, p := range points {
		c, err := v.run(ctx, l, p.at, p.traffic, func(line string) { io.WriteString(progress, line) })
		if err != nil {
			return row, err
		}
		row.Points = append(row.Points, c.point(p.at, p.must, p.aim))
		note, bound, err := selfCheck(ctx, p.traffic, v.length, c.best())
		if err != nil {
			return row, err
		}
		fmt.Fprintf(progress, "  %s: %s\n", p.at, note)
		row.Notes += fmt.Sprintf(" %s: %s", p.at, note)
		row.Points[len(row.Points)-1].GeneratorBound = bound
	}
	return row, nil
}
