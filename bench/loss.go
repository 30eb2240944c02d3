package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// The loss row sends so little that any forwarder keeps up: what is missing was lost by a
// fault, or by a core that was away for as long as a ring lasts.
const (
	lossFlows = 1000
	lossRate  = 10_000 // frames/s
	lossMust  = 100    // of a million: a tenth of one in a thousand
)

// losing is the row of loss at a rate that any forwarder keeps up with.
func losing(ctx context.Context, quick bool, progress io.Writer) (row Row, err error) {
	row = Row{
		ID: "loss", Name: "frames lost of a million at 10,000 a second", Unit: "of a million",
		Notes: "1,000 established UDP flows, far below what anybody carries: a fault, or a core that was away for as long as a ring lasts.",
	}
	l, err := newLine()
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	binary, err := l.buildHoldfast(ctx)
	if err != nil {
		return row, err
	}
	rounds, count := 5, uint64(200_000)
	if quick {
		rounds, count = 3, 20_000
	}
	var bare, ours []float64
	for range rounds {
		for _, at := range []struct {
			f    forwarder
			into *[]float64
		}{{bareForwarder(), &bare}, {holdfast(binary, connectionsN1), &ours}} {
			lost, err := l.lost(ctx, at.f, count)
			if err != nil {
				return row, err
			}
			fmt.Fprintf(progress, "  %s lost %.0f of a million\n", at.f.name, lost)
			*at.into = append(*at.into, lost)
		}
	}
	row.Points = []Point{lossPoint(bare, ours)}
	return row, nil
}

func lossPoint(bare, ours []float64) Point {
	p := Point{At: "established", Must: lossMust, Peers: map[string]float64{}}
	p.Peers["bare"], _, _ = median(bare)
	p.Value, p.Min, p.Max = median(ours)
	p.OK = p.Value <= p.Must
	return p
}

// lost sends frames through a forwarder and returns how many of a million do not come out.
func (l *line) lost(ctx context.Context, f forwarder, count uint64) (ofMillion float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	at, err := f.start(ctx, l)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", f.name, err)
	}
	defer at.end()
	err = l.gen.Do(func() error {
		if err := pin(0, coreGenerator); err != nil {
			return err
		}
		g, err := l.open(ctx, traffic{flows: lossFlows, rate: lossRate})
		if err != nil {
			return err
		}
		defer g.Close()
		var arrived, made uint64
		for _, n := range []uint64{3 * lossFlows, count} { // the first is the warm-up
			before, err := l.settled()
			if err != nil {
				return err
			}
			if made, err = g.Send(time.Minute, n); err != nil {
				return err
			}
			after, err := l.settled()
			if err != nil {
				return err
			}
			arrived = after - before
		}
		if made == 0 || arrived == 0 {
			return fmt.Errorf("%s: %d made, %d arrived", f.name, made, arrived)
		}
		ofMillion = 1e6 * float64(made-min(made, arrived)) / float64(made)
		return nil
	})
	return ofMillion, err
}

// settled counts at the sink when nothing has come for a while.
func (l *line) settled() (uint64, error) {
	last, err := l.received()
	for still := 0; still < 5 && err == nil; {
		time.Sleep(20 * time.Millisecond)
		var now uint64
		if now, err = l.received(); now == last {
			still++
		} else {
			last, still = now, 0
		}
	}
	return last, err
}
