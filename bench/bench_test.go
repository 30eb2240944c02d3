package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/bench/gen"
	"holdfast/bench/report"
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

func TestRowsHaveOneNameEach(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range scenarios() {
		if seen[s.ID] || s.Name == "" || s.Run == nil || s.Better == "" || s.Takes[0] < s.Takes[1] || s.Takes[1] <= 0 {
			t.Errorf("row %+v", s)
		}
		seen[s.ID] = true
	}
	// Every goal is measured, or says why not.
	for _, g := range report.Goals {
		if seen[g.ID] == (g.Missing != "") {
			t.Errorf("goal %s: measured %v, reason %q", g.ID, seen[g.ID], g.Missing)
		}
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

// The quick form of all rows takes less than a quarter of an hour on a machine like the one
// that the rows' times are from.
func TestTheQuickFormIsQuick(t *testing.T) {
	var sum time.Duration
	for _, s := range scenarios() {
		sum += s.takes(true)
	}
	if sum > 15*time.Minute {
		t.Errorf("%v", sum)
	}
}

// A row that fails says why and hides no other; one that hangs is given up.
func TestARowThatFailsHidesNoOther(t *testing.T) {
	good := func(context.Context, bool, io.Writer) (Row, error) {
		return Row{Unit: "x", Points: []Point{{At: "here", Value: 1, Min: 1, Max: 1, OK: true}}}, nil
	}
	bad := func(context.Context, bool, io.Writer) (Row, error) {
		return Row{Points: []Point{{At: "half"}}}, errors.New("no such thing")
	}
	rows := []Scenario{{"a", "bad", report.Less, about(2, 1), bad}, {"b", "good", report.More, about(2, 1), good}}
	var said bytes.Buffer
	s := &suite{rows: rows, quick: true, bar: newBar(&said, rows, true)}
	s.run(t.Context())
	got := s.result.Rows
	if len(got) != 2 || got[0].Missing != "no such thing" || len(got[0].Points) != 0 || got[1].Missing != "" || len(got[1].Points) != 1 || !got[1].Quick {
		t.Errorf("%+v", got)
	}
	if text := said.String(); !strings.Contains(text, "a: bad\n") || !strings.Contains(text, "not measured: no such thing") {
		t.Errorf("%q", text)
	}
	if path := t.TempDir(); s.store(path) != nil {
		t.Error("not stored")
	} else if h, err := report.LoadHistory(path); err != nil || len(h) != 1 {
		t.Errorf("%v, %v", h, err)
	}
}

// The time that is left follows the pace of what is over.
func TestTheBarSaysWhatIsLeft(t *testing.T) {
	begin := time.Unix(1000, 0)
	rows := []Scenario{{ID: "a", Takes: about(20, 10)}, {ID: "b", Takes: about(20, 10)}, {ID: "c", Takes: about(60, 30)}}
	b := &bar{rows: rows, quick: true, began: begin, rowBegan: begin}
	if left := b.left(begin.Add(4 * time.Second)); left != 46*time.Second {
		t.Errorf("at first %v", left)
	}
	b.at, b.done, b.rowBegan = 1, 10*time.Second, begin.Add(20*time.Second) // twice as slow
	if left := b.left(begin.Add(25 * time.Second)); left != 75*time.Second {
		t.Errorf("then %v", left)
	}
	if line := b.line(begin.Add(25 * time.Second)); line != "[######..................] 2 of 3, b, 1m15s left" {
		t.Error(line)
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
