package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/dataplane"
	"holdfast/rules"
	"holdfast/rules/config"
)

// reloadSize is how many rules the goals of N6 are for.
const reloadSize = 100_000

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
		Notes: "Reading, its hash, compiling, comparing with the policy in force, and the store. That no packet is lost meanwhile is shown by " +
			"TestREL28_NoPacketSeesHalfASet. Beside it: the parts in ms; what the build allocates, what stays, and the peak of the process's memory above its start, in MiB. " +
			"nftables: as many rules that do not overlap, put in place of as many others by `nft -f`, in ms, and by how much the kernel's memory grows " +
			"(slab, vmalloc and per-CPU, of the whole machine).",
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
			if n < reloadSize {
				p.Must = 0 // smaller than the goal's: shown, not judged
			} else {
				p.Aim = []float64{reloadAimCold, reloadAimSmall}[i]
			}
			before = policy
			if i == 0 {
				figures, skipped, err := nftReload(ctx, n)
				if err != nil {
					return row, err
				}
				for name, v := range figures {
					if peer, ok := strings.CutSuffix(name, " ms"); ok {
						p.Peers[peer] = v
					} else {
						p.Details[name] = v
					}
				}
				if !strings.Contains(row.Notes, skipped) {
					row.Notes += " " + skipped
				}
			}
			fmt.Fprintf(progress, "  %s: %.0f ms (%.0f to %.0f), read %.0f, hashed %.0f, compiled %.0f, compared %.0f, %.0f MiB allocated, %.0f stay, %.0f at the peak; %v\n",
				p.At, p.Value, p.Min, p.Max, p.Details["read ms"], p.Details["hash ms"], p.Details["compile ms"], p.Details["diff ms"], p.Details["allocated MiB"], p.Details["kept MiB"], p.Details["peak MiB"], p.Peers)
			row.Points = append(row.Points, p)
		}
	}
	return row, nil
}

// reloadRounds is how often each point is measured.
const reloadRounds = 3

func reloadPoint(ctx context.Context, at string, n, change int, before *config.Policy) (p Point, policy *config.Policy, err error) {
	text := reloadPolicy(n, change)
	p = Point{At: at, Must: reloadMust, Peers: map[string]float64{}, Details: map[string]float64{}}
	if before == nil {
		before = &config.Policy{}
	}
	var force atomic.Pointer[dataplane.Snapshot]
	var values, read, hashed, compiled, compared, allocated, kept, peaks []float64
	for range reloadRounds {
		if err := ctx.Err(); err != nil {
			return p, nil, err
		}
		force.Store(&dataplane.Snapshot{})
		policy = nil
		debug.FreeOSMemory()
		resident := peakBegins()
		var was, is runtime.MemStats
		runtime.ReadMemStats(&was)
		begin := time.Now()
		if policy, err = config.ParsePolicy("bench", text); err != nil {
			return p, nil, err
		}
		parsed := time.Now()
		policy.Hash()
		known := time.Now()
		set, err := rules.Compile(policy)
		if err != nil {
			return p, nil, err
		}
		built := time.Now()
		config.Diff(before, policy)
		diffed := time.Now()
		force.Store(&dataplane.Snapshot{Rules: set, Hits: dataplane.NewRuleHits(2, set)})
		values = append(values, millis(time.Since(begin)))
		read, hashed = append(read, millis(parsed.Sub(begin))), append(hashed, millis(known.Sub(parsed)))
		compiled, compared = append(compiled, millis(built.Sub(known))), append(compared, millis(diffed.Sub(built)))
		if resident > 0 {
			peaks = append(peaks, ownMemory("VmHWM:")-resident)
		}
		runtime.ReadMemStats(&is)
		allocated = append(allocated, float64(is.TotalAlloc-was.TotalAlloc)/(1<<20))
		runtime.GC()
		runtime.ReadMemStats(&is)
		kept = append(kept, (float64(is.HeapAlloc)-float64(was.HeapAlloc))/(1<<20))
		runtime.KeepAlive(&force)
	}
	p.Value, p.Min, p.Max = median(values)
	for name, list := range map[string][]float64{
		"read ms": read, "hash ms": hashed, "compile ms": compiled, "diff ms": compared, "allocated MiB": allocated, "kept MiB": kept,
	} {
		p.Details[name], _, _ = median(list)
	}
	if len(peaks) > 0 {
		p.Details["peak MiB"], _, _ = median(peaks)
	}
	p.OK = n < reloadSize || p.Value <= p.Must
	return p, policy, nil
}

// peakBegins makes the kernel forget the process's peak of memory and returns what it has
// now in MiB, 0 where it does not (proc_pid_clear_refs(5)).
func peakBegins() float64 {
	if os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) != nil {
		return 0
	}
	return ownMemory("VmRSS:")
}

// ownMemory is a line of /proc/self/status in MiB.
func ownMemory(key string) float64 {
	text, _ := os.ReadFile("/proc/self/status") // without it: 0
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == key {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib / 1024
		}
	}
	return 0
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
