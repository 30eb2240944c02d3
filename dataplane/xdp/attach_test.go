package xdp

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// TestSilence: nothing of the kernel leaves an attached port, and nothing reaches the
// kernel through it, whatever hook the receive program got; Detach restores both.
func TestSilence(t *testing.T) {
	for _, row := range []struct {
		name string
		mtu  peerMTU
		hook Hook
	}{
		{"native", ordinary, HookNative},
		{"generic", jumbo, HookGeneric},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPort(t, row.mtu)
			program := p.attach(t)
			if program.Hook() != row.hook || (program.Fallback() == nil) != (row.hook == HookNative) {
				t.Errorf("hook %s, fallback because of %v; want %s", program.Hook(), program.Fallback(), row.hook)
			}
			if row.hook == HookGeneric && !strings.Contains(program.Fallback().Error(), "MTU") {
				t.Errorf("fallback because of %q, want the driver's own words", program.Fallback())
			}
			check(t, program.Up())
			conn := p.receiver(t)
			p.provoke(t)
			p.sendTo(t, "attached")
			p.mute(t, provoked)
			if n := must(program.Silenced())(t); n < provoked {
				t.Errorf("%d packets silenced, want at least %d", n, provoked)
			}

			check(t, program.Close())
			p.provoke(t)
			p.mute(t, 2*provoked)

			check(t, p.detach())
			p.speaks(t)
			p.sendTo(t, "detached")
			if text := read(t, conn); text != "detached" {
				t.Errorf("the kernel received %q on the attached port", text)
			}
		})
	}
}

func read(t *testing.T, conn net.PacketConn) string {
	t.Helper()
	check(t, conn.SetReadDeadline(time.Now().Add(patience)))
	var buffer [64]byte
	n, _, err := conn.ReadFrom(buffer[:])
	check(t, err)
	return string(buffer[:n])
}

// TestAttachUp: a device that is up is silenced and taken down; Up brings it back.
func TestAttachUp(t *testing.T) {
	p := newPort(t, ordinary)
	check(t, p.node.Up(portName))
	program := p.attach(t)
	if p.isUp(t) {
		t.Error("the device is still up after Attach")
	}
	check(t, program.Up())
	if !p.isUp(t) {
		t.Error("the device is down after Up")
	}
}

// TestReattach: a later Holdfast takes a dead one's device over, again and again, and
// not one frame of a kernel that never stops trying slips through.
func TestReattach(t *testing.T) {
	p := newPort(t, ordinary)
	check(t, p.attach(t).Up())
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				p.send(p.node, "192.0.2.255:9")
				p.send(p.node, "[ff02::1%port]:9")
			}
		}
	}()
	for range 10 {
		p.address(t)
		program := must(p.tryAttach())(t)
		check(t, program.Up())
		check(t, program.Close())
	}
	close(stop)
	<-stopped
	p.provoke(t)
	p.mute(t, provoked)
}

// TestReattachOtherHook: the earlier attachment was generic; now native is to be had.
func TestReattachOtherHook(t *testing.T) {
	p := newPort(t, ordinary)
	earlier := p.attach(t)
	receive := earlier.objects.HoldfastRx
	check(t, p.node.Do(func() error {
		return errors.Join(
			setIngress(earlier.Ifindex(), HookNative, none, receive),
			setIngress(earlier.Ifindex(), HookGeneric, receive.FD(), nil))
	}))
	program := p.attach(t)
	if program.Hook() != HookNative {
		t.Errorf("hook %s, want native: %v", program.Hook(), program.Fallback())
	}
	check(t, program.Up())
	p.provoke(t)
	p.mute(t, provoked)
}

// TestInUse: while the slots hold a living socket nobody else gets the device, and
// nobody opens it.
func TestInUse(t *testing.T) {
	p := newPort(t, ordinary)
	first := p.attach(t)
	fd := must(probeSocket())(t)
	check(t, first.SetSocket(3, fd))
	if _, err := p.tryAttach(); !errors.Is(err, ErrInUse) {
		t.Errorf("Attach to a device in use: %v, want ErrInUse", err)
	}
	if err := p.detach(); !errors.Is(err, ErrInUse) {
		t.Errorf("Detach from a device in use: %v, want ErrInUse", err)
	}
	check(t, first.Up())
	p.provoke(t)
	p.mute(t, provoked)
	check(t, unix.Close(fd))
	p.attach(t)
	check(t, p.detach())
}

