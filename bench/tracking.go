package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"holdfast/bench/tracker"
)

// rung is a size at which the tracker is measured, with the goals of N2 and N3 in ns.
type rung struct {
	at                 string
	conns              int
	packetMust, packet float64
	birthMust, birth   float64
}

var ladder = []rung{
	{"1k", 1000, 80, 30, 250, 80},
	{"1M", 1000 * 1000, 150, 60, 400, 150},
	{"10M", 10 * 1000 * 1000, 200, 80, 500, 200},
}

// rungs leaves out the largest for a quick look.
func rungs(quick bool) []rung {
	if quick {
		return ladder[:2]
	}
	return ladder
}

// perEach repeats a measurement and returns ns of each: median, least, most.
func perEach(ctx context.Context, rounds int, measure func() (n int, took time.Duration, err error)) (mid, low, high float64, err error) {
	var values []float64
	for range rounds {
		if err := ctx.Err(); err != nil {
			return 0, 0, 0, err
		}
		n, took, err := measure()
		if err != nil {
			return 0, 0, 0, err
		}
		values = append(values, float64(took.Nanoseconds())/float64(n))
	}
	mid, low, high = median(values)
	return mid, low, high, nil
}

const (
	trackingRounds = 9
	trackingEach   = 1 << 19 // packets or lookups in a round
)

// tracking is N2.
func tracking(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	row := Row{
		ID: "N2", Name: "an established TCP packet: decode, lookup, window, translation, stamp, counters", Unit: "ns",
		Notes: "One core, frames in cache, connections drawn at random. Beside it: the lookup alone, in bursts of 64 and one at a time.",
	}
	for _, r := range rungs(quick) {
		p, err := trackingPoint(ctx, r)
		if err != nil {
			return row, fmt.Errorf("%s: %w", r.at, err)
		}
		fmt.Fprintf(progress, "  %s: %.0f ns (%.0f to %.0f), lookup %.0f, alone %.0f\n", r.at, p.Value, p.Min, p.Max, p.Details["lookup in bursts, ns"], p.Details["lookup one at a time, ns"])
		row.Points = append(row.Points, p)
	}
	return row, nil
}

func trackingPoint(ctx context.Context, r rung) (p Point, err error) {
	l, err := tracker.Fill(r.conns, 0)
	if err != nil {
		return p, err
	}
	defer l.Close()
	p = Point{At: r.at, Must: r.packetMust, Aim: r.packet, Details: map[string]float64{}}
	w := l.Worker()
	if _, _, err := w.Packets(trackingEach); err != nil {
		return p, err
	}
	p.Value, p.Min, p.Max, err = perEach(ctx, trackingRounds, func() (int, time.Duration, error) { return w.Packets(trackingEach) })
	if err != nil {
		return p, err
	}
	p.OK = p.Value <= p.Must
	for name, size := range map[string]int{"lookup in bursts, ns": 64, "lookup one at a time, ns": 1} {
		p.Details[name], _, _, err = perEach(ctx, trackingRounds, func() (int, time.Duration, error) {
			n, took := l.Lookups(trackingEach, size)
			return n, took, nil
		})
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// births is N3.
func births(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	row := Row{
		ID: "N3", Name: "a new connection: miss, both tuples, message in the journal", Unit: "ns",
		Notes: "One core; the table keeps its size, as many connections end, unmeasured, as begin. Without rule matching, without sending.",
	}
	for _, r := range rungs(quick) {
		l, err := tracker.Fill(r.conns, 1<<16)
		if err != nil {
			return row, fmt.Errorf("%s: %w", r.at, err)
		}
		b := l.Births()
		p := Point{At: r.at, Must: r.birthMust, Aim: r.birth}
		if _, _, err = b.Begin(trackingEach / 4); err == nil {
			p.Value, p.Min, p.Max, err = perEach(ctx, trackingRounds, func() (int, time.Duration, error) { return b.Begin(trackingEach / 4) })
		}
		l.Close()
		if err != nil {
			return row, fmt.Errorf("%s: %w", r.at, err)
		}
		p.OK = p.Value <= p.Must
		fmt.Fprintf(progress, "  %s: %.0f ns (%.0f to %.0f)\n", r.at, p.Value, p.Min, p.Max)
		row.Points = append(row.Points, p)
	}
	return row, nil
}

// memory is N4.
func memory(ctx context.Context, _ bool, progress io.Writer) (Row, error) {
	row := Row{
		ID: "N4", Name: "memory of a connection: entry, counters, index, replication", Unit: "bytes",
		Notes: "By how much the process grows, in whole pages. 1.2M connections: just after the index has doubled, its worst.",
	}
	for _, f := range []struct {
		family    tracker.Family
		must, aim float64
	}{
		{tracker.IPv4Masqueraded, 200, 112}, {tracker.IPv6Plain, 200, 160}, {tracker.IPv6Masqueraded, 200, 160}, {tracker.IPv6Twice, 200, 160},
	} {
		for _, size := range []struct {
			at    string
			conns int
		}{{"1M", 1000 * 1000}, {"1.2M", 1200 * 1000}} {
			if err := ctx.Err(); err != nil {
				return row, err
			}
			bytes, err := tracker.BytesPerConn(f.family, size.conns)
			if err != nil {
				return row, err
			}
			p := Point{At: string(f.family) + ", " + size.at, Value: bytes, Min: bytes, Max: bytes, Must: f.must, Aim: f.aim, OK: bytes <= f.must}
			fmt.Fprintf(progress, "  %s: %.0f bytes\n", p.At, bytes)
			row.Points = append(row.Points, p)
		}
	}
	return row, nil
}

// twoWorkers is N16.
func twoWorkers(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	row := Row{
		ID: "N16", Name: "two workers against one, established packets through one table", Unit: "x",
		Notes: "Interleaved. Packets are spread over two queues as RSS does, by their own addresses and ports, so half of the connections are shared. " +
			"Both cores measure, so whatever else the machine does lowers the ratio.",
	}
	for _, r := range rungs(quick) {
		l, err := tracker.Fill(r.conns, 0)
		if err != nil {
			return row, fmt.Errorf("%s: %w", r.at, err)
		}
		var ratios []float64
		for range trackingRounds {
			var rate [2]float64
			for cores := 1; cores <= 2 && err == nil; cores++ {
				if err = ctx.Err(); err == nil {
					var n int
					var took time.Duration
					n, took, err = l.Both(cores, trackingEach*2)
					rate[cores-1] = float64(n) / took.Seconds()
				}
			}
			ratios = append(ratios, rate[1]/rate[0])
		}
		l.Close()
		if err != nil {
			return row, fmt.Errorf("%s: %w", r.at, err)
		}
		p := Point{At: r.at, Must: 1.6, Aim: 1.9}
		p.Value, p.Min, p.Max = median(ratios)
		p.OK = p.Value >= p.Must
		fmt.Fprintf(progress, "  %s: %.2fx (%.2f to %.2f)\n", r.at, p.Value, p.Min, p.Max)
		row.Points = append(row.Points, p)
	}
	return row, nil
}
