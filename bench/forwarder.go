package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/bench/gen"
	"holdfast/internal/lab"
)

// forwarder is what forwards between f0 and f1: Holdfast or a peer.
type forwarder struct {
	name  string
	start func(ctx context.Context, l *line) (running, error)
	line  *line // its own; nil: that of its kind
}

// running is a forwarder at work.
type running struct {
	pids []int // processes or kernel threads that do its work
	end  func()
	wire func() (uint64, error) // bytes that its sync link has carried so far; nil: it has none
}

// cpu is the CPU time it has used so far.
func (r running) cpu() (sum time.Duration) {
	for _, pid := range r.pids {
		sum += cpuTime(pid)
	}
	return sum
}

// endProcess ends a forwarder's process in its own time, so that a profile is complete.
func endProcess(p *lab.Process) {
	_ = p.Kill(unix.SIGTERM) // the error says that it is gone
	select {
	case <-p.Done():
	case <-time.After(3 * time.Second):
		_ = p.Kill(unix.SIGKILL)
		<-p.Done()
	}
}

// sample is what one round of one forwarder gave.
type sample struct {
	rate    float64 // packets/s at the sink
	offered float64 // packets/s that the generator made
	cost    float64 // ns of the forwarder's own CPU time per packet at the sink
	wire    float64 // bytes on its sync link per packet at the sink
}

// measure sends traffic through a forwarder for a while.
func (l *line) measure(ctx context.Context, f forwarder, t traffic, length time.Duration) (s sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if t.protocol == tcp {
		sink, err := l.drain(t.flows, gen.SinkAnswers)
		if err != nil {
			return s, err
		}
		defer sink.Close()
	}
	at, err := f.start(ctx, l)
	if err != nil {
		return s, fmt.Errorf("%s: %w", f.name, err)
	}
	defer at.end()
	err = l.gen.Do(func() error {
		if err := pin(0, coreGenerator); err != nil {
			return err
		}
		g, err := l.open(ctx, t)
		if err != nil {
			return err
		}
		defer g.Close()
		if _, err := g.Send(30*time.Second, t.warmUp()); err != nil {
			return err
		}
		cpu, carried := at.cpu(), uint64(0)
		if at.wire != nil {
			if carried, err = at.wire(); err != nil {
				return err
			}
		}
		w, err := l.window(g, length)
		if err != nil {
			return err
		}
		s = sample{rate: w.rate(), offered: w.offered(), cost: float64(at.cpu()-cpu) / float64(w.arrived)}
		if at.wire != nil {
			now, err := at.wire()
			s.wire = float64(now-carried) / float64(w.arrived)
			return err
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("%s: %w", f.name, err)
	}
	return s, nil
}

// run starts a forwarder's process on its core and waits until it says it is ready.
func (l *line) run(ctx context.Context, binary string, args ...string) (running, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return running{}, err
	}
	defer reader.Close()
	proc, err := l.fw.Start(ctx, lab.Program{Path: binary, Args: args, Stdout: writer, Stderr: os.Stderr})
	err = errors.Join(err, writer.Close())
	if err != nil {
		return running{}, err
	}
	if err := reader.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return running{}, err
	}
	if _, err := reader.Read(make([]byte, 64)); err != nil {
		return running{}, fmt.Errorf("%s %v did not become ready: %w", binary, args, err)
	}
	return processRunning(proc), pinAll(proc.Pid(), coreFirewall)
}

// versus runs forwarders side by side, A B C A B C, with the same traffic.
type versus struct {
	bare, holdfast forwarder
	peers          *peers // nil: none
	rounds         int
	length         time.Duration
}

// contest is what the rounds gave, one value a round.
type contest struct {
	ratios, bares, ours, costs []float64 // costs: ns of CPU time per packet above the bare forwarder's
	peers                      []peerRounds
}

// peerRounds is what one of the kernel's peers gave.
type peerRounds struct {
	name          string
	rates, ratios []float64 // ratios: Holdfast's rate to this
	costs         []float64 // ns of CPU time per packet
}

func (v versus) run(ctx context.Context, l *line, at string, t traffic, report func(string)) (c contest, err error) {
	if v.peers != nil {
		for _, f := range v.peers.forwarders {
			c.peers = append(c.peers, peerRounds{name: f.name})
		}
	}
	for round := range v.rounds {
		a, err := l.measure(ctx, v.bare, t, v.length)
		if err != nil {
			return c, err
		}
		b, err := l.measure(ctx, v.holdfast, t, v.length)
		if err != nil {
			return c, err
		}
		report(fmt.Sprintf("  %s, round %d of %d: bare %.0f/s of %.0f/s (%.0f ns), holdfast %.0f/s of %.0f/s (%.0f ns), ratio %.3f\n",
			at, round+1, v.rounds, a.rate, a.offered, a.cost, b.rate, b.offered, b.cost, b.rate/a.rate))
		c.ratios, c.bares, c.ours = append(c.ratios, b.rate/a.rate), append(c.bares, a.rate), append(c.ours, b.rate)
		c.costs = append(c.costs, b.cost-a.cost)
		for i := range c.peers {
			f := v.peers.forwarders[i]
			p, err := cmp.Or(f.line, v.peers.line).measure(ctx, f, t, v.length)
			if err != nil {
				return c, err
			}
			report(fmt.Sprintf("    %s %.0f/s of %.0f/s (%.0f ns), holdfast to it %.3f\n", c.peers[i].name, p.rate, p.offered, p.cost, b.rate/p.rate))
			c.peers[i].add(p, b.rate)
		}
	}
	return c, nil
}

func (p *peerRounds) add(s sample, ours float64) {
	p.rates, p.ratios, p.costs = append(p.rates, s.rate), append(p.ratios, ours/s.rate), append(p.costs, s.cost)
}

// point makes a row's point out of it; without a goal must is 0.
func (c contest) point(at string, must, aim float64) Point {
	p := Point{At: at, Must: must, Aim: aim, Peers: map[string]float64{}, Ratios: map[string]float64{}, Details: map[string]float64{}}
	p.Value, p.Min, p.Max = median(c.ratios)
	p.OK = p.Value >= p.Must
	p.Peers["bare"], _, _ = median(c.bares)
	p.Ratios["bare"] = p.Value
	p.Own, _, _ = median(c.ours)
	p.Details["CPU above bare, ns a packet"], _, _ = median(c.costs)
	for _, peer := range c.peers {
		p.Peers[peer.name], _, _ = median(peer.rates)
		p.Ratios[peer.name], _, _ = median(peer.ratios)
		p.Details[peer.name+", CPU ns a packet"], _, _ = median(peer.costs)
	}
	return p
}

// best returns the highest rate of all rounds.
func (c contest) best() (best float64) {
	for _, rates := range append([][]float64{c.bares, c.ours}, c.rates()...) {
		_, _, high := median(rates)
		best = max(best, high)
	}
	return best
}

func (c contest) rates() (all [][]float64) {
	for _, p := range c.peers {
		all = append(all, p.rates)
	}
	return all
}
