package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/dataplane/xsk"
	"holdfast/internal/lab"
)

// A start that is refused says why, once, and leaves the machine as it was: no TAP, no
// program, the devices up or down and with the addresses they had, the socket free. The
// devices are up with addresses of their own, which is what a mistake would destroy.
func TestRefusedStartLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		queues int // of lan
		make   func(t *testing.T, p *place)
		words  []string
	}{
		"missing device": {
			make: func(_ *testing.T, p *place) {
				p.files.replace("node.toml", `wan = { device = "wan" }`, `wan = { device = "eth7" }`)
			},
			words: []string{"port wan", "eth7", "ip link"},
		},
		"loopback": {
			make: func(_ *testing.T, p *place) {
				p.files.replace("node.toml", `wan = { device = "wan" }`, `wan = { device = "lo" }`)
			},
			words: []string{"port wan", "lo ", "loopback"},
		},
		"MTU too large": {
			make: func(t *testing.T, p *place) {
				if err := p.withLink("wan", func(l netlink.Link) error { return p.Handle().LinkSetMTU(l, 9000) }); err != nil {
					t.Fatal(err)
				}
			},
			words: []string{"port wan", "MTU of 9000", "ip link set wan mtu 1500"},
		},
		"program of somebody else": {
			make:  func(t *testing.T, p *place) { foreignProgram(t, p, "wan") },
			words: []string{"port wan", "program of somebody else", "ip link set dev wan xdp off"},
		},
		"queue taken": {
			make:  func(t *testing.T, p *place) { takeQueue(t, p, "wan") },
			words: []string{"wan", "device already taken", "ss --xdp -ap"},
		},
		"TAP name taken": {
			make: func(t *testing.T, p *place) {
				if err := p.Bridge("hf-wan"); err != nil { // a device of any kind
					t.Fatal(err)
				}
			},
			words: []string{"port wan", "hf-wan", "name is taken"},
		},
		"TAP name taken, on a VLAN": {
			make: func(_ *testing.T, p *place) {
				p.files.replace("node.toml", `wan = { device = "wan" }`, `wan = { device = "wan", vlan = 30 }`)
				if err := p.Bridge("hf-wan"); err != nil {
					t.Fatal(err)
				}
			},
			words: []string{"port wan", "hf-wan", "name is taken"},
		},
		"fewer queues than workers": {
			queues: 4,
			make: func(_ *testing.T, p *place) {
				p.files.write("node.toml", nodeText+"\n[limits]\nworkers = 2\n", 0o600)
			},
			words: []string{"wan has 1 receive", "2 workers", "ethtool -L wan combined 2"},
		},
		"more workers than four queues": {
			queues: 4,
			make: func(_ *testing.T, p *place) {
				p.files.write("node.toml", nodeText+"\n[limits]\nworkers = 8\n", 0o600)
			},
			words: []string{"lan has 4 receive", "8 workers", "ethtool -L lan combined 8", "run 4 workers"},
		},
		"sync address of another machine": {
			make:  func(_ *testing.T, p *place) { p.files.replace("node.toml", "192.0.2.1:7400", "192.0.2.77:7400") },
			words: []string{"sync link", "192.0.2.77:7400", "cannot assign requested address", "`links`"},
		},
		"sync device missing": {
			make:  func(_ *testing.T, p *place) { p.files.replace("node.toml", `device = "sync"`, `device = "eth9"`) },
			words: []string{"sync link", `"eth9"`, "no such device", "`links`"},
		},
		"gateway out of reach": {
			make: func(_ *testing.T, p *place) {
				p.files.write("policy.toml", policyText+"\n[gateways.isp]\nport = \"wan\"\naddress = \"192.0.2.200\"\n", 0o600)
			},
			words: []string{"192.0.2.200", "wan"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.queues)
			p := s.places[0]
			raise(t, p.Namespace, "lan", 1)
			raise(t, p.Namespace, "wan", 2)
			c.make(t, p)
			before := settled(t, p.Namespace)
			in(t, p.Namespace, nil, built(t), "run", "--config", p.files.node).refused(t, exitRefused, c.words...)
			stands(t, p.Namespace, before)
			p.files.untouched()
		})
	}
}

// settled is the picture once the kernel has given every link that is up its own address.
func settled(t *testing.T, ns *lab.Namespace) (now string) {
	t.Helper()
	eventually(t, "the links have come up", func() bool {
		now = picture(t, ns)
		for _, device := range []string{"lan", "wan", "sync"} {
			up := strings.Contains(now, "link "+device+" veth up=true")
			if up && strings.Count(now, "address fe80::") < strings.Count(now, "veth up=true") {
				return false
			}
		}
		return true
	})
	return now
}

func (p *place) withLink(name string, do func(netlink.Link) error) error {
	l, err := p.Link(name)
	if err != nil {
		return err
	}
	return do(l)
}

// foreignProgram attaches an XDP program that lets everything pass.
func foreignProgram(t *testing.T, p *place, device string) {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "somebody", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, // XDP_PASS
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close() // the device keeps it
	if err := p.withLink(device, func(l netlink.Link) error {
		return p.Do(func() error { return netlink.LinkSetXdpFdWithFlags(l, program.FD(), unix.XDP_FLAGS_SKB_MODE) })
	}); err != nil {
		t.Fatal(err)
	}
}

