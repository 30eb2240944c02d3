package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"holdfast/dataplane/xdp"
	"holdfast/internal/lab"
)

// trunk is a pair of nodes that have one device for all three ports, and hosts that are
// made by the test, because this kernel may have no VLAN devices:
//
//	lan-host  10.0.0.10     untagged --+
//	dmz-host  10.10.0.10    VLAN 10  --+-- wire 0 === trunk, fw-a   lan (untagged), dmz (10), wan (20)
//	wan-host  203.0.113.10  VLAN 20  --+-- wire 1 === trunk, fw-b
//
// As a switch would, the hosts' frames go to both nodes.
type trunk struct {
	t      *testing.T
	places [2]*place
	wires  [2]*lab.Wire
	active int // the wire that answers are waited for on
}

func newTrunk(t *testing.T) *trunk {
	t.Helper()
	requireAFXDP(t)
	l := lab.ForTest(t)
	space := func(name string) *lab.Namespace {
		ns, err := l.Namespace(name)
		if err != nil {
			t.Fatal(err)
		}
		return ns
	}
	outside := space("hosts")
	tr := &trunk{t: t, places: [2]*place{{Namespace: space("fw-a"), files: newFiles(t)}, {Namespace: space("fw-b"), files: newFiles(t)}}}
	for i, p := range tr.places {
		wire := fmt.Sprintf("wire%d", i)
		err := errors.Join(
			l.Veth(lab.End{Namespace: p.Namespace, Name: "trunk"}, lab.End{Namespace: outside, Name: wire}),
			outside.Sysctl("net/ipv6/conf/"+wire+"/disable_ipv6", "1"), p.Down("trunk"))
		if err == nil {
			tr.wires[i], err = outside.Wire(wire)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tr.wires[i].Close() })
		p.files.replace("node.toml", `lan = { device = "lan" }`, `lan = { device = "trunk" }
dmz = { device = "trunk", vlan = 10 }`)
		p.files.replace("node.toml", `wan = { device = "wan" }`, `wan = { device = "trunk", vlan = 20 }`)
		p.files.replace("policy.toml", `[groups.main]`, `[ports.dmz]
addresses = ["10.10.0.1/24"]
mac = "02:48:46:00:00:03"

[groups.main]`)
		p.files.replace("policy.toml", `ports = ["lan", "wan"]`, `ports = ["lan", "dmz", "wan"]`)
		p.files.replace("policy.toml", `from = ["10.0.0.0/24"]
out = "wan"
`+"\n", `from = ["10.0.0.0/24", "10.10.0.0/24"]
out = "wan"

[[rules]]
id = "dmz"
action = "pass"
in = "dmz"
`+"\n")
	}
	sync := func(i int) lab.End {
		return lab.End{Namespace: tr.places[i].Namespace, Name: "sync", Addresses: []netip.Prefix{syncAddress(i)}}
	}
	if err := l.Veth(sync(0), sync(1)); err != nil {
		t.Fatal(err)
	}
	tr.places[1].files.replace("node.toml", "fw-a", "fw-b")
	tr.places[1].files.replace("node.toml", `address = "192.0.2.1:7400", peers = ["192.0.2.2:7400"]`, `address = "192.0.2.2:7400", peers = ["192.0.2.1:7400"]`)
	tr.places[1].files.replace("node.toml", "main = 100", "main = 50")
	return tr
}

// send sends a host's frame to both nodes.
func (tr *trunk) send(frame []byte) {
	tr.t.Helper()
	for _, w := range tr.wires {
		if err := w.Send(frame); err != nil {
			tr.t.Fatal(err)
		}
	}
}

// vlanOf returns the VLAN of a frame, 0 for none; a tag has the priority 0.
func (tr *trunk) vlanOf(p gopacket.Packet) uint16 {
	tag, ok := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q)
	if !ok {
		return 0
	}
	if tag.Priority != 0 || tag.VLANIdentifier == 0 {
		tr.t.Errorf("a frame was sent with the tag %+v", tag)
	}
	return tag.VLANIdentifier
}

