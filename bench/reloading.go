package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/dataplane"
	"holdfast/rules"
	"holdfast/rules/config"
)

// Goals of N6 in ms, for a whole policy and for a small change of one.
const (
	reloadMust     = 2000
	reloadAimCold  = 400
	reloadAimSmall = 20
)

// reloadPolicy is a policy of so many rules as text, one of which is another by change.
func reloadPolicy(n, change int) []byte {
	var b strings.Builder
	b.WriteString("[ports.lan]\naddresses = [\"10.0.0.1/8\"]\n[ports.wan]\naddresses = [\"203.0.113.2/24\"]\n")
	for i := range n {
		port := 1024 + i%50_000
		if i == n/2 {
			port = 60_000 + change
		}
		fmt.Fprintf(&b, "[[rules]]\nid = \"r%d\"\naction = \"pass\"\nin = \"lan\"\nproto = \"tcp\"\nfrom = \"10.%d.%d.0/24\"\nto = \"198.%d.%d.%d\"\nto_port = %d\n",
			i, i>>8&255, i&255, 18+i&1, i>>8&255, i&255, port)
	}
	return []byte(b.String())
}

// reloading is N6 as far as one process can show it: from the text to the swap.
func reloading(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	row := Row{
		ID: "N6", Name: "a reload, from the text of the policy to the swap", Unit: "ms",
		Notes: "Reading, compiling, comparing with the policy in force, and the store. That no packet is lost meanwhile is shown by " +
			"TestREL28_NoPacketSeesHalfASet. Peers: the parts in ms; what the build allocates and what stays, in MiB.",
	}
	sizes := []int{1000, 10_000, 100_000}
	if quick {
		sizes = sizes[:2]
	}
	for _, n := range sizes {
		var before *config.Policy
		for i, at := range []string{"cold", "one rule changed"} {
			p, policy, err := reloadPoint(ctx, fmt.Sprintf("%d rules, %s", n, at), n, i, before)
			if err != nil {
				return row, err
			}
			p.Aim = []float64{reloadAimCold, reloadAimSmall}[i]
			before = policy
			fmt.Fprintf(progress, "  %s: %.0f ms (%.0f to %.0f), read %.0f, compiled %.0f, compared %.0f, %.0f MiB allocated, %.0f stay\n",
				p.At, p.Value, p.Min, p.Max, p.Peers["read ms"], p.Peers["compile ms"], p.Peers["diff ms"], p.Peers["allocated MiB"], p.Peers["kept MiB"])
			row.Points = append(row.Points, p)
		}
	}
	return row, nil
}

// reloadRounds is how often each point is measured.
const reloadRounds = 3

func reloadPoint(ctx context.Context, at string, n, change int, before *config.Policy) (p Point, policy *config.Policy, err error) {
	text := reloadPolicy(n, change)
	p = Point{At: at, Must: reloadMust, Peers: map[string]float64{}}
	if before == nil {
		before = &config.Policy{}
	}
	var force atomic.Pointer[dataplane.Snapshot]
	var values, read, compiled, compared, allocated, kept []float64
	for range reloadRounds {
		if err := ctx.Err(); err != nil {
			return p, nil, err
		}
		force.Store(&dataplane.Snapshot{})
		policy = nil
		runtime.GC()
		var was, is runtime.MemStats
		runtime.ReadMemStats(&was)
		begin := time.Now()
		if policy, err = config.ParsePolicy("bench", text); err != nil {
			return p, nil, err
		}
		parsed := time.Now()
		set, err := rules.Compile(policy)
		if err != nil {
			return p, nil, err
		}
		built := time.Now()
		config.Diff(before, policy)
		diffed := time.Now()
		force.Store(&dataplane.Snapshot{Rules: set, Hits: dataplane.NewRuleHits(2, set)})
		values = append(values, millis(time.Since(begin)))
		read, compiled, compared = append(read, millis(parsed.Sub(begin))), append(compiled, millis(built.Sub(parsed))), append(compared, millis(diffed.Sub(built)))
		runtime.ReadMemStats(&is)
		allocated = append(allocated, float64(is.TotalAlloc-was.TotalAlloc)/(1<<20))
		runtime.GC()
		runtime.ReadMemStats(&is)
		kept = append(kept, (float64(is.HeapAlloc)-float64(was.HeapAlloc))/(1<<20))
		runtime.KeepAlive(&force)
	}
	p.Value, p.Min, p.Max = median(values)
	for name, list := range map[string][]float64{
		"read ms": read, "compile ms": compiled, "diff ms": compared, "allocated MiB": allocated, "kept MiB": kept,
	} {
		p.Peers[name], _, _ = median(list)
	}
	p.OK = p.Value <= p.Must
	return p, policy, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
