package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/bench/gen"
	"holdfast/internal/lab"
)

// TestMain lets the tests' own binary play the hidden commands, which run as processes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "send-afxdp" || os.Args[1] == "bare") {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestAResultComesBackAsItWasStored(t *testing.T) {
	path := t.TempDir() + "/a.json"
	r := Result{Machine: describe(), Rows: []Row{{ID: "N1", Name: "name", Unit: "x", Points: []Point{
		{At: "here", Value: 0.9, Min: 0.8, Max: 1, Must: 0.85, Aim: 0.9, OK: true, Peers: map[string]float64{"bare": 5}},
		{At: "no goal", Value: 123},
	}}}}
	if err := r.store(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(text, &back); err != nil || fmt.Sprint(back) != fmt.Sprint(r) {
		t.Errorf("%+v, %v", back, err)
	}
	table, err := os.ReadFile(strings.TrimSuffix(path, ".json") + ".md")
	if err != nil || !strings.Contains(string(table), "| N1 name | here | 0.90 x | 0.80 - 1.00 | bare 5.00 | must 0.85, aim 0.90: reached |") {
		t.Errorf("table %s, %v", table, err)
	}
}

func TestRowsHaveOneNameEach(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range scenarios() {
		if seen[s.ID] || s.Name == "" || s.Run == nil {
			t.Errorf("row %+v", s)
		}
		seen[s.ID] = true
	}
}

func TestGeneratorBoundIsSaid(t *testing.T) {
	for _, row := range []struct {
		alone, best float64
		bound       bool
	}{{1_500_000, 1_000_000, false}, {1_499_999, 1_000_000, true}, {4e6, 5e5, false}} {
		if note := boundNote(row.alone, row.best); strings.HasPrefix(note, "generator-bound") != row.bound {
			t.Errorf("%.0f alone, %.0f best: %s", row.alone, row.best, note)
		}
	}
}

func TestMedian(t *testing.T) {
	if mid, low, high := median([]float64{3, 1, 2}); mid != 2 || low != 1 || high != 3 {
		t.Error(mid, low, high)
	}
}

// Generator and sink alone, each protocol, at a rate that any machine keeps.
func TestAlone(t *testing.T) {
	lab.Require(t)
	for name, traffic := range map[string]traffic{
		"udp": {flows: 100, rate: 20_000},
		"tcp": {protocol: tcp, flows: 100, rate: 20_000, size: gen.IMIX},
	} {
		if rate, err := alone(t.Context(), traffic, 200*time.Millisecond); err != nil || rate < 5_000 || rate > 25_000 {
			t.Errorf("%s: %.0f/s of 20000/s, %v", name, rate, err)
		}
	}
}

// The independent source runs as a process of its own and ends in time.
func TestAFXDPSourceIsAProcess(t *testing.T) {
	lab.Require(t)
	l, err := newAlone()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	sink, err := l.drain(100, gen.SinkCounts)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	run, err := l.afxdp(t.Context(), traffic{flows: 100, rate: 10_000}, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	totals, err := sink.Totals()
	if err != nil || run.Made < 500 || totals.Frames < run.Made*9/10 || totals.Frames > run.Made {
		t.Errorf("%+v made, %+v arrived, %v", run, totals, err)
	}
}

// The bare forwarder carries TCP both ways: handshakes complete through it.
func TestBareForwarderBothWays(t *testing.T) {
	lab.Require(t)
	l, err := newLine()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	s, err := l.measure(t.Context(), bareForwarder(), traffic{protocol: tcp, flows: 200, rate: 50_000}, 200*time.Millisecond)
	if err != nil || s.rate < 5_000 || s.offered < s.rate*0.9 {
		t.Errorf("%+v, %v", s, err)
	}
}