// receive returns the next frame of the active node on a station's VLAN for which is holds.
func (tr *trunk) receive(what string, to station, is func(gopacket.Packet) bool) gopacket.Packet {
	tr.t.Helper()
	return tr.await(what, func(vlan uint16, p gopacket.Packet) bool { return vlan == to.vlan && is(p) })
}

// await returns the next frame of the active node for which is holds, and answers for the
// hosts whatever they are asked by ARP meanwhile. Whatever a node sends comes from the
// face that its tag says.
func (tr *trunk) await(what string, is func(vlan uint16, p gopacket.Packet) bool) gopacket.Packet {
	tr.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		frame, err := tr.wires[tr.active].Receive(deadline)
		if err != nil {
			tr.t.Fatalf("waiting for %s: %v", what, err)
		}
		p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
		vlan, eth := tr.vlanOf(p), p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		for _, f := range faces {
			if bytes.Equal(f.mac, eth.SrcMAC) != (f.vlan == vlan) {
				tr.t.Fatalf("a frame from %v on VLAN %d:\n%v", eth.SrcMAC, vlan, p)
			}
		}
		if a, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok && a.Operation == layers.ARPRequest {
			for _, h := range hosts {
				if h.vlan == vlan && bytes.Equal(a.DstProtAddress, h.ip.AsSlice()) {
					tr.send(h.arp(tr.t, a.SourceHwAddress, layers.ARPReply, netip.AddrFrom4([4]byte(a.SourceProtAddress))))
				}
			}
		}
		if is(vlan, p) {
			return p
		}
	}
}

// silent checks that a wire has brought nothing.
func (tr *trunk) silent(wire int) {
	tr.t.Helper()
	if frame, err := tr.wires[wire].Receive(time.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
		tr.t.Errorf("the standby has sent something (%v):\n%v", err, gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default))
	}
}

// TestA9_VLANTrunk: one device, three ports: ARP, ping, UDP and TCP between two VLANs and
// an untagged port, translated and not, full-sized frames, a standby that is silent on
// all of them, and a failover that keeps the connections and tells every VLAN.
func TestA9_VLANTrunk(t *testing.T) {
	t.Parallel()
	tr := newTrunk(t)
	a, b := start(t, tr.places[0]), start(t, tr.places[1])
	eventually(t, "fw-a is active and both are ready", func() bool {
		x, y := a.group(), b.group()
		return x.Role == "active" && x.Ready && y.Role == "standby" && y.Ready
	})
	for i, h := range hosts {
		tr.resolves(h, faces[i])
		tr.pings(h, faces[i])
	}
	tr.asksOnTheWrongVLAN()
	dmzPort := tr.exchanges(dmzHost, dmzFace, 5000, 100)
	tr.exchanges(lanHost, lanFace, 5001, 100)
	tr.exchanges(dmzHost, dmzFace, 5002, 1472) // 1500 bytes of IP, 1518 on the wire
	tr.crossesInside()
	c := tr.connects(lanHost, lanFace, 40000)
	tr.counts(a)
	tr.silent(1)

	a.stop(t, unix.SIGKILL)
	tr.active = 1
	tr.announced()
	c.goesOn(tr)
	if again := tr.exchanges(dmzHost, dmzFace, 5000, 100); again != dmzPort {
		t.Errorf("after the failover the flow has port %d, before it had %d", again, dmzPort)
	}
}

// announced waits until the node has told every VLAN, and the untagged hosts, that it has
// the address there.
func (tr *trunk) announced() {
	tr.t.Helper()
	told := map[netip.Addr]bool{}
	tr.await("announcements on all VLANs", func(vlan uint16, p gopacket.Packet) bool {
		m, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		if !ok || !bytes.Equal(m.SourceProtAddress, m.DstProtAddress) {
			return false
		}
		for _, f := range faces {
			if f.vlan == vlan && bytes.Equal(m.SourceProtAddress, f.ip.AsSlice()) {
				told[f.ip] = true
			}
		}
		return len(told) == len(faces)
	})
}

