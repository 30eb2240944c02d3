package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"holdfast/bench/ruleset"
	"holdfast/dataplane/packet"
	"holdfast/rules"
	"holdfast/rules/config"
)

// filterSize is a number of rules, with the goals of N5 in ns.
type filterSize struct {
	rules     int
	must, aim float64
}

var filterSizes = []filterSize{{10, 60, 20}, {1000, 150, 45}, {10_000, 250, 70}, {100_000, 500, 110}}

const (
	matchingEach    = 1 << 18 // first packets in a round
	matchingPackets = 1 << 12 // different ones: they lie in cache, as one does that was just decoded
	linearEach      = 1 << 10 // packets of the peer that asks every rule, which takes its time
)

// matching is N5.
func matching(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	row := Row{
		ID: "N5", Name: "which rule decides on a first packet", Unit: "ns",
		Notes: "Filters of three shapes like those of ClassBench (bench/ruleset), seed 1; packets drawn from rules evenly. " +
			"Peers: asking one rule after the other. Beside it: compiling the filter. " +
			"apart: rules that do not overlap, so that nftables can have them as a list and as a map of intervals; all packets are of the last rule. " +
			"nftables in ns of the kernel's CPU time per packet above a chain without rules, no conntrack.",
	}
	for _, shape := range ruleset.Shapes {
		for _, size := range filterSizes {
			p, err := matchingPoint(ctx, shape, size)
			if err != nil {
				return row, fmt.Errorf("%v, %d rules: %w", shape, size.rules, err)
			}
			fmt.Fprintf(progress, "  %s: %.0f ns (%.0f to %.0f), one by one %.0f, compiled in %.0f ms\n",
				p.At, p.Value, p.Min, p.Max, p.Peers["one by one"], p.Details["compile ms"])
			row.Points = append(row.Points, p)
		}
	}
	length := time.Second
	if quick {
		length /= 4
	}
	for _, size := range filterSizes {
		p, skipped, err := apartPoint(ctx, size, length)
		if err != nil {
			return row, fmt.Errorf("apart, %d rules: %w", size.rules, err)
		}
		fmt.Fprintf(progress, "  %s: %.0f ns (%.0f to %.0f); %v %s\n", p.At, p.Value, p.Min, p.Max, p.Peers, skipped)
		if row.Points = append(row.Points, p); !strings.Contains(row.Notes, skipped) {
			row.Notes += " " + skipped
		}
	}
	return row, nil
}

// apartPoint is a point beside nftables.
func apartPoint(ctx context.Context, size filterSize, length time.Duration) (Point, string, error) {
	packets := make([]packet.Tuple, matchingPackets)
	for i := range packets {
		packets[i] = packet.Tuple{Proto: packet.UDP, Src: packet.AddrFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})), Dst: packet.AddrFrom(far), SrcPort: uint16(1024 + i), DstPort: dstPort}
	}
	p, err := pointOf(ctx, fmt.Sprintf("apart %d", size.rules), apartPolicy(apartRules(size.rules)), packets, size)
	if err != nil {
		return p, "", err
	}
	cost, skipped, err := nftLookUp(ctx, size.rules, length)
	maps.Copy(p.Peers, cost)
	return p, skipped, err
}

func matchingPoint(ctx context.Context, shape ruleset.Shape, size filterSize) (p Point, err error) {
	filter := ruleset.Filter(shape, size.rules, 1)
	return pointOf(ctx, fmt.Sprintf("%v %d", shape, size.rules), &config.Policy{Rules: filter}, ruleset.Packets(filter, matchingPackets, 2), size)
}

// pointOf measures a policy's rules with packets, of which there are matchingPackets.
func pointOf(ctx context.Context, at string, policy *config.Policy, packets []packet.Tuple, size filterSize) (p Point, err error) {
	begin := time.Now()
	set, err := rules.Compile(policy)
	if err != nil {
		return p, err
	}
	p = Point{At: at, Must: size.must, Aim: size.aim,
		Peers:   map[string]float64{},
		Details: map[string]float64{"compile ms": float64(time.Since(begin).Microseconds()) / 1000}}
	measure := func(n int, match func(*packet.Tuple) rules.Verdict) func() (int, time.Duration, error) {
		return func() (int, time.Duration, error) {
			begin := time.Now()
			for i := range n {
				if v := match(&packets[i%matchingPackets]); int(v.Rule) >= set.Len() {
					return 0, 0, fmt.Errorf("%v: no rule decides", packets[i%matchingPackets])
				}
			}
			return n, time.Since(begin), nil
		}
	}
	fast := measure(matchingEach, func(t *packet.Tuple) rules.Verdict { return set.Match(t, 0, 1, nil, nil) })
	if _, _, err := fast(); err != nil {
		return p, err
	}
	if p.Value, p.Min, p.Max, err = perEach(ctx, trackingRounds, fast); err != nil {
		return p, err
	}
	p.OK = p.Value <= p.Must
	p.Peers["one by one"], _, _, err = perEach(ctx, 3, measure(linearEach, func(t *packet.Tuple) rules.Verdict { return set.MatchEach(t, 0, 1, nil, nil) }))
	return p, err
}
