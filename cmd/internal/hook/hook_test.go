package hook

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/rules/config"
)

// note is a log that tests read.
type note struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *note) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(p)
}

func (n *note) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// script writes a shell script into dir.
func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

func hook(path string, events ...config.Event) Hook {
	return Hook{Events: events, Argv: []string{path}, Timeout: 10 * time.Second}
}

const patience = 30 * time.Second

// TestHooks_OrderAndEnvironment: a hook sees the events that it asked for, in order, each
// with its words; another one sees its own; what they say and how they fail is logged.
func TestHooks_OrderAndEnvironment(t *testing.T) {
	dir, log := t.TempDir(), &note{}
	out := filepath.Join(dir, "out")
	roles := script(t, dir, "roles", `echo "$HOLDFAST_EVENT $HOLDFAST_ROLE" >> `+out+`; echo said`)
	fails := script(t, dir, "fails", "echo why >&2; exit 7")
	r := New([]Hook{hook(roles, config.EventRole, config.EventSync), hook(fails, config.EventGateway)}, slog.New(slog.NewTextHandler(log, nil)))
	var want strings.Builder
	for i := range 10 {
		r.Tell(config.EventRole, fmt.Sprintf("HOLDFAST_ROLE=%d; exit", i)) // no shell reads it
		fmt.Fprintf(&want, "role %d; exit\n", i)
	}
	r.Tell(config.EventTrack)
	r.Tell(config.EventSync)
	r.Tell(config.EventGateway)
	want.WriteString("sync \n")
	r.Close(patience)
	if got := read(t, out); got != want.String() {
		t.Errorf("the hook saw\n%s, want\n%s", got, &want)
	}
	for _, words := range []string{"output=said", "exit status 7", "output=why"} {
		if !strings.Contains(log.String(), words) {
			t.Errorf("the log lacks %q:\n%s", words, log)
		}
	}
}

// TestHooks_TellNeverWaits: while a program hangs events are written down, the oldest are
// lost, the last one comes; other hooks run meanwhile.
func TestHooks_TellNeverWaits(t *testing.T) {
	dir, log := t.TempDir(), &note{}
	gate, out, other := filepath.Join(dir, "gate"), filepath.Join(dir, "out"), filepath.Join(dir, "other")
	slow := script(t, dir, "slow", "echo $N >> "+out+"; while ! test -e "+gate+"; do sleep 0.01; done")
	quick := script(t, dir, "quick", "echo $N >> "+other)
	r := New([]Hook{hook(slow, config.EventRole), hook(quick, config.EventSync)}, slog.New(slog.NewTextHandler(log, nil)))
	r.Tell(config.EventRole, "N=first")
	for deadline := time.Now().Add(patience); read(t, out) == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the hook is not run")
		}
	}
	for i := range 1000 {
		r.Tell(config.EventRole, fmt.Sprint("N=", i))
	}
	r.Tell(config.EventSync, "N=quick")
	for deadline := time.Now().Add(patience); read(t, other) == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a hook that hangs holds up another one")
		}
	}
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.Close(patience)
	lines := strings.Fields(read(t, out))
	if len(lines) != 1+queueMax || lines[len(lines)-1] != "999" || lines[1] != fmt.Sprint(1000-queueMax) {
		t.Errorf("the hook saw %v", lines)
	}
	if !strings.Contains(log.String(), "events=984") {
		t.Errorf("what was lost is not told:\n%s", log)
	}
}

// TestHooks_Close: a program that does not end does not keep the daemon from ending.
func TestHooks_Close(t *testing.T) {
	dir := t.TempDir()
	r := New([]Hook{hook(script(t, dir, "hangs", "exec sleep 1000"), config.EventRole)}, slog.New(slog.DiscardHandler))
	r.hooks[0].Timeout = time.Hour
	r.Tell(config.EventRole)
	done := make(chan struct{})
	go func() { r.Close(10 * time.Millisecond); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("it waits for the program")
	}
	var none *Runner
	none.Tell(config.EventRole)
	none.Close(0)
}

// TestHooks_Parallel: no more than Parallel programs run at once.
func TestHooks_Parallel(t *testing.T) {
	dir := t.TempDir()
	gate, out := filepath.Join(dir, "gate"), filepath.Join(dir, "out")
	path := script(t, dir, "s", "echo run >> "+out+"; while ! test -e "+gate+"; do sleep 0.01; done")
	var all []Hook
	for range 2 * Parallel {
		all = append(all, hook(path, config.EventRole))
	}
	r := New(all, slog.New(slog.DiscardHandler))
	r.Tell(config.EventRole)
	running := func() int { return strings.Count(read(t, out), "run") }
	for deadline := time.Now().Add(patience); running() < Parallel; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d programs run", running())
		}
	}
	if n := len(r.slots); n != Parallel || running() != Parallel {
		t.Errorf("%d programs run, %d slots are taken", running(), n)
	}
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.Close(patience)
	if running() != 2*Parallel {
		t.Errorf("%d programs ran", running())
	}
}
