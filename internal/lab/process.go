package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Program is what to run in a namespace.
type Program struct {
	Path   string   // looked up in PATH when it has no slash
	Args   []string // without the program's name
	Env    []string // nil: that of this process
	Stdout io.Writer
	Stderr io.Writer
}

// Process is a program running in a namespace, leader of a process group of its own,
// so that a Ctrl-C at the terminal reaches only who started the laboratory.
type Process struct {
	name    string
	command *exec.Cmd
	done    chan struct{}
	ended   time.Time // valid after done
	err     error     // valid after done

	mu   sync.Mutex
	over bool // the leader has ended: its number may belong to another soon
}

// Start runs a program in the namespace. It dies by SIGKILL, with everything it
// started in its process group, when ctx ends, when the laboratory is closed and when
// this process dies (there the group's other members live on until they notice).
//
// The parent-death signal follows the thread that started the child (prctl(2),
// PR_SET_PDEATHSIG), so that thread lives exactly as long as the child.
func (n *Namespace) Start(ctx context.Context, program Program) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", program.Path, n.name, err)
	}
	command := exec.Command(program.Path, program.Args...)
	command.Env, command.Stdout, command.Stderr = program.Env, program.Stdout, program.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{name: program.Path, command: command, done: make(chan struct{})}

	started := make(chan error)
	startOnThread(func() {
		if err := n.enter(); err != nil {
			started <- err
			return
		}
		if err := command.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.reap()
	})
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", program.Path, n.name, err)
	}
	if err := n.lab.addProcess(p); err != nil {
		p.end()
		<-p.done
		return nil, fmt.Errorf("start %s in %s: %w", program.Path, n.name, err)
	}
	stop := context.AfterFunc(ctx, p.end)
	go func() {
		<-p.done
		stop()
	}()
	return p, nil
}

// reap waits for the leader, takes its group along while its number is still its own
// (a zombie keeps it), and then lets go of it.
func (p *Process) reap() {
	pid := p.command.Process.Pid
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	p.ended = time.Now()
	p.mu.Lock()
	p.over = true
	_ = unix.Kill(-pid, unix.SIGKILL) // ESRCH: it was alone
	p.mu.Unlock()
	p.err = p.command.Wait()
	close(p.done)
}

// Pid returns the process number, as this process sees it.
func (p *Process) Pid() int { return p.command.Process.Pid }

// Kill sends a signal to the program itself, not to its group. os.ErrProcessDone
// after its end.
func (p *Process) Kill(signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return fmt.Errorf("%s to %s (pid %d): %w", signal, p.name, p.Pid(), os.ErrProcessDone)
	}
	if err := unix.Kill(p.Pid(), signal); err != nil {
		return fmt.Errorf("%s to %s (pid %d): %w", signal, p.name, p.Pid(), err)
	}
	return nil
}

// end kills the whole group.
func (p *Process) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		_ = unix.Kill(-p.Pid(), unix.SIGKILL) // cannot fail: the leader is not reaped, and it is ours
	}
}

// Done is closed when the program has ended and its output is complete.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended returns when the kernel reported the end; valid after Done.
func (p *Process) Ended() time.Time { return p.ended }

// Wait returns how the program ended, as exec.Cmd.Wait does: nil after exit 0, an
// *exec.ExitError otherwise. Any number of callers may wait.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}
