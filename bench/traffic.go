package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/bench/gen"
	"holdfast/bench/report"
)

// traffic is what a round sends. Every peer of a row gets the same.
type traffic struct {
	protocol protocol
	flows    uint32
	size     gen.Size
	rate     uint64 // frames/s; 0: as fast as can be
}

// protocol of generated flows.
type protocol uint8

const (
	udp protocol = iota
	tcp          // each connection opened by a handshake with a gen.Sink that answers
)

// source is a generator that is ready to send.
type source interface {
	Send(limit time.Duration, count uint64) (made uint64, err error)
	Close() error
}

// open makes a source, on the thread it will send from, which must be inside gen; TCP
// connections are shaken hands for.
func (l *line) open(ctx context.Context, t traffic) (source, error) {
	g0, err := index(l.gen, "g0")
	if err != nil {
		return nil, err
	}
	flows := gen.Flows{
		DstMAC: macF0, SrcMAC: macG0, Src: firstSrc, Dst: far, DstPort: dstPort,
		Count: t.flows, Ifindex: g0, Size: t.size, Rate: t.rate,
	}
	if t.protocol == udp {
		return gen.NewLiveFrames(flows)
	}
	s, err := gen.NewTCPFlows(flows)
	if err != nil {
		return nil, err
	}
	if _, err := s.Open(ctx, 60*time.Second); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// warmUp is how many frames a source sends before what is measured: until every flow has
// been seen, some of them twice.
func (t traffic) warmUp() uint64 {
	if t.flows == gen.AllNew {
		return 10_000 // each begins a connection
	}
	return uint64(t.flows)*3 + 100_000
}

// drain attaches a sink to s0.
func (l *line) drain(flows uint32, mode gen.SinkMode) (s *gen.Sink, err error) {
	s0, err := index(l.sink, "s0")
	if err != nil {
		return nil, err
	}
	err = l.sink.Do(func() error {
		s, err = gen.NewSink(s0, dstPort, flows, mode)
		return err
	})
	return s, err
}

// window is what one stretch of sending gave.
type window struct {
	made, arrived uint64
	took          time.Duration
}

func (w window) rate() float64    { return float64(w.arrived) / w.took.Seconds() }
func (w window) offered() float64 { return float64(w.made) / w.took.Seconds() }

// window sends for a while and counts at the sink.
func (l *line) window(s source, length time.Duration) (w window, err error) {
	before, err := l.received()
	if err != nil {
		return w, err
	}
	begin := time.Now()
	if w.made, err = s.Send(length, 1<<40); err != nil {
		return w, err
	}
	w.took = time.Since(begin)
	after, err := l.received()
	if err != nil {
		return w, err
	}
	if w.arrived = after - before; w.arrived == 0 {
		return w, errors.New("no packet reached the sink")
	}
	return w, nil
}

// headroom is by how much generator and sink alone must exceed what was measured.
const headroom = 1.5

// alone returns how many frames a second reach the sink without a firewall.
func alone(ctx context.Context, t traffic, length time.Duration) (rate float64, err error) {
	l, err := newAlone()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if t.protocol == tcp {
		sink, err := l.drain(t.flows, gen.SinkAnswers)
		if err != nil {
			return 0, err
		}
		defer sink.Close()
	}
	err = l.gen.Do(func() error {
		if err := pin(0, coreGenerator); err != nil {
			return err
		}
		s, err := l.open(ctx, t)
		if err != nil {
			return err
		}
		defer s.Close()
		w, err := l.window(s, length)
		rate = w.rate()
		return err
	})
	return rate, err
}

// selfCheck says in a row's notes what generator and sink do alone, and "generator-bound"
// where that is too little to trust the best rate measured.
func selfCheck(ctx context.Context, t traffic, length time.Duration, best float64) (note string, bound bool, err error) {
	rate, err := alone(ctx, t, length)
	if err != nil {
		return "", false, fmt.Errorf("generator and sink alone: %w", err)
	}
	return boundNote(rate, best), generatorBound(rate, best), nil
}

// generatorBound says that generator and sink alone are too slow for what was measured.
func generatorBound(alone, best float64) bool { return alone < headroom*best }

func boundNote(rate, best float64) string {
	if generatorBound(rate, best) {
		return fmt.Sprintf("generator-bound: generator and sink alone, both on one core, make %s/s, less than %.1f times the best here (%s/s).", report.Figure(rate), headroom, report.Figure(best))
	}
	return fmt.Sprintf("Generator and sink alone, both on one core, make %s/s, %.1f times the best here.", report.Figure(rate), rate/best)
}
