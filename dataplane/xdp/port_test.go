package xdp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
)

// patience bounds every wait of these tests; none of them takes that long.
const patience = 10 * time.Second

// port is the topology of these tests: a node whose device is watched on the wire.
//
//	+------- node -------+         +------- wire ------+
//	| port   192.0.2.1   |---------| peer  192.0.2.2   |  capture: what port lets out
//	|     2001:db8::1    |  veth   |    2001:db8::2    |
//	+--------------------+         +-------------------+
//
// The port is down and has no address yet; the node's kernel detects duplicate
// addresses and asks for routers, as it does outside the laboratory.
type port struct {
	node, wire *lab.Namespace
	capture    *lab.Capture
}

// portName is the name of the device; every laboratory has one.
const portName = "port"

// peerMTU is how large the peer's frames are. A veth takes a native program only if
// its peer's frames fit into a page with all that goes with them (veth_xdp_set).
type peerMTU int

const (
	ordinary peerMTU = 1500
	jumbo    peerMTU = 9000
)

func newPort(t *testing.T, mtu peerMTU) *port {
	t.Helper()
	l := lab.ForTest(t)
	p := &port{node: must(l.Namespace("node"))(t), wire: must(l.Namespace("wire"))(t)}
	for path, value := range map[string]string{
		"accept_dad": "1", "dad_transmits": "1", "router_solicitations": "3", "router_solicitation_delay": "0",
	} {
		check(t, p.node.Sysctl("net/ipv6/conf/default/"+path, value))
		check(t, p.node.Sysctl("net/ipv6/conf/all/"+path, value))
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = portName
	veth := netlink.NewVeth(attrs)
	veth.PeerName = "peer"
	veth.PeerMTU = uint32(mtu)
	veth.PeerNamespace = netlink.NsFd(p.wire.Fd())
	check(t, p.node.Handle().LinkAdd(veth))
	check(t, p.wire.Address("peer", netip.MustParsePrefix("192.0.2.2/24")))
	check(t, p.wire.Address("peer", netip.MustParsePrefix("2001:db8::2/64")))
	check(t, p.wire.Up("peer"))
	p.capture = must(p.wire.Capture("peer", lab.CaptureOptions{}))(t)
	return p
}

// attach attaches in this process; the attachment outlives it as it outlives any.
func (p *port) attach(t *testing.T) *Program {
	t.Helper()
	program := must(p.tryAttach())(t)
	t.Cleanup(func() { check(t, program.Close()) })
	return program
}

func (p *port) tryAttach() (program *Program, err error) {
	err = p.node.Do(func() (err error) {
		program, err = Attach(Config{Device: portName})
		return err
	})
	return program, err
}

func (p *port) detach() error { return p.node.Do(func() error { return Detach(portName) }) }

func (p *port) attached(t *testing.T) (yes bool) {
	t.Helper()
	check(t, p.node.Do(func() (err error) { yes, err = Attached(portName); return err }))
	return yes
}

// address gives the port addresses, IPv6 with duplicate address detection.
func (p *port) address(t *testing.T) {
	t.Helper()
	for _, prefix := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		a := must(netlink.ParseAddr(prefix))(t)
		if err := p.node.Handle().AddrReplace(must(p.node.Link(portName))(t), a); err != nil {
			t.Fatal(err)
		}
	}
	stranger := net.HardwareAddr{2, 0, 0, 0, 0, 3}
	check(t, p.node.Neighbor(portName, netip.MustParseAddr("192.0.2.3"), stranger))
	check(t, p.node.Neighbor(portName, netip.MustParseAddr("2001:db8::3"), stranger))
}

// provoked is how many packets at least the node's kernel makes in provoke: a
// broadcast, a unicast of each family, an ARP request.
const provoked = 4

// provoke makes the node's kernel want to speak on the port in every manner it has,
// and asks it from the wire.
func (p *port) provoke(t *testing.T) {
	t.Helper()
	p.address(t)
	for _, to := range []string{
		"192.0.2.255:9",   // broadcast
		"192.0.2.3:9",     // a neighbour that is known
		"192.0.2.2:9",     // one that must be asked for: ARP
		"[2001:db8::3]:9", // sent once its source is no longer tentative
		"[ff02::1%port]:9",
	} {
		p.send(p.node, to)
	}
	p.send(p.wire, "192.0.2.1:9") // asks by ARP who has it
	p.send(p.wire, "[2001:db8::1]:9")
}