// TestForeign: what somebody else attached is neither replaced nor worked around; the
// error names the device and the way out, and nothing has changed.
func TestForeign(t *testing.T) {
	for _, row := range []struct {
		name  string
		plant func(t *testing.T, p *port)
		hint  string
	}{
		{"xdp native", func(t *testing.T, p *port) { plantXDP(t, p, unix.XDP_FLAGS_DRV_MODE) }, "ip link set dev port xdp off"},
		{"xdp generic", func(t *testing.T, p *port) { plantXDP(t, p, unix.XDP_FLAGS_SKB_MODE) }, "ip link set dev port xdp off"},
		{"egress filter", plantFilter, "tc filter del dev port egress"},
		{"tcx", plantTCX, "bpftool net"},
		{"ingress qdisc", plantIngress, "tc qdisc del dev port ingress"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPort(t, ordinary)
			check(t, p.node.Up(portName))
			row.plant(t, p)
			_, err := p.tryAttach()
			if !errors.Is(err, ErrForeignProgram) || !strings.Contains(err.Error(), row.hint) {
				t.Fatalf("%v, want ErrForeignProgram with %q", err, row.hint)
			}
			t.Log(err)
			check(t, p.detach())
			if !p.isUp(t) || p.attached(t) {
				t.Error("the device of somebody else was changed")
			}
			p.speaks(t)
		})
	}
}

// allow makes a program that lets everything pass.
func allow(t *testing.T, kind ebpf.ProgramType) *ebpf.Program {
	t.Helper()
	verdict := map[ebpf.ProgramType]int32{ebpf.XDP: 2 /* XDP_PASS */, ebpf.SchedCLS: 0 /* TC_ACT_OK */}[kind]
	program := must(ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "somebody_else", Type: kind, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()},
	}))(t)
	t.Cleanup(func() { check(t, program.Close()) })
	return program
}

func plantXDP(t *testing.T, p *port, flags int) {
	device := must(p.node.Link(portName))(t)
	check(t, p.node.Do(func() error { return netlink.LinkSetXdpFdWithFlags(device, allow(t, ebpf.XDP).FD(), flags) }))
}

func plantFilter(t *testing.T, p *port) {
	device := must(p.node.Link(portName))(t)
	check(t, p.node.Handle().QdiscAdd(clsact(device)))
	check(t, p.node.Handle().FilterAdd(egressFilter(device, allow(t, ebpf.SchedCLS).FD())))
}

func plantTCX(t *testing.T, p *port) {
	device := must(p.node.Link(portName))(t)
	check(t, p.node.Do(func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: device.Attrs().Index, Program: allow(t, ebpf.SchedCLS), Attach: ebpf.AttachTCXEgress})
		if errors.Is(err, ebpf.ErrNotSupported) {
			t.Skip("skipped, this kernel has no tcx (Linux 6.6)")
		}
		if err == nil {
			t.Cleanup(func() { check(t, l.Close()) })
		}
		return err
	}))
}

func plantIngress(t *testing.T, p *port) {
	device := must(p.node.Link(portName))(t)
	check(t, p.node.Handle().QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: device.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}))
}

// TestDetach: addresses off and down first, then nothing of ours is left; filters of
// others keep their qdisc; a second call does nothing.
func TestDetach(t *testing.T) {
	p := newPort(t, ordinary)
	check(t, p.attach(t).Up())
	p.address(t)
	device := must(p.node.Link(portName))(t)
	foreign := egressFilter(device, allow(t, ebpf.SchedCLS).FD())
	foreign.Parent = netlink.HANDLE_MIN_INGRESS
	check(t, p.node.Handle().FilterAdd(foreign))

	check(t, p.detach())
	if p.isUp(t) || p.attached(t) {
		t.Error("after Detach the device is up or still ours")
	}
	if left := must(p.node.Handle().AddrList(device, netlink.FAMILY_ALL))(t); len(left) > 0 {
		t.Errorf("addresses left: %v", left)
	}
	if left := must(p.node.Handle().FilterList(device, netlink.HANDLE_MIN_INGRESS))(t); len(left) != 1 {
		t.Errorf("filter of somebody else: %v", left)
	}
	check(t, p.node.Handle().FilterDel(foreign))

	p.attach(t)
	check(t, p.detach())
	for _, q := range must(p.node.Handle().QdiscList(device))(t) {
		if q.Type() == "clsact" {
			t.Error("our qdisc is left")
		}
	}
	check(t, p.node.Up(portName))
	check(t, p.detach())
	if !p.isUp(t) {
		t.Error("Detach touched a device that is not ours")
	}
}