// resolves asks by ARP who has the node's address on the host's VLAN.
func (tr *trunk) resolves(h, face station) {
	tr.t.Helper()
	tr.send(h.arp(tr.t, layers.EthernetBroadcast, layers.ARPRequest, face.ip))
	p := tr.receive("the answer to ARP", h, func(p gopacket.Packet) bool {
		m, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		return ok && m.Operation == layers.ARPReply && bytes.Equal(m.SourceProtAddress, face.ip.AsSlice())
	})
	if m := p.Layer(layers.LayerTypeARP).(*layers.ARP); !bytes.Equal(m.SourceHwAddress, face.mac) {
		tr.t.Errorf("%v is at %x, want %v", face.ip, m.SourceHwAddress, face.mac)
	}
}

// pings asks the node's own address for an echo.
func (tr *trunk) pings(h, face station) {
	tr.t.Helper()
	tr.send(h.frame(tr.t, face.mac, layers.EthernetTypeIPv4, h.ipv4(face.ip, layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 7, Seq: 1}, gopacket.Payload("hello")))
	tr.receive("the echo", h, func(p gopacket.Packet) bool {
		m, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		return ok && m.TypeCode.Type() == layers.ICMPv4TypeEchoReply && m.Id == 7
	})
}

// asksOnTheWrongVLAN: what is on one VLAN does not hear another. The right question after
// each wrong one bounds the wait.
func (tr *trunk) asksOnTheWrongVLAN() {
	tr.t.Helper()
	for _, vlan := range []uint16{0, 20, 30} {
		stray := dmzHost
		stray.vlan, stray.mac = vlan, net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
		tr.send(stray.arp(tr.t, layers.EthernetBroadcast, layers.ARPRequest, dmzFace.ip))
		tr.send(dmzHost.arp(tr.t, layers.EthernetBroadcast, layers.ARPRequest, dmzFace.ip))
		p := tr.receive("the answer to the right question", dmzHost, func(p gopacket.Packet) bool {
			m, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
			return ok && m.Operation == layers.ARPReply
		})
		if eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet); !bytes.Equal(eth.DstMAC, dmzHost.mac) {
			tr.t.Errorf("asked on VLAN %d, it answered %v", vlan, eth.DstMAC)
		}
	}
}

// exchanges sends a datagram of so many bytes to the outside, translated, and one of the
// same length back, and returns the external port.
func (tr *trunk) exchanges(h, face station, port uint16, length int) uint16 {
	tr.t.Helper()
	payload := bytes.Repeat([]byte{byte(port)}, length)
	arrives := func(to station, from netip.Addr) (external uint16) {
		tr.receive(fmt.Sprintf("%d bytes at %v", length, to.ip), to, func(p gopacket.Packet) bool {
			ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
			if ok && bytes.Equal(udp.Payload, payload) && ip.SrcIP.Equal(from.AsSlice()) && ip.DstIP.Equal(to.ip.AsSlice()) {
				external = uint16(udp.SrcPort)
			}
			return external != 0
		})
		return external
	}
	tr.send(h.udp(tr.t, face.mac, netip.AddrPortFrom(wanHost.ip, 4000), port, payload))
	external := arrives(wanHost, wanFace.ip)
	tr.send(wanHost.udp(tr.t, wanFace.mac, netip.AddrPortFrom(wanFace.ip, external), 4000, payload))
	arrives(h, wanHost.ip)
	return external
}

// crossesInside sends from VLAN 10 to the untagged port, and nothing is translated.
func (tr *trunk) crossesInside() {
	tr.t.Helper()
	tr.send(dmzHost.udp(tr.t, dmzFace.mac, netip.AddrPortFrom(lanHost.ip, 6000), 6001, []byte("across")))
	tr.receive("a datagram from VLAN 10 at the untagged host", lanHost, func(p gopacket.Packet) bool {
		ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		return ok && ip.SrcIP.Equal(dmzHost.ip.AsSlice()) && ip.DstIP.Equal(lanHost.ip.AsSlice()) && ip.TTL == 63
	})
}

