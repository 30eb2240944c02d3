package main

import (
	"os"
	"testing"
	"time"

	"holdfast/bench/report"
	"holdfast/internal/lab"
)

// A build whose workers sleep is caught by the rate, side by side: bench compare says so.
func TestASlowedBuildIsCaught(t *testing.T) {
	needsQuiet(t)
	l, builds := builtTwice(t, "mutant_slow")
	results := [2]*report.Result{{}, {}}
	var rates [2][]float64
	for range 3 {
		for i, binary := range builds {
			s, err := l.measure(t.Context(), holdfast(binary, 1<<17), traffic{flows: 1000}, 300*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			rates[i] = append(rates[i], s.rate)
		}
	}
	for i := range results {
		p := Point{At: "here", OK: true}
		p.Value, p.Min, p.Max = median(rates[i])
		results[i].Rows = []Row{{ID: "N1", Unit: "packets/s", Better: report.More, Points: []Point{p}}}
	}
	if c := report.Compare(results[0], results[1]); len(c) != 1 || !c[0].Worse {
		t.Errorf("not noticed: %+v", c)
	}
	t.Logf("as it is %.0f/s, slowed %.0f/s", rates[0], rates[1])
}

// A build that loses one packet in a thousand without a word is caught by the row of loss.
func TestALossyBuildIsCaught(t *testing.T) {
	needsQuiet(t)
	l, builds := builtTwice(t, "mutant_lossy")
	var lost [2][]float64
	for range 3 {
		for i, binary := range builds {
			n, err := l.lost(t.Context(), holdfast(binary, 1<<17), 5000)
			if err != nil {
				t.Fatal(err)
			}
			lost[i] = append(lost[i], n)
		}
	}
	t.Logf("of a million: as it is %.0f, lossy %.0f", lost[0], lost[1])
	whole, lossy := lossPoint(lost[0], lost[0]), lossPoint(lost[1], lost[1])
	if lossy.OK || lossy.Min < 500 {
		t.Errorf("not noticed: %+v", lossy)
	}
	if !whole.OK {
		t.Logf("this machine is so busy that the build as it is misses the row's must too: %+v", whole)
	}
}

// needsQuiet skips what measures speed, and builds the daemon three times for it, where the full
// counts are not asked for.
func needsQuiet(t *testing.T) {
	t.Helper()
	lab.Require(t)
	if os.Getenv("HOLDFAST_SOAK") == "" {
		t.Skip("it measures speed: `make soak SOAK_PARTS=handicaps` runs it")
	}
}

// builtTwice builds the daemon as it is and with a tag, for one line.
func builtTwice(t *testing.T, tag string) (*line, [2]string) {
	t.Helper()
	l, err := newLine()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	var builds [2]string
	for i, tag := range []string{"", tag} {
		if builds[i], err = l.buildWith(t.Context(), tag); err != nil {
			t.Fatal(err)
		}
	}
	return l, builds
}
