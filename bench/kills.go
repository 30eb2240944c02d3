package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"holdfast/bench/tracker"
)

// killRung is a size at which kills are measured: so many connections are killed, half of
// those in the table.
type killRung struct {
	at     string
	killed int
	must   float64 // ms
	aim    float64
}

// killRounds is how often each is measured; every one fills a table anew.
const killRounds = 3

// killByGateway is N14.
func killByGateway(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	return kills(ctx, quick, progress, Row{
		ID: "N14", Name: "kill by gateway: until the last packet of a killed connection has passed", Unit: "ms",
		Notes: "Of twice as many connections, while a worker forwards packets of all of them. " +
			"Beside it: memory_ms until all memory is back, lost packets of the living, late packets of the killed after the call returned, count off by.",
	}, (*tracker.Load).KillGateway, []killRung{{"1M", 1000 * 1000, 20, 1}, {"10M", 10 * 1000 * 1000, 20, 1}})
}

// killByAny is N15.
func killByAny(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	return kills(ctx, quick, progress, Row{
		ID: "N15", Name: "kill by any selector: until the last packet of a killed connection has passed", Unit: "ms",
		Notes: "A sweep by client address over 1M or 10M connections, of which half are killed, while a worker forwards packets of all of them. Beside it as for N14.",
	}, (*tracker.Load).KillNetwork, []killRung{{"1M", 500 * 1000, 300, 15}, {"10M", 5 * 1000 * 1000, 0, 150}})
}

func kills(ctx context.Context, quick bool, progress io.Writer, row Row, kill func(*tracker.Load) (tracker.Killed, error), sizes []killRung) (Row, error) {
	if quick {
		sizes = sizes[:1]
	}
	for _, size := range sizes {
		p := Point{At: size.at, Must: size.must, Aim: size.aim, OK: true, Details: map[string]float64{}}
		var values, memory []float64
		for range killRounds {
			if err := ctx.Err(); err != nil {
				return row, err
			}
			l, err := tracker.Fill(2*size.killed, 0)
			if err != nil {
				return row, err
			}
			k, err := kill(l)
			l.Close()
			if err != nil {
				return row, fmt.Errorf("%s: %w", size.at, err)
			}
			fmt.Fprintf(progress, "  %s: the last packet after %v, call %v, memory %v, counted %d, lost %d, late %d\n",
				size.at, k.Last.Round(10*time.Microsecond), k.Returned.Round(10*time.Microsecond), k.Memory.Round(time.Millisecond), k.Count, k.Lost, k.Passed)
			values, memory = append(values, float64(k.Last)/1e6), append(memory, float64(k.Memory)/1e6)
			p.Details["lost"] += float64(k.Lost)
			p.Details["late"] += float64(k.Passed)
			p.Details["count_off"] += float64(max(k.Count-size.killed, size.killed-k.Count))
		}
		p.Value, p.Min, p.Max = median(values)
		p.Details["memory_ms"], _, _ = median(memory)
		p.OK = (size.must == 0 || p.Value <= size.must) && p.Details["lost"] == 0 && p.Details["late"] == 0 && p.Details["count_off"] == 0
		row.Points = append(row.Points, p)
	}
	return row, nil
}
