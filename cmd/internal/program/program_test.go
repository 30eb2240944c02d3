package program

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script writes a shell script.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun(t *testing.T) {
	for _, row := range []struct {
		script, output, err string
	}{
		{"exit 0", "", ""},
		{`echo "$1 $WORD $(pwd)"`, "an argument a;word /", ""},
		{"echo wrong >&2; exit 3", "wrong", "exit status 3"},
		{"kill -SEGV $$", "", "signal: segmentation fault"},
		{"exec sleep 1000", "", "killed after"},
	} {
		path := script(t, row.script)
		timeout := 10 * time.Second
		if strings.Contains(row.err, "killed") {
			timeout = 50 * time.Millisecond
		}
		out, err := Run(context.Background(), Command{[]string{path, "an argument"}, []string{"WORD=a;word"}, timeout})
		if row.err == "" && err != nil || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%s: error %v", row.script, err)
		}
		if out != row.output {
			t.Errorf("%s: output %q", row.script, out)
		}
	}
	if _, err := Run(context.Background(), Command{[]string{"/nowhere/nothing"}, nil, time.Second}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a program that is not there: %v", err)
	}
}

// TestRun_EndsAll: what a program has started ends with it when its time is over.
func TestRun_EndsAll(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	path := script(t, "sleep 1000 & echo $! > "+pid+"; wait")
	if _, err := Run(context.Background(), Command{[]string{path}, nil, 500 * time.Millisecond}); err == nil {
		t.Fatal("it ended by itself")
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			syscall.Kill(child, syscall.SIGKILL)
			t.Fatalf("its child lives: %s", stat)
		}
	}
}

// TestRun_Output: a program that writes without end is not kept in memory.
func TestRun_Output(t *testing.T) {
	out, err := Run(context.Background(), Command{[]string{script(t, "yes | head -c 10000000")}, nil, 10 * time.Second})
	if err != nil || len(out) > outputMax || len(out) < outputMax-1 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}
