// Package program runs programs of the operator: in bounded time, with bounded output, and
// with everything that they have started ended with them.
//
// No shell takes a command apart, so nothing that comes from the network (a peer's name, a
// reason in words) can become one. What a program is told stands in its environment.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Command is a program with its arguments.
type Command struct {
	Argv    []string // the whole path first
	Env     []string // NAME=value, all that it gets beside Path
	Timeout time.Duration
}

// Path is what every program finds others by.
const Path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// outputMax is how much of a program's output is kept, in bytes.
const outputMax = 4096

// drained is how long the output of what a program has left behind is waited for.
const drained = 100 * time.Millisecond

// Run runs a command until it ends, its time is over or ctx ends; then it is killed with all
// of its process group. It returns the first 4 KiB of what it wrote. The error names the program
// and says how it ended.
func Run(ctx context.Context, c Command) (output string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var out limited
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append([]string{Path}, c.Env...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = drained
	err = cmd.Run()
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // it ended well; what it left behind holds the output open, and may
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("%s: killed after %v", c.Argv[0], c.Timeout)
	case err != nil:
		err = fmt.Errorf("%s: %w", c.Argv[0], err)
	}
	return strings.TrimSpace(out.b.String()), err
}

// limited keeps the beginning of what is written to it.
type limited struct{ b bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.b.Write(p[:min(len(p), outputMax-l.b.Len())])
	return len(p), nil
}