// takeQueue binds an AF_XDP socket of this process to the device's first queue.
func takeQueue(t *testing.T, p *place, device string) {
	t.Helper()
	umem, err := xsk.NewUmem(64)
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.Link(device)
	if err != nil {
		t.Fatal(err)
	}
	var s *xsk.Socket
	rings := xsk.RingSizes{Fill: 16, Rx: 16, Tx: 16, Completion: 16}
	if err := p.Do(func() error {
		s, err = xsk.Open(xsk.Config{Ifindex: l.Attrs().Index, Umem: umem, Rings: rings, Modes: []xsk.Mode{xsk.ModeCopy}, TxBudget: 16})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if err := umem.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Without root a start is refused before anything is touched, and so is `detach`.
func TestWithoutRoot(t *testing.T) {
	f := newFiles(t)
	if os.Geteuid() != 0 {
		f.alone()
		holdfast(t, "run", "--config", f.node).refused(t, exitRefused, "needs root", "CAP_NET_ADMIN")
		return
	}
	s := newSite(t, 0)
	p := s.places[0]
	p.files.alone() // the key of a cluster would be root's alone
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(self), 0o755); err != nil { // go test's own folder
		t.Skipf("skipped, nobody else may run the test binary: %v", err)
	}
	before := settled(t, p.Namespace)
	run := func(args ...string) outcome {
		return in(t, p.Namespace, []string{asNobody + "=1"}, append([]string{self, built(t)}, args...)...)
	}
	run("run", "--config", p.files.node).refused(t, exitRefused, "needs root", "CAP_NET_ADMIN")
	run("detach", "--socket", filepath.Join(p.files.dir, "holdfast.sock")).refused(t, exitRefused, "root")
	stands(t, p.Namespace, before)
	p.files.untouched()
	// What only reads works.
	if got := run("check", p.files.node).said(t); !strings.Contains(got, "good") {
		t.Error(got)
	}
}

// A second daemon is refused, on the same socket and on the same devices, and the first
// does not notice; `detach` is refused too.
func TestSecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	p := s.places[0]
	p.files.alone()
	d := start(t, p)
	eventually(t, "it is active", func() bool { return d.group().Role == "active" })
	before := picture(t, p.Namespace)
	run := func(args ...string) outcome { return in(t, p.Namespace, nil, append([]string{built(t)}, args...)...) }

	run("run", "--config", p.files.node).refused(t, exitRefused, "daemon is running", p.files.socket, "stop it first")

	other := newFiles(t)
	other.alone()
	run("run", "--config", other.node).refused(t, exitRefused, "port lan", "in use by a running holdfast", "stop that one first")
	other.untouched()

	run("detach", "--socket", p.files.socket).refused(t, exitRefused, "daemon is running", "stop it first")
	for _, args := range [][]string{{"detach"}, {"detach", "wan"}} { // as if it were another's socket
		o := run(append(args, "--socket", filepath.Join(other.dir, "other.sock"))...)
		if o.code != exitRefused || !strings.Contains(o.errors, "in use by a running holdfast") {
			t.Errorf("%v: exit %d: %s%s", args, o.code, o.out, o.errors)
		}
	}

	stands(t, p.Namespace, before)
	if _, err := d.ask(); err != nil || d.group().Role != "active" {
		t.Errorf("the first daemon is %q: %v", d.group().Role, err)
	}
	s.flow(t).answers(t)
}

// After the daemon's death the devices are mute; `detach` gives them back, and the kernel
// can speak on them again.
func TestDetachGivesTheDeviceBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	p := s.places[0]
	p.files.alone()
	first := start(t, p)
	first.stop(t, unix.SIGKILL)
	run := func(args ...string) outcome {
		return in(t, p.Namespace, nil, append([]string{built(t), "--socket", p.files.socket}, args...)...)
	}
	eventually(t, "the TAPs are gone with the daemon", func() bool { return !strings.Contains(picture(t, p.Namespace), "link hf-") })
	if now := picture(t, p.Namespace); strings.Count(now, "xdp=program") != 2 || strings.Count(now, "qdisc clsact") != 2 {
		t.Errorf("the dead daemon's devices are not mute:\n%s", now)
	}
	if got := run("detach", "wan").said(t); got != "wan is the kernel's again; it is down and has no addresses\n" {
		t.Errorf("%q", got)
	}
	if now := picture(t, p.Namespace); strings.Count(now, "xdp=program") != 1 || strings.Count(now, "qdisc clsact") != 1 {
		t.Errorf("after one of two:\n%s", now)
	}
	var gone struct{ Detached []string }
	if strict(t, run("detach", "--json").said(t), &gone); strings.Join(gone.Detached, " ") != "lan" {
		t.Errorf("%+v", gone)
	}
	if got := run("detach").said(t); !strings.Contains(got, "no device carries a program of Holdfast") {
		t.Errorf("%q", got)
	}
	run("detach", "eth7").refused(t, exitRefused, "eth7", "no such device")
	if now := picture(t, p.Namespace); strings.Contains(now, "program") || strings.Contains(now, "clsact") || strings.Contains(now, "link lan veth up=true") {
		t.Errorf("after detach:\n%s", now)
	}
	// The kernel speaks on it: the client answers a ping of the node's own.
	raiseLAN := func() error {
		if err := p.Address("lan", netipPrefix("10.0.0.1/24")); err != nil {
			return err
		}
		return p.Up("lan")
	}
	if err := raiseLAN(); err != nil {
		t.Fatal(err)
	}
	conn, err := p.Dial(context.Background(), "udp", "", client.String()+":9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answered := make([]byte, 1)
	eventually(t, "the kernel's datagram is answered with port unreachable", func() bool {
		if _, err := conn.Write([]byte("x")); err != nil {
			return true // ECONNREFUSED: the client's kernel heard it
		}
		return nobodyThere(conn, answered)
	})
	// And the daemon can have it again.
	if err := p.Down("lan"); err != nil {
		t.Fatal(err)
	}
	d := start(t, p)
	eventually(t, "it is active again", func() bool { return d.group().Role == "active" })
}
