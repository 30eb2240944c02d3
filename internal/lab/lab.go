package lab

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrClosed is returned by whatever is asked of a laboratory after Close.
var ErrClosed = errors.New("lab: closed")

// Lab owns namespaces and all that was made inside them. Make one with New.
type Lab struct {
	mu         sync.Mutex
	closed     bool
	closeDone  chan struct{} // closed when the first Close has finished
	closeError error         // valid after closeDone
	namespaces []*Namespace
	processes  map[*Process]struct{}
	captures   map[*Capture]struct{}
}

// New returns an empty laboratory. It fails with the reason where the process may
// not make network namespaces; see Available.
func New() (*Lab, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	return &Lab{
		closeDone: make(chan struct{}),
		processes: make(map[*Process]struct{}),
		captures:  make(map[*Capture]struct{}),
	}, nil
}

// Close ends every process (SIGKILL, to all of its process group) and waits for it,
// stops the captures, deletes the links and lets the namespaces go. A second call
// waits for the first and returns the same error.
//
// Sockets that Listen or Dial handed out belong to the caller: their namespace stays,
// empty, until they are closed too.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		<-l.closeDone
		return l.closeError
	}
	l.closed = true
	processes, captures, namespaces := l.processes, l.captures, l.namespaces
	l.processes, l.captures, l.namespaces = nil, nil, nil
	l.mu.Unlock()

	var errs []error
	for p := range processes {
		p.end()
	}
	for p := range processes {
		<-p.Done()
	}
	for c := range captures {
		if err := c.Stop(); err != nil {
			errs = append(errs, err)
		}
	}
	for _, n := range namespaces {
		if err := n.deleteLinks(); err != nil {
			errs = append(errs, err)
		}
	}
	for _, n := range namespaces {
		n.close()
	}
	l.closeError = errors.Join(errs...)
	close(l.closeDone)
	return l.closeError
}

// addNamespace, addProcess and addCapture hand what was made to Close. They refuse
// once Close has begun; the caller then takes it back itself.
func (l *Lab) addNamespace(n *Namespace) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.namespaces = append(l.namespaces, n)
	return nil
}

func (l *Lab) addProcess(p *Process) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.processes[p] = struct{}{}
	return nil
}

func (l *Lab) addCapture(c *Capture) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.captures[c] = struct{}{}
	return nil
}

// forget drops a capture that was stopped by hand.
func (l *Lab) forget(c *Capture) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.captures, c)
}

var available = sync.OnceValue(func() error {
	if unix.Geteuid() != 0 {
		return errors.New("lab: needs root to make network namespaces: run as root")
	}
	result := make(chan error)
	startOnThread(func() { result <- unix.Unshare(unix.CLONE_NEWNET) })
	if err := <-result; err != nil {
		return fmt.Errorf("lab: this process may not make network namespaces (it needs CAP_SYS_ADMIN and a kernel with CONFIG_NET_NS): %w", err)
	}
	return nil
})

// Available says why a laboratory cannot be built here, or nil.
func Available() error { return available() }

// TB is what the laboratory needs of testing.TB; the demo, which is no test, does
// not have to link that package.
type TB interface {
	Helper()
	Cleanup(func())
	Skipf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Require skips the test with the reason where no laboratory can be built.
func Require(tb TB) {
	tb.Helper()
	if err := Available(); err != nil {
		tb.Skipf("skipped, needs network namespaces: %v", err)
	}
}

// ForTest returns a laboratory that is closed when the test ends, or skips the test
// where none can be built.
func ForTest(tb TB) *Lab {
	tb.Helper()
	Require(tb)
	l, err := New()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Errorf("closing the laboratory: %v", err)
		}
	})
	return l
}
