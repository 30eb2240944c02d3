package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// lookupLadder is the first form of N2: the table's lookup at three sizes, one packet at
// a time and in bursts of 64, and the whole tracking of an established segment. It runs
// the benchmarks of package conntrack, so there is one code for both.
func lookupLadder(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	row := Row{ID: "N2", Name: "lookup and tracking of an established packet", Unit: "ns",
		Notes: "peers: `single` is the same lookup one packet at a time. Goals are for tracked packets."}
	count, length := "5", "0.5s"
	if quick {
		count, length = "3", "0.2s"
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^(BenchmarkLookup|BenchmarkTrack)",
		"-count", count, "-benchtime", length, "holdfast/conntrack")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return row, err
	}
	if err := cmd.Start(); err != nil {
		return row, err
	}
	values := map[string][]float64{}
	for scan := bufio.NewScanner(out); scan.Scan(); {
		fields := strings.Fields(scan.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		fmt.Fprintln(progress, " ", scan.Text())
		name := strings.TrimSuffix(fields[0], "-"+strconv.Itoa(runtime.GOMAXPROCS(0)))
		if ns, err := strconv.ParseFloat(fields[2], 64); err == nil {
			values[name] = append(values[name], ns)
		}
	}
	if err := cmd.Wait(); err != nil {
		return row, fmt.Errorf("benchmarks of conntrack: %w", err)
	}
	return row, row.ladder(values)
}

// ladder makes points out of the benchmarks' names, which end in the number of connections.
func (r *Row) ladder(values map[string][]float64) error {
	for _, size := range []struct {
		at        string
		must, aim float64
	}{{"1k", 80, 30}, {"1M", 150, 60}, {"10M", 200, 80}} {
		if lookup := values["BenchmarkLookup/"+size.at+"/batch=64"]; len(lookup) > 0 {
			p := Point{At: "lookup, " + size.at + " connections", OK: true, Peers: map[string]float64{}}
			p.Value, p.Min, p.Max = median(lookup)
			if single := values["BenchmarkLookup/"+size.at+"/batch=1"]; len(single) > 0 {
				p.Peers["single"], _, _ = median(single)
			}
			r.Points = append(r.Points, p)
		}
		if track := values["BenchmarkTrack/"+size.at]; len(track) > 0 {
			p := Point{At: "track, " + size.at + " connections", Must: size.must, Aim: size.aim}
			p.Value, p.Min, p.Max = median(track)
			p.OK = p.Value <= p.Must
			r.Points = append(r.Points, p)
		}
	}
	if len(r.Points) == 0 {
		return fmt.Errorf("no benchmark of the ladder ran: %v", values)
	}
	return nil
}
