package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"holdfast/internal/lab"
)

// buildHoldfast builds the daemon into the line's folder and returns its path.
func (l *line) buildHoldfast(ctx context.Context) (string, error) {
	return l.buildWith(ctx, "")
}

// buildWith builds the daemon with a build tag; empty: none.
func (l *line) buildWith(ctx context.Context, tag string) (string, error) {
	binary := filepath.Join(l.dir, "holdfast"+tag)
	build := exec.CommandContext(ctx, "go", "build", "-tags", tag, "-o", binary, "holdfast/cmd/holdfast")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building cmd/holdfast: %w", err)
	}
	return binary, nil
}

// holdfast is the daemon itself, a single node with one pass rule.
func holdfast(binary string, connections int) forwarder {
	return forwarder{name: "holdfast", start: func(ctx context.Context, l *line) (running, error) {
		proc, err := l.startHoldfast(ctx, daemon{binary: binary, space: l.fw, dir: l.dir, name: "bench", devices: [2]string{"f0", "f1"}, connections: connections})
		if err != nil {
			return running{}, err
		}
		if err := l.await(ctx, binary, l.dir, "active"); err != nil {
			return running{}, err
		}
		return processRunning(proc), pinAll(proc.Pid(), coreFirewall)
	}}
}

// daemon is one node of Holdfast, as a bench needs it.
type daemon struct {
	binary, dir, name string
	space             *lab.Namespace
	devices           [2]string // lan and wan
	connections       int
	cluster           string // the [cluster] of its node file; empty: it is alone
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "holdfast.sock") }

// startHoldfast writes a daemon's files and starts it.
func (l *line) startHoldfast(ctx context.Context, d daemon) (*lab.Process, error) {
	for file, text := range map[string]string{
		"node.toml": fmt.Sprintf(`policy = "policy.toml"
socket = %q
[node]
name = %q
[devices]
lan = { device = %q }
wan = { device = %q }
[limits]
connections = %d
%s`, d.socket(), d.name, d.devices[0], d.devices[1], d.connections, d.cluster),
		"policy.toml": benchPolicy,
	} {
		if err := os.WriteFile(filepath.Join(d.dir, file), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return d.space.Start(ctx, lab.Program{
		Path: d.binary, Args: append([]string{"run", "--config", filepath.Join(d.dir, "node.toml")}, l.extra...), Stderr: os.Stderr,
	})
}

// linePolicy is what the policies of a line have in common: its ports, and clocks of a
// machine that is busy.
const linePolicy = `[ports.lan]
addresses = ["10.1.255.254/16"]
mac = "02:48:46:00:00:01"
[ports.wan]
addresses = ["10.2.0.1/24"]
mac = "02:48:46:00:00:02"
[groups.main]
ports = ["lan", "wan"]
[cluster]
heartbeat = "50ms"
lease = "500ms"
dead_after = "1s"
`

// benchPolicy has one rule, which lets everything out.
const benchPolicy = linePolicy + `[gateways.far]
port = "wan"
address = "10.2.0.2"
[[rules]]
id = "all"
action = "pass"
in = "lan"
out = "wan"
`

// await waits until the daemon in dir has a role, and is ready in it.
func (l *line) await(ctx context.Context, binary, dir, role string) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		has, err := hasRole(ctx, binary, filepath.Join(dir, "holdfast.sock"), role)
		if has {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("holdfast did not become %s: %w", role, err)
		}
	}
}

// hasRole asks a daemon for its role, as a script would.
func hasRole(ctx context.Context, binary, socket, role string) (bool, error) {
	s, err := statusOf(ctx, binary, socket)
	return len(s.Groups) > 0 && s.Groups[0].Role == role && s.Groups[0].Ready, err
}

// status is what of `holdfast status --json` is asked for here.
type status struct {
	Groups []struct {
		Role  string
		Ready bool
	}
	Deferred struct{ Acknowledged, Late, Alone uint64 }
}

func statusOf(ctx context.Context, binary, socket string) (s status, err error) {
	// Exit status 1 is degraded: the object says more.
	out, err := exec.CommandContext(ctx, binary, "status", "--json", "--socket", socket).Output()
	if jsonErr := json.Unmarshal(out, &s); jsonErr != nil {
		return s, errors.Join(err, jsonErr)
	}
	return s, nil
}
