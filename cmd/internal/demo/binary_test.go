package demo

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/internal/lab"
	"holdfast/sync/seal"
)

var (
	buildOnce   sync.Once
	builtBinary string
	buildErr    error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if builtBinary != "" {
		os.RemoveAll(filepath.Dir(builtBinary))
	}
	os.Exit(code)
}

// built returns the holdfast binary, built once for all tests of the package.
func built(t *testing.T) string {
	t.Helper()
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "holdfast-test-")
		if err != nil {
			buildErr = err
			return
		}
		builtBinary = filepath.Join(dir, "holdfast")
		out, err := exec.Command("go", "build", "-o", builtBinary, "holdfast/cmd/holdfast").CombinedOutput()
		if err != nil {
			t.Logf("%s", out)
		}
		buildErr = err
	})
	if buildErr != nil {
		t.Fatalf("building the binary: %v", buildErr)
	}
	return builtBinary
}

// require skips the test where the demo cannot run.
func require(t *testing.T) {
	t.Helper()
	lab.Require(t)
	if fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW, 0); err != nil {
		t.Skipf("no AF_XDP here: %v", err)
	} else {
		unix.Close(fd)
	}
}

// newTrial builds a lab with both nodes configured and none running.
func newTrial(t *testing.T) *trial {
	t.Helper()
	require(t)
	o := Defaults()
	o.Binary, o.key = built(t), string(seal.FormatKeyFile(seal.NewKey()))
	o.Progress = testWriter{t}
	tr := &trial{Options: o, clock: time.Now()}
	var err error
	if tr.net, err = build(t.TempDir(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// role asks a node what it is, "" while it does not answer.
func role(nd *node) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := api.NewClient(nd.socket).Status(ctx, false)
	if err != nil || len(s.Groups) == 0 {
		return ""
	}
	return s.Groups[0].Role
}

// eventually waits for a condition with a deadline.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := poll(ctx, what, func() (bool, error) { return ok(), nil }); err != nil {
		t.Fatal(err)
	}
}