// send sends a datagram; that it is refused is as good as that it is lost.
func (p *port) send(from *lab.Namespace, to string) {
	_ = from.Do(func() error {
		conn, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		_, err = conn.Write([]byte("speak"))
		return errors.Join(err, conn.Close())
	})
}

// marker is a frame of our own, of an EtherType for experiments (IEEE 802).
var marker = append(append(bytes.Repeat([]byte{0xff}, 6), 2, 0, 0, 0, 0, 1, 0x88, 0xb5), make([]byte, 46)...)

// mute demands that the port let nothing out since the capture began, though the
// kernel tried: at least tried packets were dropped. A marker that takes AF_XDP's way
// past the egress hook shows that the port is up and that all before it has arrived.
func (p *port) mute(t *testing.T, tried uint64) {
	t.Helper()
	eventually(t, "the kernel tried to speak", func() bool { return p.silenced(t) >= tried })
	before := p.markers()
	check(t, p.node.Do(func() error { return sendMarker(must(p.node.Link(portName))(t).Attrs().Index) }))
	eventually(t, "a marker on the wire", func() bool { return p.markers() > before })
	check(t, p.capture.Err())
	for _, f := range p.capture.Frames() {
		if !bytes.Equal(f.Data, marker) {
			t.Errorf("a frame left the mute port: % x", f.Data)
		}
	}
}

func (p *port) markers() (n int) {
	for _, f := range p.capture.Frames() {
		if bytes.Equal(f.Data, marker) {
			n++
		}
	}
	return n
}

// sendMarker sends as AF_XDP does in copy mode: past the queueing discipline.
func sendMarker(ifindex int) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
		unix.Sendto(fd, marker, 0, &unix.SockaddrLinklayer{Ifindex: ifindex}),
		unix.Close(fd))
}

// silenced reads the counter of whatever is attached, also of a dead process.
func (p *port) silenced(t *testing.T) (sum uint64) {
	t.Helper()
	filters := must(p.node.Handle().FilterList(must(p.node.Link(portName))(t), netlink.HANDLE_MIN_EGRESS))(t)
	if len(filters) != 1 {
		t.Fatalf("%d egress filters, want 1", len(filters))
	}
	program := must(ebpf.NewProgramFromID(ebpf.ProgramID(filters[0].(*netlink.BpfFilter).Id)))(t)
	defer program.Close()
	ids, _ := must(program.Info())(t).MapIDs()
	counter := must(ebpf.NewMapFromID(ids[0]))(t)
	defer counter.Close()
	var perCPU []uint64
	check(t, counter.Lookup(uint32(0), &perCPU))
	for _, n := range perCPU {
		sum += n
	}
	return sum
}

// receiver is a socket of the node that the wire sends to.
func (p *port) receiver(t *testing.T) net.PacketConn {
	t.Helper()
	conn := must(p.node.ListenPacket("udp4", "0.0.0.0:7"))(t)
	t.Cleanup(func() { check(t, conn.Close()) })
	return conn
}

// sendTo sends a datagram from the wire to the node's receiver.
func (p *port) sendTo(t *testing.T, text string) {
	t.Helper()
	mac := must(p.node.Link(portName))(t).Attrs().HardwareAddr
	check(t, p.wire.Neighbor("peer", netip.MustParseAddr("192.0.2.1"), mac))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := must(p.wire.Dial(ctx, "udp", "", "192.0.2.1:7"))(t)
	_, err := conn.Write([]byte(text))
	check(t, errors.Join(err, conn.Close()))
}

// isUp reports the administrative state of the port.
func (p *port) isUp(t *testing.T) bool {
	t.Helper()
	return must(p.node.Link(portName))(t).Attrs().Flags&net.FlagUp != 0
}

// speaks demands that the kernel's own frames reach the wire.
func (p *port) speaks(t *testing.T) {
	t.Helper()
	check(t, p.node.Up(portName))
	p.provoke(t)
	eventually(t, "a frame of the kernel on the wire", func() bool {
		for _, f := range p.capture.Frames() {
			if len(f.Data) > 14 && binary.BigEndian.Uint16(f.Data[12:]) == unix.ETH_P_ARP {
				return true
			}
		}
		return false
	})
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
		check(t, err)
		return value
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
