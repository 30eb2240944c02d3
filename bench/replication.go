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
		ID: "N7", Name: "replication on the wire: IPv4 TCP with NAT", Unit: "bytes",
		Notes: "Whole Ethernet frames, sealed, shared out among what they tell. A turn of a worker fills datagrams and leaves one that is not full: " +
			"\"64\" and \"128\" are turns in which every packet tells something, of a burst of one port and of both; \"full\" is the share in a full datagram. " +
			"N8 has the bytes of a new connection of two daemons beside conntrackd's.",
	}
	const conns = 100_000
	for _, t := range []struct {
		name string
		turn int
	}{{"full", conns}, {"128", replica.BothPorts}, {"64", replica.OnePort}} {
		w, err := replica.Measure(conns, t.turn)
		if err != nil {
			return row, err
		}
		for _, p := range []struct {
			at               string
			value, must, aim float64
		}{{"new", w.New, 80, 56}, {"update", w.Update, 32, 20}, {"delete", w.Delete, 16, 8}} {
			at := p.at + ", " + t.name
			row.Points = append(row.Points, Point{At: at, Value: p.value, Min: p.value, Max: p.value, Must: p.must, Aim: p.aim, OK: p.value <= p.must})
			fmt.Fprintf(progress, "  %s: %.2f bytes\n", at, p.value)
		}
	}
	return row, ctx.Err()
}

// replicating is N8.
func replicating(ctx context.Context, quick bool, progress io.Writer) (row Row, err error) {
	row = Row{
		ID: "N8", Name: "throughput with replication on, against off, by the firewall's CPU time a packet", Unit: "x",
		Notes: "The node that stands by shares the generator's core, as its peers do: two cores are too few for five parties, and rates say who had the core. " +
			"So the value is CPU time off to on, 1 is no cost: the least of the rounds of each, because other work on the machine only adds to it; in brackets the rounds one by one. " +
			"The firewall is billed for the receiving of its datagrams too, which a veth does on the sender's core. " +
			"Under a flood of new connections a burst admits eight and a turn takes four bursts: so many share a datagram and a call. " +
			"Beside it the rates (on / off) and the bytes of the sync link per packet (wire).",
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

// switchedPoint measures all in turn, A B A B. Its value is the first one's CPU time per packet
// off to on; best is the highest rate of all.
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
			report(fmt.Sprintf("round %d of %d, %s: off %.0f/s of %.0f/s (%.0f ns), on %.0f/s of %.0f/s (%.0f ns, %.1f bytes), CPU off to on %.3f",
				round+1, rounds, s.name, off.rate, off.offered, off.cost, on.rate, on.offered, on.cost, on.wire, off.cost/on.cost))
			for name, v := range map[string]float64{
				"off": off.rate, "on": on.rate, "on / off": on.rate / off.rate, "wire": on.wire,
				cpuOff: off.cost, cpuOn: on.cost, cpuRatio: off.cost / on.cost,
			} {
				figures[s.name+" "+name] = append(figures[s.name+" "+name], v)
			}
		}
	}
	for name, all := range figures {
		p.Details[name], _, _ = median(all)
	}
	for _, s := range pairs {
		_, p.Details[s.name+" "+cpuOff], _ = median(figures[s.name+" "+cpuOff])
		_, p.Details[s.name+" "+cpuOn], _ = median(figures[s.name+" "+cpuOn])
		value := p.Details[s.name+" "+cpuOff] / p.Details[s.name+" "+cpuOn]
		if s.name != pairs[0].name {
			p.Peers[s.peer] = value
			continue
		}
		p.Value = value
		_, p.Min, p.Max = median(figures[s.name+" "+cpuRatio])
	}
	return p, best, nil
}

// What switchedPoint has of CPU time: ns a packet, the least of the rounds.
const (
	cpuOff   = "cpu ns off"
	cpuOn    = "cpu ns on"
	cpuRatio = "cpu off / on"
)
