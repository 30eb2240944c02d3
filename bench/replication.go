package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"holdfast/bench/gen"
	"holdfast/bench/replica"
)

// bytesPerChange is N7.
func bytesPerChange(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	row := Row{
		ID: "N7", Name: "replication on the wire: IPv4 TCP with NAT, a worker's turns of 64", Unit: "bytes",
		Notes: "Whole Ethernet frames, sealed, shared out among what they tell. N8 has the bytes of a new connection of two daemons beside conntrackd's.",
	}
	w, err := replica.Measure(100_000)
	if err != nil {
		return row, err
	}
	for _, p := range []struct {
		at               string
		value, must, aim float64
	}{{"new", w.New, 80, 56}, {"update", w.Update, 32, 20}, {"delete", w.Delete, 16, 8}} {
		row.Points = append(row.Points, Point{At: p.at, Value: p.value, Min: p.value, Max: p.value, Must: p.must, Aim: p.aim, OK: p.value <= p.must})
		fmt.Fprintf(progress, "  %s: %.1f bytes\n", p.at, p.value)
	}
	return row, ctx.Err()
}

// replicating is N8.
func replicating(ctx context.Context, quick bool, progress io.Writer) (row Row, err error) {
	row = Row{
		ID: "N8", Name: "throughput with replication on, against off", Unit: "x",
		Notes: "The node that stands by shares the generator's core, as its peers do: two cores are too few for five parties. So beside it is the firewall's own CPU time " +
			"per packet (cpu: off to on, 1 is no cost), and the bytes of its sync link per packet (wire).",
	}
	length, rounds := 3*time.Second, 5
	if quick {
		length, rounds = time.Second, 3
	}
	ours, err := newLine()
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, ours.close()) }()
	if err := ours.addStandby(); err != nil {
		return row, err
	}
	binary, err := ours.buildHoldfast(ctx)
	if err != nil {
		return row, err
	}
	pairs := []switched{{"holdfast", "", ours, holdfast(binary, connectionsN1), holdfastPair(binary, connectionsN1)}}
	kernel, end, why := kernelPair()
	defer func() { err = errors.Join(err, end()) }()
	if why != nil {
		row.Notes += fmt.Sprintf(" nftables with conntrackd skipped: %v.", why)
	} else {
		pairs = append(pairs, kernel)
	}
	for _, p := range []struct {
		at        string
		traffic   traffic
		must, aim float64
	}{
		{"established, 64k connections", traffic{flows: 64 << 10}, 0.90, 0.95},
		{"every packet a new connection", traffic{flows: gen.AllNew}, 0.80, 0.90},
	} {
		point, best, err := switchedPoint(ctx, pairs, p.traffic, rounds, length, func(line string) { fmt.Fprintf(progress, "  %s, %s\n", p.at, line) })
		if err != nil {
			return row, err
		}
		point.At, point.Must, point.Aim, point.OK = p.at, p.must, p.aim, point.Value >= p.must
		note, bound, err := selfCheck(ctx, p.traffic, length, best)
		if err != nil {
			return row, err
		}
		point.GeneratorBound = bound
		row.Notes += fmt.Sprintf(" %s: %s", p.at, note)
		row.Points = append(row.Points, point)
	}
	return row, nil
}

// switched is a firewall with replication off and on.
type switched struct {
	name    string
	peer    string // what it is called beside Holdfast
	line    *line
	off, on forwarder
}

// kernelPair is nftables without and with conntrackd, and what puts everything back.
func kernelPair() (s switched, end func() error, why error) {
	end = func() error { return nil }
	conntrackd, err := conntrackdPath()
	if err != nil {
		return s, end, err
	}
	if _, err := nftPath(); err != nil {
		return s, end, err
	}
	l, err := newRoutedLine()
	if err != nil {
		return s, end, err
	}
	end = l.close
	if err := l.addStandby(); err != nil {
		return s, end, err
	}
	restore, err := raiseConntrack(connectionsN1)
	if err != nil {
		return s, end, err
	}
	end = func() error { return errors.Join(restore(), l.close()) }
	return switched{"nftables", "nftables with conntrackd", l, nftables("nftables", nftFilter), nftablesPair(conntrackd, connectionsN1)}, end, nil
}

// switchedPoint measures all in turn, A B A B. Its value is the first one's rate on to off;
// best is the highest rate of all.
func switchedPoint(ctx context.Context, pairs []switched, t traffic, rounds int, length time.Duration, report func(string)) (p Point, best float64, err error) {
	p.Peers, p.Details = map[string]float64{}, map[string]float64{}
	figures := map[string][]float64{}
	for round := range rounds {
		for _, s := range pairs {
			off, err := s.line.measure(ctx, s.off, t, length)
			if err != nil {
				return p, best, err
			}
			on, err := s.line.measure(ctx, s.on, t, length)
			if err != nil {
				return p, best, err
			}
			best = max(best, off.rate, on.rate)
			report(fmt.Sprintf("round %d of %d, %s: off %.0f/s of %.0f/s (%.0f ns), on %.0f/s of %.0f/s (%.0f ns, %.1f bytes), on to off %.3f",
				round+1, rounds, s.name, off.rate, off.offered, off.cost, on.rate, on.offered, on.cost, on.wire, on.rate/off.rate))
			for name, v := range map[string]float64{
				"off": off.rate, "on": on.rate, "on / off": on.rate / off.rate, "cpu off / on": off.cost / on.cost, "cpu ns on": on.cost, "wire": on.wire,
			} {
				figures[s.name+" "+name] = append(figures[s.name+" "+name], v)
			}
		}
	}
	for name, all := range figures {
		p.Details[name], _, _ = median(all)
	}
	p.Value, p.Min, p.Max = median(figures[pairs[0].name+" on / off"])
	for _, s := range pairs {
		if s.name != pairs[0].name {
			p.Peers[s.peer], _, _ = median(figures[s.name+" on / off"])
		}
		delete(p.Details, s.name+" on / off")
	}
	return p, best, nil
}
