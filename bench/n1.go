package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/bench/gen"
	"holdfast/internal/lab"
)

// The topology of forwarding rows:
//
//	ns gen [g0]==veth==[f0] ns fw [f1]==veth==[s0] ns sink
//
// The generator runs on core 0, the firewall on core 1. A veth bills the receive work of
// f0 to the generator's core, the same for every peer.
const (
	coreGenerator = 0
	coreFirewall  = 1
)

var (
	macF0 = net.HardwareAddr{2, 0x48, 0x46, 0, 0, 1}
	macS0 = net.HardwareAddr{2, 0x48, 0x46, 0, 0, 3}
	macG0 = net.HardwareAddr{2, 0x48, 0x46, 0, 0, 4}
)

// line is that topology, and how frames are counted at its end.
type line struct {
	lab           *lab.Lab
	gen, fw, sink *lab.Namespace
	dir           string
	extra         []string // arguments of `holdfast run`
}

func newLine() (_ *line, err error) {
	l := &line{}
	if l.dir, err = os.MkdirTemp("", "holdfast-bench-"); err != nil {
		return nil, err
	}
	if l.lab, err = lab.New(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(l.dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	for name, ns := range map[string]**lab.Namespace{"gen": &l.gen, "fw": &l.fw, "sink": &l.sink} {
		if *ns, err = l.lab.Namespace(name); err != nil {
			return nil, err
		}
	}
	err = errors.Join(
		l.lab.Veth(lab.End{Namespace: l.gen, Name: "g0", MAC: macG0}, lab.End{Namespace: l.fw, Name: "f0", MAC: macF0}),
		l.lab.Veth(lab.End{Namespace: l.fw, Name: "f1"},
			lab.End{Namespace: l.sink, Name: "s0", MAC: macS0, Addresses: []netip.Prefix{netip.MustParsePrefix("10.2.0.2/24")}}),
	)
	return l, err
}

func (l *line) close() error { return errors.Join(l.lab.Close(), os.RemoveAll(l.dir)) }

// received returns how many frames have reached the sink. The link's own counter is read:
// an XDP program on the sink would cost the sender a copy.
func (l *line) received() (uint64, error) {
	s0, err := l.sink.Link("s0")
	if err != nil {
		return 0, err
	}
	return s0.Attrs().Statistics.RxPackets, nil
}

// forwarder is a process that forwards from f0 to f1.
type forwarder struct {
	name  string
	start func(ctx context.Context, l *line) (*lab.Process, error)
}

// sample is what one round of one forwarder gave.
type sample struct {
	rate    float64 // packets/s at the sink
	offered float64 // packets/s that the generator made
	cost    float64 // ns of the forwarder's own CPU time per packet at the sink
}

// measure sends flows through a forwarder for a while.
func (l *line) measure(ctx context.Context, f forwarder, flows uint32, length time.Duration) (s sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	proc, err := f.start(ctx, l)
	if err != nil {
		return s, fmt.Errorf("%s: %w", f.name, err)
	}
	defer func() {
		// In its own time, so that a profile is complete; the error says that it is gone.
		_ = proc.Kill(unix.SIGTERM)
		select {
		case <-proc.Done():
		case <-time.After(3 * time.Second):
			cancel()
			<-proc.Done()
		}
	}()
	g0, err := l.gen.Link("g0")
	if err != nil {
		return s, err
	}
	err = l.gen.Do(func() error {
		if err := pin(0, coreGenerator); err != nil {
			return err
		}
		g, err := gen.NewLiveFrames(gen.Flows{
			DstMAC: macF0, SrcMAC: macG0, Src: netip.MustParseAddr("10.1.0.1"), Dst: netip.MustParseAddr("198.18.0.1"),
			DstPort: 9, Count: flows, Ifindex: g0.Attrs().Index,
		})
		if err != nil {
			return err
		}
		defer g.Close()
		// Warm up until every flow has been seen, some of them twice.
		if _, err := g.Send(30*time.Second, uint64(flows)*3+100_000); err != nil {
			return err
		}
		before, err := l.received()
		if err != nil {
			return err
		}
		cpu, begin := cpuTime(proc.Pid()), time.Now()
		made, err := g.Send(length, 1<<40)
		if err != nil {
			return err
		}
		took := time.Since(begin)
		after, err := l.received()
		if err != nil {
			return err
		}
		n := float64(after - before)
		if n == 0 {
			return errors.New("no packet reached the sink")
		}
		s = sample{rate: n / took.Seconds(), offered: float64(made) / took.Seconds(), cost: float64(cpuTime(proc.Pid())-cpu) / n}
		return nil
	})
	return s, err
}

// pin binds a thread or process to a core.
func pin(pid, core int) error {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(pid, &set); err != nil {
		return fmt.Errorf("binding to core %d: %w", core, err)
	}
	return nil
}

// cpuTime returns the CPU time of a process so far, user and system (proc(5), stat,
// fields 14 and 15, in ticks of 10 ms).
func cpuTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// bareForwarder is this program's `bare` command.
func bareForwarder() forwarder {
	return forwarder{"bare", func(ctx context.Context, l *line) (*lab.Process, error) {
		binary, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return l.run(ctx, binary, "bare", "--in", "f0", "--out", "f1", "--dst", macS0.String())
	}}
}

// run starts a forwarder's process on its core and waits until it says it is ready.
func (l *line) run(ctx context.Context, binary string, args ...string) (*lab.Process, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	proc, err := l.fw.Start(ctx, lab.Program{Path: binary, Args: args, Stdout: writer, Stderr: os.Stderr})
	writer.Close()
	if err != nil {
		return nil, err
	}
	if err := reader.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := reader.Read(make([]byte, 64)); err != nil {
		return nil, fmt.Errorf("%s %v did not become ready: %w", binary, args, err)
	}
	return proc, pinAll(proc.Pid())
}

// pinAll binds every thread of a process to the firewall's core.
func pinAll(pid int) error {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := pin(tid, coreFirewall); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// holdfast is the daemon itself, a single node with one pass rule.
func holdfast(binary string, connections int) forwarder {
	return forwarder{"holdfast", func(ctx context.Context, l *line) (*lab.Process, error) {
		socket := filepath.Join(l.dir, "holdfast.sock")
		for file, text := range map[string]string{
			"node.toml": fmt.Sprintf(`policy = "policy.toml"
socket = %q
[node]
name = "bench"
[devices]
lan = { device = "f0" }
wan = { device = "f1" }
[limits]
connections = %d
`, socket, connections),
			"policy.toml": `[ports.lan]
addresses = ["10.1.255.254/16"]
mac = "02:48:46:00:00:01"
[ports.wan]
addresses = ["10.2.0.1/24"]
mac = "02:48:46:00:00:02"
[groups.main]
ports = ["lan", "wan"]
[gateways.far]
port = "wan"
address = "10.2.0.2"
[cluster]
heartbeat = "50ms"
lease = "500ms"
dead_after = "1s"
[[rules]]
id = "all"
action = "pass"
in = "lan"
out = "wan"
`,
		} {
			if err := os.WriteFile(filepath.Join(l.dir, file), []byte(text), 0o600); err != nil {
				return nil, err
			}
		}
		proc, err := l.fw.Start(ctx, lab.Program{
			Path: binary, Args: append([]string{"run", "--config", filepath.Join(l.dir, "node.toml")}, l.extra...), Stderr: os.Stderr,
		})
		if err != nil {
			return nil, err
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			active, err := isActive(ctx, binary, socket)
			if active {
				return proc, pinAll(proc.Pid())
			}
			if time.Now().After(deadline) {
				return nil, fmt.Errorf("holdfast did not become active: %w", err)
			}
		}
	}}
}

// isActive asks a daemon for its role, as a script would.
func isActive(ctx context.Context, binary, socket string) (bool, error) {
	// Exit status 1 is degraded: the object says more.
	out, err := exec.CommandContext(ctx, binary, "status", "--json", "--socket", socket).Output()
	var status struct {
		Groups []struct{ Role string }
	}
	if jsonErr := json.Unmarshal(out, &status); jsonErr != nil {
		return false, errors.Join(err, jsonErr)
	}
	return len(status.Groups) > 0 && status.Groups[0].Role == "active", nil
}

// forwarding is N1.
func forwarding(ctx context.Context, quick bool, progress io.Writer) (Row, error) {
	row := Row{
		ID: "N1", Name: "forwarded, established, 64 bytes: ratio to the bare forwarder", Unit: "x",
		Notes: "generator, kernel receive work and sink share two cores with the firewall. " +
			"Peers: bare and holdfast in packets/s at the sink, cost_ns as the firewall's own CPU time per packet above the bare forwarder's.",
	}
	rounds, length := 7, 3*time.Second
	if quick {
		rounds, length = 3, time.Second
	}
	l, err := newLine()
	if err != nil {
		return row, err
	}
	defer l.close()
	if profile := os.Getenv("BENCH_CPUPROFILE"); profile != "" {
		l.extra = []string{"--cpuprofile", profile}
	}
	binary := filepath.Join(l.dir, "holdfast")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "holdfast/cmd/holdfast")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return row, fmt.Errorf("building cmd/holdfast: %w", err)
	}
	for _, size := range []struct {
		at        string
		flows     uint32
		must, aim float64
	}{{"64k connections", 64 << 10, 0.85, 0.92}, {"1M connections", 1 << 20, 0.80, 0.90}} {
		var ratios, bares, ours, costs []float64
		for round := range rounds {
			a, err := l.measure(ctx, bareForwarder(), size.flows, length)
			if err != nil {
				return row, err
			}
			b, err := l.measure(ctx, holdfast(binary, 2<<20), size.flows, length)
			if err != nil {
				return row, err
			}
			fmt.Fprintf(progress, "  %s, round %d of %d: bare %.0f/s of %.0f/s (%.0f ns), holdfast %.0f/s of %.0f/s (%.0f ns), ratio %.3f\n",
				size.at, round+1, rounds, a.rate, a.offered, a.cost, b.rate, b.offered, b.cost, b.rate/a.rate)
			ratios, bares, ours = append(ratios, b.rate/a.rate), append(bares, a.rate), append(ours, b.rate)
			costs = append(costs, b.cost-a.cost)
		}
		p := Point{At: size.at, Must: size.must, Aim: size.aim, Peers: map[string]float64{}}
		p.Value, p.Min, p.Max = median(ratios)
		p.OK = p.Value >= p.Must
		p.Peers["bare"], _, _ = median(bares)
		p.Peers["holdfast"], _, _ = median(ours)
		p.Peers["cost_ns"], _, _ = median(costs)
		row.Points = append(row.Points, p)
	}
	return row, nil
}
