package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"holdfast/bench/replica"
)

// joining is N9.
func joining(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	row := Row{
		ID: "N9", Name: "bulk transfer of 1M connections to a joining node, 20,000 begin and end each second meanwhile", Unit: "connections/s",
		Notes: "Two nodes in one process over the loopback, without packets; from the request to the last connection applied. Beside it: with proof (proven/s), ms of proof behind it, " +
			"and by CPU time of both nodes and the live stream together (cpu/s: what two idle cores would at least make, since sender and receiver run side by side).",
	}
	rounds := 3
	if quick {
		rounds = 1
	}
	figures := map[string][]float64{}
	for range rounds {
		j, err := replica.Join(ctx, 1000*1000, 20_000)
		if err != nil {
			return row, err
		}
		n := float64(j.Conns)
		fmt.Fprintf(progress, "  %d connections in %v (%v of CPU), proof after %v, %.0f changes/s meanwhile, %d batches resent\n",
			j.Conns, j.Applied.Round(time.Millisecond), j.CPU.Round(time.Millisecond), j.Proven.Round(time.Millisecond), j.Live, j.Resent)
		for name, v := range map[string]float64{
			"": n / j.Applied.Seconds(), "proven/s": n / j.Proven.Seconds(), "proof_ms": float64((j.Proven - j.Applied).Milliseconds()),
			"cpu/s": n / j.CPU.Seconds(), "live changes/s": j.Live,
		} {
			figures[name] = append(figures[name], v)
		}
	}
	p := Point{At: "1M", Must: 500_000, Aim: 4_000_000, Details: map[string]float64{}}
	for name, all := range figures {
		p.Details[name], _, _ = median(all)
	}
	delete(p.Details, "")
	p.Value, p.Min, p.Max = median(figures[""])
	p.OK = p.Value >= p.Must
	row.Points = append(row.Points, p)
	return row, nil
}

// comparing is what rounds cost.
func comparing(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	row := Row{
		ID: "rounds", Name: "comparing tables of 1M connections", Unit: "ns",
		Notes: "The sum of a connection in a pass, CPU time; a round comes every second or when passes would take more than a tenth of a core. " +
			"Then N2's packets beside a table that is summed so, and not: the median of the ratios must stay below 1.02.",
	}
	const conns = 1000 * 1000
	rounds := 9
	if quick {
		rounds = 5
	}
	took, err := replica.Pass(conns, rounds)
	if err != nil {
		return row, err
	}
	var each []float64
	for _, t := range took {
		each = append(each, float64(t.Nanoseconds())/conns)
	}
	p := Point{At: "a connection", Details: map[string]float64{}, OK: true}
	p.Value, p.Min, p.Max = median(each)
	p.Details["% of a core"] = min(10, p.Value*conns/1e9*100)
	without, with, err := replica.Beside(conns, 1<<22, rounds)
	if err != nil {
		return row, err
	}
	var ratios []float64
	for i := range with {
		ratios = append(ratios, with[i]/without[i])
	}
	q := Point{At: "an established packet, with / without", Unit: "x", Must: 1.02, Aim: 1.01, Details: map[string]float64{}}
	q.Value, q.Min, q.Max = median(ratios)
	q.Details["without, ns"], _, _ = median(without)
	q.Details["with, ns"], _, _ = median(with)
	q.OK = q.Value <= q.Must
	fmt.Fprintf(progress, "  %.0f ns a connection (%.0f to %.0f); packets %.3f (%.3f to %.3f) of %.0f ns\n", p.Value, p.Min, p.Max, q.Value, q.Min, q.Max, q.Details["without, ns"])
	row.Points = append(row.Points, p, q)
	return row, ctx.Err()
}
