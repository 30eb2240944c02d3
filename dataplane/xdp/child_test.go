package xdp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
)

// The environment makes the test binary play a daemon instead of running tests.
const (
	roleVariable = "HOLDFAST_XDP_ROLE"
	attachRole   = "attach"  // attaches, brings up, holds a living socket, waits to be killed
	privateRole  = "private" // the same behind a mount namespace of its own
	strictRole   = "strict"  // the same, and every file system there is read-only
	netnsRole    = "netns"   // the same, started by `ip netns exec`
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := play(role); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func play(role string) error {
	if role == attachRole {
		return playDaemon()
	}
	// The mount namespace is the calling thread's; exec makes it the process's.
	runtime.LockOSThread()
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		return fmt.Errorf("private mount namespace: %w", err)
	}
	command := []string{"/proc/self/exe"}
	switch role {
	case strictRole: // what ProtectSystem=strict does (systemd.exec(5))
		all := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &all); err != nil {
			return fmt.Errorf("all read-only: %w", err)
		}
	case netnsRole: // the name of the namespace is seen in this mount namespace only
		ip, err := exec.LookPath("ip")
		if err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if err := nameNamespace("holdfast-test"); err != nil {
			return err
		}
		command = []string{ip, "netns", "exec", "holdfast-test", self}
	}
	if err := os.Setenv(roleVariable, attachRole); err != nil {
		return err
	}
	return unix.Exec(command[0], command, os.Environ())
}

// nameNamespace gives the current network namespace a name, as `ip netns attach` does.
func nameNamespace(name string) error {
	return errors.Join(
		unix.Mount("tmpfs", "/run", "tmpfs", 0, ""),
		os.Mkdir("/run/netns", 0o755),
		os.WriteFile("/run/netns/"+name, nil, 0o444),
		unix.Mount("/proc/thread-self/ns/net", "/run/netns/"+name, "", unix.MS_BIND, ""))
}

func playDaemon() error {
	program, err := Attach(Config{Device: portName})
	if err != nil {
		return err
	}
	fd, err := probeSocket()
	if err != nil {
		return err
	}
	if err := errors.Join(program.SetSocket(0, fd), program.Up()); err != nil {
		return err
	}
	fmt.Println("attached", os.Getpid())
	for {
		_ = unix.Pause()
	}
}

// TestSilenceAfterDeath: a daemon that is shot leaves a mute device, however it was
// started; the next one may have it, and Detach gives it back.
func TestSilenceAfterDeath(t *testing.T) {
	for _, role := range []string{attachRole, privateRole, strictRole, netnsRole} {
		t.Run(role, func(t *testing.T) {
			if _, err := exec.LookPath("ip"); role == netnsRole && err != nil {
				t.Skip("skipped, needs the program `ip` (iproute2)")
			}
			p := newPort(t, ordinary)
			var out output
			process := must(p.node.Start(context.Background(), lab.Program{
				Path: "/proc/self/exe", Env: append(os.Environ(), roleVariable+"="+role), Stdout: &out, Stderr: &out}))(t)
			out.daemon(t)
			check(t, process.Kill(unix.SIGSTOP)) // a stopped daemon is mute as well
			p.provoke(t)
			p.mute(t, provoked)
			if _, err := p.tryAttach(); !errors.Is(err, ErrInUse) {
				t.Errorf("Attach beside a living daemon: %v, want ErrInUse", err)
			}
			check(t, process.Kill(unix.SIGKILL))
			<-process.Done()
			p.afterDeath(t)
		})
	}
}

// afterDeath demands what a dead daemon leaves behind.
func (p *port) afterDeath(t *testing.T) {
	t.Helper()
	if !p.attached(t) || !p.isUp(t) {
		t.Fatal("the attachment went with the process")
	}
	conn := p.receiver(t)
	p.provoke(t)
	p.sendTo(t, "dead")
	p.mute(t, provoked)
	p.attach(t)
	check(t, p.detach())
	p.speaks(t)
	p.sendTo(t, "detached")
	if text := read(t, conn); text != "detached" {
		t.Errorf("the kernel received %q on the attached port", text)
	}
}

// TestSilenceAfterDeathSystemd: the same for a service with ProtectSystem=strict.
func TestSilenceAfterDeathSystemd(t *testing.T) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("skipped, needs a machine that systemd runs (sd_booted(3)); the role strict of TestSilenceAfterDeath stands in for it")
	}
	if _, err := exec.LookPath("systemd-run"); err != nil {
		t.Skip("skipped, needs the program `systemd-run`")
	}
	p := newPort(t, ordinary)
	var out output
	self := must(os.Executable())(t)
	command := exec.Command("systemd-run", "--pipe", "--wait", "--collect", "--quiet",
		"-p", "ProtectSystem=strict", "-p", "NetworkNamespacePath="+p.node.Path(),
		"-E", roleVariable+"="+attachRole, self)
	command.Stdout, command.Stderr = &out, &out
	check(t, command.Start())
	pid := out.daemon(t)
	check(t, unix.Kill(pid, syscall.SIGKILL)) // the service's, which this test started
	_ = command.Wait()                        // says that the service was killed
	p.afterDeath(t)
}

// output gathers what a process says.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// daemon waits until the daemon has attached and returns its process number.
func (o *output) daemon(t *testing.T) (pid int) {
	t.Helper()
	eventually(t, "the daemon attached", func() bool {
		lines := bufio.NewScanner(strings.NewReader(o.String()))
		for lines.Scan() {
			number, found := strings.CutPrefix(lines.Text(), "attached ")
			if !found {
				t.Fatalf("the daemon says %q", lines.Text())
			}
			pid, _ = strconv.Atoi(number)
		}
		return pid != 0
	})
	return pid
}
