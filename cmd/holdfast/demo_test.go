package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Ctrl-C in the middle of the demo: it says so and leaves no process, no namespace, no
// file. (Programs and interfaces live in the namespaces and go with them.)
func TestDemoLeavesNothingAfterCtrlC(t *testing.T) {
	requireAFXDP(t)
	binary := built(t) // before the clock runs
	for _, when := range []string{"building", "downloading"} {
		t.Run(when, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "hf-") // short: the nodes' sockets lie deep below it
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			out, errs := &log{}, &log{}
			defer func() {
				if t.Failed() {
					t.Logf("it said:\n%s%s", out, errs)
				}
			}()
			cmd := exec.CommandContext(ctx, binary, "demo")
			cmd.Stdout, cmd.Stderr = out, errs
			cmd.Env = append(os.Environ(), "TMPDIR="+dir)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pid := cmd.Process.Pid
			eventually(t, "it is "+when, func() bool { return strings.Contains(out.String(), when) })
			processes, spaces := family(t, pid)
			if when == "downloading" && (len(processes) != 2 || len(spaces) != 2) {
				t.Errorf("it has the processes %v in namespaces %v, want two nodes", processes, spaces)
			}
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitRefused {
				t.Errorf("it ended with %v: %s%s", err, out, errs)
			}
			if text := errs.String(); text != "holdfast: demo: interrupted; everything it had made is gone\n" {
				t.Errorf("it said %q", text)
			}
			for _, p := range processes {
				if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(p))); err == nil {
					t.Errorf("process %d is left", p)
				}
			}
			eventually(t, "nobody holds its namespaces", func() bool { return !held(spaces) })
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("files are left: %v, %v", left, err)
			}
		})
	}
}

// family returns a process's children and the network namespaces that they live in.
func family(t *testing.T, pid int) (children []int, spaces []string) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // that thread has ended
		}
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			children = append(children, child)
			space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", child))
			if err == nil && !slices.Contains(spaces, space) {
				spaces = append(spaces, space)
			}
		}
	}
	return children, spaces
}

// held reports whether any process lives in one of the namespaces or has it open.
func held(spaces []string) bool {
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/proc/[0-9]*/fd/*"} {
		links, err := filepath.Glob(pattern)
		if err != nil {
			panic(err) // the pattern is wrong
		}
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && slices.Contains(spaces, to) {
				return true
			}
		}
	}
	return false
}