// connection is a TCP connection from a host to port 80 outside.
type connection struct {
	h, face         station
	port, external  layers.TCPPort
	clientSeq, peer uint32 // the next of each side
}

// connects opens it by hand.
func (tr *trunk) connects(h, face station, port layers.TCPPort) *connection {
	tr.t.Helper()
	c := &connection{h: h, face: face, port: port, clientSeq: 1000, peer: 9000}
	c.up(tr, &layers.TCP{SYN: true}, "")
	c.clientSeq++
	c.down(tr, &layers.TCP{SYN: true, ACK: true}, "")
	c.peer++
	c.up(tr, &layers.TCP{ACK: true}, "")
	c.goesOn(tr)
	return c
}

// goesOn sends a byte each way.
func (c *connection) goesOn(tr *trunk) {
	tr.t.Helper()
	c.up(tr, &layers.TCP{ACK: true, PSH: true}, "q")
	c.clientSeq++
	c.down(tr, &layers.TCP{ACK: true, PSH: true}, "a")
	c.peer++
}

// up sends a segment of the client's and waits for it outside.
func (c *connection) up(tr *trunk, segment *layers.TCP, payload string) {
	tr.t.Helper()
	segment.SrcPort, segment.DstPort, segment.Seq = c.port, 80, c.clientSeq
	if segment.ACK {
		segment.Ack = c.peer
	}
	tr.send(c.h.tcp(tr.t, c.face.mac, wanHost.ip, segment, payload))
	got := c.arrives(tr, wanHost, c.clientSeq, payload)
	if c.external != 0 && got.SrcPort != c.external {
		tr.t.Errorf("port %d outside, before it was %d", got.SrcPort, c.external)
	}
	c.external = got.SrcPort
}

// down sends a segment of the server's and waits for it inside.
func (c *connection) down(tr *trunk, segment *layers.TCP, payload string) {
	tr.t.Helper()
	segment.SrcPort, segment.DstPort, segment.Seq, segment.Ack = 80, c.external, c.peer, c.clientSeq
	tr.send(wanHost.tcp(tr.t, wanFace.mac, wanFace.ip, segment, payload))
	if got := c.arrives(tr, c.h, c.peer, payload); got.DstPort != c.port {
		tr.t.Errorf("port %d inside, want %d", got.DstPort, c.port)
	}
}

func (c *connection) arrives(tr *trunk, to station, seq uint32, payload string) *layers.TCP {
	tr.t.Helper()
	p := tr.receive(fmt.Sprintf("segment %d at %v", seq, to.ip), to, func(p gopacket.Packet) bool {
		s, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && s.Seq == seq && string(s.Payload) == payload
	})
	return p.Layer(layers.LayerTypeTCP).(*layers.TCP)
}

// counts compares what the daemon says of its ports.
func (tr *trunk) counts(d *daemon) {
	tr.t.Helper()
	s, err := d.ask()
	if err != nil {
		tr.t.Fatal(err)
	}
	for i, want := range []struct {
		name string
		vlan uint16
	}{{"dmz", 10}, {"lan", 0}, {"wan", 20}} {
		p := s.Ports[i]
		if p.Name != want.name || p.Device != "trunk" || p.VLAN != want.vlan || p.Received.Packets == 0 || p.Sent.Packets == 0 || p.Mode != "native-copy" {
			tr.t.Errorf("port %+v, want %+v with traffic both ways", p, want)
		}
	}
	if tagsOf(tr.t, d.place.Namespace, "trunk") != xdp.TagsInFrame {
		tr.t.Error("the device takes tags out")
	}
	if o := d.tell(tr.t, "status"); !strings.Contains(o.out, "trunk vlan 20") {
		tr.t.Errorf("no VLAN in %s", o.out)
	}
	if o := d.tell(tr.t, "drops"); !strings.Contains(o.out, "vlan-unexpected") {
		tr.t.Errorf("a frame of VLAN 30 was not dropped by name:\n%s", o.out)
	}
}
