package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
)

// asNobody in the environment makes the test binary become the program that its
// arguments name, without root.
const asNobody = "HOLDFAST_TEST_AS_NOBODY"

// nobody is a user without any rights of its own.
const nobody = 65534

var (
	buildOnce   sync.Once
	builtBinary string
	buildErr    error
)

func TestMain(m *testing.M) {
	if os.Getenv(asNobody) != "" {
		err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(nobody, nobody, nobody), syscall.Setresuid(nobody, nobody, nobody))
		if err == nil {
			err = syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	code := m.Run()
	for _, binary := range []string{builtBinary, markedBinary} {
		if binary != "" {
			os.RemoveAll(filepath.Dir(binary))
		}
	}
	os.Exit(code)
}

// built returns the holdfast binary, built once for all tests of the package, where
// everybody may run it.
func built(t *testing.T) string {
	t.Helper()
	buildOnce.Do(func() { builtBinary, buildErr = build(t) })
	if buildErr != nil {
		t.Fatalf("building the binary: %v", buildErr)
	}
	return builtBinary
}

// build builds the binary into a directory of its own, with further flags of `go build`.
func build(t *testing.T, flags ...string) (binary string, err error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "holdfast-test-")
	if err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "holdfast")
	args := append([]string{"build", "-buildvcs=false", "-o", binary, "-ldflags", "-X main.version=v1.2.3-test"}, flags...)
	out, err := exec.Command("go", append(args, ".")...).CombinedOutput()
	if err != nil {
		t.Logf("%s", out)
	}
	return binary, errors.Join(err, os.Chmod(dir, 0o755))
}

// outcome is how a command ended.
type outcome struct {
	code        int
	out, errors string
}

// patience is how long anything may take, on a machine that others use too.
const patience = 20 * time.Second

// holdfast runs a command here and waits for its end.
func holdfast(t *testing.T, args ...string) outcome {
	t.Helper()
	binary := built(t) // before the clock runs
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	return ended(t, err, &out, &errs)
}

// in runs a command in a namespace and waits for its end; env adds to the environment.
func in(t *testing.T, ns *lab.Namespace, env []string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	p, err := ns.Start(ctx, lab.Program{
		Path: args[0], Args: args[1:], Env: append(os.Environ(), env...), Stdout: &out, Stderr: &errs,
	})
	if err != nil {
		t.Fatal(err)
	}
	return ended(t, p.Wait(), &out, &errs)
}

func ended(t *testing.T, err error, out, errs *bytes.Buffer) outcome {
	t.Helper()
	o := outcome{out: out.String(), errors: errs.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		if o.code = exit.ExitCode(); o.code < 0 {
			t.Fatalf("it did not end by itself: %v\n%s%s", err, o.out, o.errors)
		}
	case err != nil:
		t.Fatal(err)
	}
	return o
}

// refused checks that a command ended with code, said nothing on standard output and one
// line of error, with all the words in it.
func (o outcome) refused(t *testing.T, code int, words ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit status %d, want %d", o.code, code)
	}
	if o.out != "" {
		t.Errorf("standard output: %s", o.out)
	}
	var said []string // the daemon's notices and warnings are log lines
	for _, line := range strings.Split(strings.TrimSpace(o.errors), "\n") {
		if !strings.HasPrefix(line, "time=") {
			said = append(said, line)
		}
	}
	if len(said) != 1 || said[0] == "" {
		t.Errorf("%d lines of error, want one: %s", len(said), o.errors)
	}
	for _, word := range words {
		if !strings.Contains(strings.Join(said, "\n"), word) {
			t.Errorf("the error lacks %q: %s", word, o.errors)
		}
	}
}

// said checks that a command was done without a complaint and returns what it said.
func (o outcome) said(t *testing.T) string {
	t.Helper()
	if o.code != exitDone || o.errors != "" {
		t.Fatalf("exit status %d: %s%s", o.code, o.out, o.errors)
	}
	return o.out
}

// strict reads one JSON object, and nothing else, that has no field that is not in v.
func strict(t *testing.T, text string, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if dec.More() {
		t.Fatalf("more than one object: %s", text)
	}
}

// eventually waits for a condition with a deadline.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %v until %s", patience, what)
		}
	}
}

// requireAFXDP skips the test where a daemon cannot run.
func requireAFXDP(t *testing.T) {
	t.Helper()
	lab.Require(t)
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW, 0)
	if err != nil {
		t.Skipf("skipped, no AF_XDP here: %v", err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}
