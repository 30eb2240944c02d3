package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is one network namespace: a host, a switch or a node of the laboratory.
type Namespace struct {
	lab    *Lab
	name   string
	handle *netlink.Handle // a netlink socket inside

	mu     sync.RWMutex // held for reading while the descriptor is in use
	fd     int          // the only thing that keeps an idle namespace; -1 once closed
	closed bool
}

// sysctls are written into every new namespace, before the first link is made. A
// missing one (IPv6 not built in) is passed over.
var sysctls = []struct{ path, value string }{
	{"net/ipv6/conf/all/accept_ra", "0"}, // nothing is learnt from routers
	{"net/ipv6/conf/default/accept_ra", "0"},
	{"net/ipv6/conf/all/router_solicitations", "0"}, // and none is asked
	{"net/ipv6/conf/default/router_solicitations", "0"},
	{"net/ipv6/conf/all/accept_dad", "0"}, // addresses are usable at once
	{"net/ipv6/conf/default/accept_dad", "0"},
	{"net/ipv6/conf/all/dad_transmits", "0"},
	{"net/ipv6/conf/default/dad_transmits", "0"},
	{"net/ipv4/ping_group_range", "0 2147483647"}, // unprivileged echo sockets, see Echo
}

// Namespace makes a network namespace with its loopback up and without the chatter
// that IPv6 makes of itself (router solicitations, duplicate address detection).
// name serves error messages only and need not be unique.
func (l *Lab) Namespace(name string) (*Namespace, error) {
	n := &Namespace{lab: l, name: name, fd: -1}
	result := make(chan error)
	startOnThread(func() { result <- n.create() })
	if err := <-result; err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	if err := l.addNamespace(n); err != nil {
		n.close()
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	if err := n.Up("lo"); err != nil {
		return nil, err
	}
	return n, nil
}

// create runs on a thread of its own, which it moves into the new namespace.
func (n *Namespace) create() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening it: %w", err)
	}
	for _, s := range sysctls {
		if err := writeSysctl(s.path, s.value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			_ = unix.Close(fd)
			return err
		}
	}
	// netlink.NewHandleAt is not used: it ignores a failed return to the old namespace.
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("netlink: %w", err)
	}
	n.fd, n.handle = fd, handle
	return nil
}

// Name returns the name that Lab.Namespace was given.
func (n *Namespace) Name() string { return n.name }

// Fd returns the descriptor that holds the namespace, for setns and for moving links
// (netlink.LinkSetNsFd). It belongs to the laboratory: do not close it. -1 after Close.
func (n *Namespace) Fd() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.fd
}

// Path names the namespace for other processes, as in `nsenter --net=PATH`, while
// this process lives.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.Fd()) }

// NsHandle returns the descriptor in the form that package netlink takes.
func (n *Namespace) NsHandle() netns.NsHandle { return netns.NsHandle(n.Fd()) }

// Handle returns a netlink socket inside the namespace, for whatever this package has
// no word for. It may be used from any goroutine and is closed with the laboratory.
func (n *Namespace) Handle() *netlink.Handle { return n.handle }

// Do runs fn on a thread inside the namespace and returns its error. Goroutines that
// fn starts are outside again. A panic or a runtime.Goexit (testing's FailNow) of fn
// goes on in the caller. Processes are started with Start, not here: the thread ends
// with fn, and a parent-death signal would end its children with it.
func (n *Namespace) Do(fn func() error) error {
	const (
		panicked = iota // unless told otherwise
		returned
		entering
	)
	var (
		err   error
		value any
		stack []byte
		end   = entering
		done  = make(chan struct{})
	)
	startOnThread(func() {
		defer close(done)
		if err = n.enter(); err != nil {
			return
		}
		end = panicked
		defer func() {
			if end == panicked {
				value, stack = recover(), debug.Stack()
			}
		}()
		err = fn()
		end = returned
	})
	<-done
	if end == panicked {
		if value == nil {
			runtime.Goexit()
		}
		panic(fmt.Sprintf("in namespace %s: %v\n\n%s", n.name, value, stack))
	}
	return err
}

// enter moves the calling thread, which must be one of startOnThread, inside.
func (n *Namespace) enter() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.closed {
		return fmt.Errorf("namespace %s: %w", n.name, ErrClosed)
	}
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("namespace %s: setns: %w", n.name, err)
	}
	return nil
}

// Sysctl writes a variable of the namespace, path as in "net/ipv4/ip_forward".
func (n *Namespace) Sysctl(path, value string) error {
	return n.Do(func() error {
		if err := writeSysctl(path, value); err != nil {
			return fmt.Errorf("namespace %s: %w", n.name, err)
		}
		return nil
	})
}

// writeSysctl writes /proc/sys/path; what is under net is that of the calling thread.
func writeSysctl(path, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0)
}

// close lets the namespace go; the kernel ends it once nothing is inside.
func (n *Namespace) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.closed = true
	n.handle.Close()
	_ = unix.Close(n.fd) // a namespace has nothing to flush
	n.fd = -1
}
