package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience bounds every wait of these tests; none of them takes that long.
const patience = 10 * time.Second

// roleVariable makes the test binary play a program of the laboratory instead of
// running tests.
const roleVariable = "HOLDFAST_LAB_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "parent": // says the number of a child that outlives its work, and waits
		child, err := os.StartProcess("/proc/self/exe", []string{"child"}, &os.ProcAttr{
			Env: []string{roleVariable + "=child"}, Files: []*os.File{nil, os.Stdout, os.Stderr}})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("child", child.Pid)
		waitForever()
	case "child":
		waitForever()
	case "builder": // builds a laboratory of its own and never closes it
		playBuilder()
	}
}

func waitForever() {
	for {
		_ = unix.Pause()
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// pair builds
//
//	ns left [x 10.9.0.1/24, fd00::1/64]==veth==[x 10.9.0.2/24, fd00::2/64] ns right
func pair(t *testing.T, l *Lab) (left, right *Namespace) {
	t.Helper()
	left, right = must(l.Namespace("left"))(t), must(l.Namespace("right"))(t)
	err := l.Veth(
		End{Namespace: left, Name: "x", Queues: 4, Addresses: prefixes("10.9.0.1/24", "fd00::1/64")},
		End{Namespace: right, Name: "x", Queues: 2, MTU: 1400, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Addresses: prefixes("10.9.0.2/24", "fd00::2/64")})
	if err != nil {
		t.Fatal(err)
	}
	return left, right
}

func prefixes(text ...string) (all []netip.Prefix) {
	for _, s := range text {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func TestVethHasWhatWasAsked(t *testing.T) {
	left, right := pair(t, ForTest(t))
	l, r := must(left.Link("x"))(t).Attrs(), must(right.Link("x"))(t).Attrs()
	if l.NumRxQueues != 4 || l.NumTxQueues != 4 || r.NumRxQueues != 2 || r.NumTxQueues != 2 {
		t.Errorf("queues: left %d/%d, right %d/%d", l.NumRxQueues, l.NumTxQueues, r.NumRxQueues, r.NumTxQueues)
	}
	if l.MTU != 1500 || r.MTU != 1400 {
		t.Errorf("MTU: left %d, right %d", l.MTU, r.MTU)
	}
	if r.HardwareAddr.String() != "02:00:00:00:00:09" {
		t.Errorf("right MAC %s", r.HardwareAddr)
	}
	if err := left.OffloadsOff("x"); err != nil {
		t.Fatal(err)
	}
	for _, get := range []uint32{unix.ETHTOOL_GTXCSUM, unix.ETHTOOL_GTSO, unix.ETHTOOL_GGSO, unix.ETHTOOL_GGRO} {
		if on := offload(t, left, "x", get); on != 0 {
			t.Errorf("left: offload %#x is %d", get, on)
		}
	}
	if err := right.OffloadsOff("x", TxChecksum); err != nil {
		t.Fatal(err)
	}
	if on := offload(t, right, "x", unix.ETHTOOL_GTXCSUM); on != 0 {
		t.Error("right: checksums are still open")
	}
	if on := offload(t, right, "x", unix.ETHTOOL_GGSO); on != 1 {
		t.Error("right: GSO went off although only checksums were named")
	}
}

func offload(t *testing.T, n *Namespace, link string, command uint32) (value uint32) {
	t.Helper()
	err := n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		value, err = ethtoolGet(fd, link, command)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestTwoLabsAtOnce(t *testing.T) {
	a, b := ForTest(t), ForTest(t)
	for i, l := range []*Lab{a, b} { // the same names and addresses in both
		left, right := pair(t, l)
		listener := must(right.Listen("tcp", "10.9.0.2:80"))(t)
		defer listener.Close()
		go func() {
			if conn, err := listener.Accept(); err == nil {
				fmt.Fprintf(conn, "lab %d", i)
				conn.Close()
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn := must(left.Dial(ctx, "tcp", "10.9.0.1:4444", "10.9.0.2:80"))(t)
		defer conn.Close()
		got := must(io.ReadAll(conn))(t)
		if want := fmt.Sprintf("lab %d", i); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestDoStaysInside(t *testing.T) {
	l := ForTest(t)
	n := must(l.Namespace("n"))(t)
	before := networkOf(t, "/proc/self/ns/net")
	inside := ""
	if err := n.Do(func() error { inside = networkOf(t, "/proc/thread-self/ns/net"); return nil }); err != nil {
		t.Fatal(err)
	}
	if inside == before || inside != networkOf(t, n.Path()) {
		t.Errorf("Do ran in %s, outside is %s, the namespace is %s", inside, before, networkOf(t, n.Path()))
	}
	if after := networkOf(t, "/proc/self/ns/net"); after != before {
		t.Errorf("the process moved from %s to %s", before, after)
	}
	sentinel := errors.New("its own error")
	if err := n.Do(func() error { return sentinel }); err != sentinel {
		t.Errorf("Do returned %v", err)
	}
	func() {
		defer func() {
			if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "boom") {
				t.Errorf("recovered %v", v)
			}
		}()
		_ = n.Do(func() error { panic("boom") })
	}()
	exited := make(chan bool)
	go func() {
		defer close(exited)
		_ = n.Do(func() error { runtime.Goexit(); return nil })
		exited <- false // not reached: Goexit goes on here
	}()
	if _, reached := <-exited; reached {
		t.Error("Do returned after Goexit")
	}
}

// networkOf names the namespace behind a /proc path, as "net:[4026531840]".
func networkOf(t *testing.T, path string) string {
	t.Helper()
	return must(os.Readlink(path))(t)
}

func TestNothingIsLeft(t *testing.T) {
	l := ForTest(t)
	left, right := pair(t, l)
	names := []string{networkOf(t, left.Path()), networkOf(t, right.Path())}
	var out lineWatcher
	process := must(left.Start(t.Context(), Program{Path: "/proc/self/exe", Env: []string{roleVariable + "=parent"}, Stdout: &out}))(t)
	var child int
	eventually(t, "the parent says its child", func() bool {
		_, err := fmt.Sscanf(out.String(), "child %d\n", &child)
		return err == nil
	})
	if got := networkOf(t, fmt.Sprintf("/proc/%d/ns/net", child)); got != names[0] {
		t.Errorf("the child is in %s, not in %s", got, names[0])
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	var exit interface{ ExitCode() int }
	if err := process.Wait(); !errors.As(err, &exit) {
		t.Errorf("the process ended with %v", err)
	}
	if err := process.Kill(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Kill after the end: %v", err)
	}
	eventually(t, "the grandchild is gone", func() bool { return !alive(child) })
	eventually(t, "no process and no descriptor holds the namespaces", func() bool { return !held(names) })
	if _, err := l.Namespace("late"); !errors.Is(err, ErrClosed) {
		t.Errorf("Namespace after Close: %v", err)
	}
	if _, err := left.Start(t.Context(), Program{Path: "/proc/self/exe"}); !errors.Is(err, ErrClosed) {
		t.Errorf("Start after Close: %v", err)
	}
}

// alive tells a running process from a zombie that init has not yet collected.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// held looks for the namespaces behind every thread and descriptor of the machine.
func held(names []string) bool {
	for _, pattern := range []string{"/proc/[0-9]*/task/[0-9]*/ns/net", "/proc/[0-9]*/fd/*"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			target, _ := os.Readlink(path) // ended meanwhile: holds nothing
			for _, name := range names {
				if target == name {
					return true
				}
			}
		}
	}
	return false
}

func TestCloseAfterPanic(t *testing.T) {
	Require(t)
	var names []string
	func() {
		defer func() { _ = recover() }()
		l := must(New())(t)
		defer l.Close()
		left, right := pair(t, l)
		names = []string{networkOf(t, left.Path()), networkOf(t, right.Path())}
		panic("the test fails here")
	}()
	eventually(t, "no process and no descriptor holds the namespaces", func() bool { return !held(names) })
}

func TestContextEndsProcess(t *testing.T) {
	n := must(ForTest(t).Namespace("n"))(t)
	ctx, cancel := context.WithCancel(t.Context())
	process := must(n.Start(ctx, Program{Path: "/proc/self/exe", Env: []string{roleVariable + "=child"}}))(t)
	cancel()
	select {
	case <-process.Done():
	case <-time.After(patience):
		t.Fatal("the process outlived its context")
	}
	if process.Ended().IsZero() || alive(process.Pid()) {
		t.Error("it is not over")
	}
}

// TestSurvivesNoKill kills the process that holds a laboratory.
//
//	ns outer [witness]==veth==[inner] ns of the builder's own laboratory
//
// Once nobody holds the inner namespace, the kernel ends it, and the witness with it.
func TestSurvivesNoKill(t *testing.T) {
	outer := must(ForTest(t).Namespace("outer"))(t)
	var out lineWatcher
	builder := must(outer.Start(t.Context(), Program{Path: "/proc/self/exe", Env: []string{roleVariable + "=builder"}, Stdout: &out, Stderr: &out}))(t)
	var child int
	eventually(t, "the builder is ready", func() bool {
		_, err := fmt.Sscanf(out.String(), "ready %d\n", &child)
		select {
		case <-builder.Done():
			t.Fatalf("the builder failed: %s", out.String())
		default:
		}
		return err == nil
	})
	must(outer.Link("witness"))(t)
	if err := builder.Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = builder.Wait() // killed
	eventually(t, "the program in the inner namespace is gone", func() bool { return !alive(child) })
	eventually(t, "the witness is gone", func() bool {
		_, err := outer.Link("witness")
		return err != nil
	})
}

func playBuilder() {
	l, err := New()
	if err != nil {
		panic(err)
	}
	inner, err := l.Namespace("inner")
	if err != nil {
		panic(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "witness"
	veth := netlink.NewVeth(attrs)
	veth.PeerName = "inner"
	veth.PeerNamespace = netlink.NsFd(inner.Fd())
	if err := netlink.LinkAdd(veth); err != nil {
		panic(err)
	}
	process, err := inner.Start(context.Background(), Program{Path: "/proc/self/exe", Env: []string{roleVariable + "=child"}})
	if err != nil {
		panic(err)
	}
	fmt.Println("ready", process.Pid())
	waitForever()
}

// TestCapture sends through a switch and looks at what one port received.
//
//	ns left [x 10.9.1.1]==veth==[p0]--bridge--[p1]==veth==[x 10.9.1.2] ns right
func TestCapture(t *testing.T) {
	l := ForTest(t)
	left, right, sw := must(l.Namespace("left"))(t), must(l.Namespace("right"))(t), must(l.Namespace("switch"))(t)
	if err := sw.Bridge("bridge"); err != nil {
		t.Fatal(err)
	}
	for i, host := range []*Namespace{left, right} {
		port := fmt.Sprintf("p%d", i)
		if err := l.Veth(End{Namespace: host, Name: "x", Addresses: prefixes(fmt.Sprintf("10.9.1.%d/24", i+1))}, End{Namespace: sw, Name: port}); err != nil {
			t.Fatal(err)
		}
		if err := sw.Attach("bridge", port); err != nil {
			t.Fatal(err)
		}
	}
	isUDP := func(frame []byte) bool {
		return len(frame) > 23 && frame[12] == 8 && frame[13] == 0 && frame[23] == unix.IPPROTO_UDP
	}
	sent := must(sw.Capture("p0", CaptureOptions{Filter: isUDP, Keep: 10}))(t)
	silent := must(sw.Capture("p1", CaptureOptions{Filter: isUDP}))(t)

	receiver := must(right.ListenPacket("udp", "10.9.1.2:9"))(t)
	defer receiver.Close()
	conn := must(left.Dial(t.Context(), "udp", "10.9.1.1:7", "10.9.1.2:9"))(t)
	defer conn.Close()
	const frames = 1000
	begin := time.Now()
	buffer := make([]byte, 100)
	for i := range frames {
		must(fmt.Fprintf(conn, "datagram %d", i))(t)
		_ = receiver.SetReadDeadline(time.Now().Add(patience))
		if _, _, err := receiver.ReadFrom(buffer); err != nil {
			t.Fatal(err)
		}
	}
	if got := sent.Count(); got != frames {
		t.Errorf("captured %d frames of %d", got, frames)
	}
	if got := silent.Count(); got != 0 {
		t.Errorf("captured %d frames that were sent to the port, not received from it", got)
	}
	kept := sent.Frames()
	if len(kept) != 10 || !strings.HasSuffix(string(kept[3].Data), "datagram 3") {
		t.Fatalf("kept %d frames, the fourth is %q", len(kept), kept[min(3, len(kept)-1)].Data)
	}
	if kept[0].Time.Before(begin.Add(-time.Second)) || sent.Last().Before(kept[9].Time) || sent.Last().After(time.Now()) {
		t.Errorf("times: begin %v, first %v, last %v", begin, kept[0].Time, sent.Last())
	}
	for _, c := range []*Capture{sent, silent} {
		if err := errors.Join(c.Err(), c.Stop(), c.Stop(), c.Err()); err != nil {
			t.Error(err)
		}
	}
	if got := sent.Count(); got != frames {
		t.Errorf("after Stop: %d frames", got)
	}
}

func TestEcho(t *testing.T) {
	left, _ := pair(t, ForTest(t))
	for _, row := range []struct {
		from, to      string
		request, want byte
	}{
		{"10.9.0.1", "10.9.0.2", 8, 0},
		{"fd00::1", "fd00::2", 128, 129},
	} {
		conn := must(left.Echo(netip.MustParseAddr(row.from), 77))(t)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		message := []byte{row.request, 0, 0, 0, 0, 0, 0, 1, 'h', 'i'}
		must(conn.WriteTo(message, &net.UDPAddr{IP: net.ParseIP(row.to)}))(t)
		answer := make([]byte, 100)
		n, _, err := conn.ReadFrom(answer)
		if err != nil {
			t.Fatal(err)
		}
		if answer[0] != row.want || answer[5] != 77 || string(answer[8:n]) != "hi" {
			t.Errorf("answer % x", answer[:n])
		}
	}
}

func TestRoutesAndNeighbors(t *testing.T) {
	left, right := pair(t, ForTest(t))
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	err := errors.Join(
		left.DefaultRoute(netip.MustParseAddr("10.9.0.2")),
		left.DefaultRoute(netip.MustParseAddr("fd00::2")),
		left.Route(netip.MustParsePrefix("192.0.2.0/24"), netip.MustParseAddr("10.9.0.9"), "x"),
		left.Route(netip.MustParsePrefix("198.51.100.0/24"), netip.Addr{}, "x"),
		left.Neighbor("x", netip.MustParseAddr("10.9.0.9"), mac),
		right.Address("lo", netip.MustParsePrefix("203.0.113.1/32")),
	)
	if err != nil {
		t.Fatal(err)
	}
	listener := must(right.Listen("tcp", "203.0.113.1:80"))(t)
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(left.Dial(ctx, "tcp", "", "203.0.113.1:80"))(t).Close()
	if _, err := left.Dial(ctx, "tcp", "", "localhost:80"); err == nil {
		t.Error("a name was resolved outside the namespace")
	}
	if err := errors.Join(left.Down("x"), left.Up("x"), left.Delete("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := right.Link("x"); err == nil {
		t.Error("the other end outlived the pair")
	}
	if err := left.Up("x"); err == nil || !strings.Contains(err.Error(), "bring up: link x in left") {
		t.Errorf("Up of a missing link: %v", err)
	}
}

// lineWatcher is a buffer that may be read while a process writes it.
type lineWatcher struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *lineWatcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *lineWatcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}