// TestReception: the shared address is in the device's filter, without promiscuous
// reception, for as long as the process holds it; without one all is received.
func TestReception(t *testing.T) {
	p := newPort(t, ordinary)
	var program *Program
	check(t, p.node.Do(func() (err error) {
		program, err = Attach(Config{Device: portName, MAC: packet.MAC{2, 0, 0x5e, 0, 1, 1}})
		return err
	}))
	filters := func() bool {
		for _, entry := range must(p.node.Handle().NeighList(must(p.node.Link(portName))(t).Attrs().Index, unix.AF_BRIDGE))(t) {
			if entry.HardwareAddr.String() == "02:00:5e:00:01:01" {
				return true
			}
		}
		return false
	}
	promiscuity := func() int { return must(p.node.Link(portName))(t).Attrs().Promisc }
	if !filters() || promiscuity() != 0 {
		t.Errorf("shared address received: %v, promiscuity %d", filters(), promiscuity())
	}
	check(t, program.Close())
	if filters() {
		t.Error("the shared address is still received")
	}
	program = p.attach(t) // without an address
	if promiscuity() != 1 {
		t.Errorf("promiscuity %d, want 1", promiscuity())
	}
	check(t, program.Close())
	if promiscuity() != 0 {
		t.Errorf("promiscuity %d after Close", promiscuity())
	}
}

// TestBadDevice: each kind of wrong device gets one clear error.
func TestBadDevice(t *testing.T) {
	p := newPort(t, ordinary)
	for _, row := range []struct {
		device string
		want   error
		text   string
	}{
		{"nowhere0", xsk.ErrNoDevice, "attach to nowhere0"},
		{"lo", nil, "not an Ethernet device"},
	} {
		err := p.node.Do(func() error { _, err := Attach(Config{Device: row.device}); return err })
		if err == nil || row.want != nil && !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.text) {
			t.Errorf("%s: %v, want %q", row.device, err, row.text)
		}
	}
}

// TestBadQueue: a queue beyond the slots is refused with the line that helps.
func TestBadQueue(t *testing.T) {
	program := newPort(t, ordinary).attach(t)
	for _, queue := range []int{-1, 1024} {
		if err := program.SetSocket(queue, 0); err == nil || !strings.Contains(err.Error(), "ethtool -L port combined 1024") {
			t.Errorf("queue %d: %v", queue, err)
		}
	}
}

// TestFailureLeavesNothing: an attachment that fails half way gives a stranger's
// device back as it was.
func TestFailureLeavesNothing(t *testing.T) {
	p := newPort(t, ordinary)
	check(t, p.node.Up(portName))
	check(t, p.node.Do(func() error {
		d := must(openDevice(portName))(t)
		defer d.close()
		program := &Program{device: d, reception: none}
		check(t, program.load())
		defer program.objects.Close()
		if err := program.install(Config{MAC: packet.MAC{2, 0, 0x5e, 0, 1, 1}}, occupancy{}); err != nil {
			return err
		}
		defer unix.Close(program.reception)
		return d.restore()
	}))
	if p.attached(t) || !p.isUp(t) {
		t.Error("the device was not given back")
	}
	p.speaks(t)
}

// TestNoPermission: without root the error says so.
func TestNoPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("skipped, needs not to be root")
	}
	if _, err := Attach(Config{Device: "lo"}); err == nil {
		t.Error("attached to the loopback")
	}
	if _, err := explainLoadWithout(); !errors.Is(err, xsk.ErrNoPermission) {
		t.Errorf("%v, want ErrNoPermission", err)
	}
}

func explainLoadWithout() (*Program, error) {
	p := new(Program)
	return p, p.load()
}

// TestModes: the two answers together are the three words of `status`.
func TestModes(t *testing.T) {
	for _, row := range []struct {
		hook   Hook
		socket xsk.Mode
		want   string
	}{
		{HookNative, xsk.ModeZeroCopy, "zero-copy"},
		{HookNative, xsk.ModeCopy, "native-copy"},
		{HookGeneric, xsk.ModeCopy, "generic"},
		{HookGeneric, xsk.ModeZeroCopy, "generic"},
		{HookNative, 0, "none"},
		{0, xsk.ModeCopy, "none"},
	} {
		if got := compose(row.hook, row.socket).String(); got != row.want {
			t.Errorf("%s hook and %s socket: %s, want %s", row.hook, row.socket, got, row.want)
		}
	}
}
