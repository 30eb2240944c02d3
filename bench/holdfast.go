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
	binary := filepath.Join(l.dir, "holdfast")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "holdfast/cmd/holdfast")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building cmd/holdfast: %w", err)
	}
	return binary, nil
}

// holdfast is the daemon itself, a single node with one pass rule.
func holdfast(binary string, connections int) forwarder {
	return forwarder{"holdfast", func(ctx context.Context, l *line) (running, error) {
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
				return running{}, err
			}
		}
		proc, err := l.fw.Start(ctx, lab.Program{
			Path: binary, Args: append([]string{"run", "--config", filepath.Join(l.dir, "node.toml")}, l.extra...), Stderr: os.Stderr,
		})
		if err != nil {
			return running{}, err
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			active, err := isActive(ctx, binary, socket)
			if active {
				return processRunning(proc), pinAll(proc.Pid(), coreFirewall)
			}
			if time.Now().After(deadline) {
				return running{}, fmt.Errorf("holdfast did not become active: %w", err)
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
