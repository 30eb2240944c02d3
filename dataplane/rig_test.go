package dataplane

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"holdfast/conntrack"
	"holdfast/dataplane/cookie"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/fragment"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/sync/journal"
)

// The rig is a worker without sockets: frames are laid into its packet memory by hand,
// taken through the path, and read from where the path staged them. It needs no root.
//
//	client 10.0.0.10 -- lan (10.0.0.1) [worker] wan (203.0.113.2) -- server 203.0.113.10
const (
	lan packet.PortID = 0
	wan packet.PortID = 1
)

var (
	client, server = ip("10.0.0.10"), ip("203.0.113.10")
	lanAddr        = ip("10.0.0.1")
	wanAddr        = ip("203.0.113.2")
	macLan         = packet.MAC{2, 0x48, 0x46, 0, 0, 1}
	macWan         = packet.MAC{2, 0x48, 0x46, 0, 0, 2}
	macClient      = packet.MAC{2, 0, 0, 0, 0, 0x10}
	macServer      = packet.MAC{2, 0, 0, 0, 0, 0x20}
)

func ip(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

// fakeKernel is a port's face that remembers what it was handed, and says what it is told to.
type fakeKernel struct{ got, say [][]byte }

func (k *fakeKernel) Fd() int { return -1 }
func (k *fakeKernel) Read(frame []byte) (n int, _ error) {
	if len(k.say) > 0 {
		n = copy(frame, k.say[0])
		k.say = k.say[1:]
	}
	return n, nil
}
func (k *fakeKernel) Write(frame []byte) (int, error) {
	k.got = append(k.got, append([]byte(nil), frame...))
	return len(frame), nil
}

type fakeResolver struct{ asked []packet.Addr }

func (r *fakeResolver) Resolve(_ packet.PortID, a packet.Addr) { r.asked = append(r.asked, a) }

type rig struct {
	t        testing.TB
	w        *Worker
	kernel   [2]*fakeKernel
	resolver fakeResolver
	snapshot atomic.Pointer[Snapshot]
	lease    gate.Lease
	lane     *journal.Journal
}

const rigPolicy = `
[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/24"]
[groups.main]
ports = ["lan", "wan"]
[[nat]]
kind = "masquerade"
from = ["10.0.0.0/24"]
out = "wan"
[[rules]]
id = "no-telnet"
action = "reject"
in = "lan"
proto = "tcp"
to_port = 23
[[rules]]
id = "out"
action = "pass"
in = "lan"
out = "wan"
`

var rigRoutes = []fib.Route{
	{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Kind: fib.Forward, Port: lan},
	{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Kind: fib.Forward, Port: wan},
	{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Kind: fib.Local},
	{Prefix: netip.MustParsePrefix("203.0.113.2/32"), Kind: fib.Local},
}

var rigNeighbors = []fib.Neighbor{
	{Port: lan, Addr: client, MAC: macClient},
	{Port: wan, Addr: server, MAC: macServer},
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return rigOf(t, rigPolicy, rigRoutes, rigNeighbors, 1000)
}

// rigOf is newRig with another policy, other routes and neighbours, and a table of so many
// connections.
func rigOf(t testing.TB, text string, routes []fib.Route, neighbors []fib.Neighbor, capacity uint32) *rig {
	t.Helper()
	r := &rig{t: t, kernel: [2]*fakeKernel{{}, {}}, lane: journal.New(0, journal.NewOutlet(nil))}
	policy, err := config.ParsePolicy("rig", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Compile(policy)
	if err != nil {
		t.Fatal(err)
	}
	table, err := conntrack.New(conntrack.Config{Capacity: capacity, Node: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	pool := nat.NewPool()
	masquerade, err := nat.Compile(rules.Translations(policy), rules.Site(policy), pool)
	if err != nil {
		t.Fatal(err)
	}
	r.snapshot.Store(&Snapshot{Rules: set, Hits: NewRuleHits(1, set), NAT: masquerade, Ports: pool, Routes: fib.NewTable(routes, neighbors), Table: table})
	umem, err := xsk.NewUmem(1024)
	if err != nil {
		t.Fatal(err)
	}
	r.w = &Worker{
		config: Config{Workers: 1, Node: 1, Lease: &r.lease, Snapshot: &r.snapshot, Journal: r.lane, Resolver: &r.resolver,
			Fragments: fragment.New(), Overloads: NewOverloads(), SynProxy: &SynProxy{Secret: cookie.Secret{1, 2}}, Quarantine: &Quarantine{}, Crashes: &Crashes{}},
		umem: umem, wake: -1, active: true, now: 1e12, snapshot: r.snapshot.Load(),
	}
	ports := []*Port{
		{ID: lan, Name: "lan", Ifindex: 1, MAC: macLan, MTU: 1500, Addresses: []packet.Addr{lanAddr}},
		{ID: wan, Name: "wan", Ifindex: 2, MAC: macWan, MTU: 1500, Addresses: []packet.Addr{wanAddr}},
	}
	for i, p := range ports {
		p.Kernel = r.kernel[i]
	}
	r.w.addPorts(ports)
	t.Cleanup(func() {
		if f := umem.Faults(); f != 0 {
			t.Errorf("%d frames freed or staged twice", f)
		}
		umem.Close()
	})
	return r
}

// out is a frame that left.
type out struct {
	port  packet.PortID
	frame []byte
}

// take reads and frees what is staged.
func (r *rig) take() (all []out) {
	for _, s := range r.w.shares {
		for _, d := range s.staged {
			all = append(all, out{s.ID, append([]byte(nil), r.w.umem.Bytes(d)...)})
		}
		r.w.umem.Free(s.staged)
		s.staged = s.staged[:0]
	}
	return all
}

// discard frees what is staged and returns how many frames that were.
func (r *rig) discard() (n int) {
	for _, s := range r.w.shares {
		n += len(s.staged)
		r.w.umem.Free(s.staged)
		s.staged = s.staged[:0]
	}
	return n
}

// feed takes frames that came in by a port through the path, as one burst.
func (r *rig) feed(port packet.PortID, frames ...[]byte) []out {
	r.t.Helper()
	b := &r.w.burst
	b.in, b.n = r.w.shares[port], r.w.umem.Alloc(b.desc[:len(frames)])
	for i, f := range frames {
		buf := r.w.umem.Bytes(b.desc[i])
		b.desc[i].Len = uint32(copy(buf[:cap(buf)], f))
	}
	r.w.forward(b)
	return r.take()
}

// dropped returns the reasons for which packets of a port died since the last call.
func (r *rig) dropped(port packet.PortID) (reasons []drop.Reason) {
	c := &r.w.shares[port].ReceiveDrops
	for _, why := range drop.Reasons() {
		for range c.Count(why) {
			reasons = append(reasons, why)
		}
	}
	*c = drop.Counters{}
	return reasons
}

// packetIn describes a packet that comes in.
type packetIn struct {
	from, to         packet.Addr
	sport, dport     uint16
	flags            string
	seq, ack         uint32
	ttl              uint8
	payload          int
	toMAC, fromMAC   packet.MAC
	proto            packet.Proto
	icmpType, icmpID uint16
}

// frame builds it.
func (p packetIn) frame(t testing.TB) []byte {
	t.Helper()
	if p.ttl == 0 {
		p.ttl = 64
	}
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr(p.fromMAC[:]), DstMAC: net.HardwareAddr(p.toMAC[:]), EthernetType: layers.EthernetTypeIPv4}
	ip4 := &layers.IPv4{Version: 4, TTL: p.ttl, Id: 7, TOS: 0x2e, Flags: layers.IPv4DontFragment,
		SrcIP: p.from.Netip().AsSlice(), DstIP: p.to.Netip().AsSlice()}
	stack := []gopacket.SerializableLayer{eth, ip4}
	switch p.proto {
	case packet.UDP:
		ip4.Protocol = layers.IPProtocolUDP
		udp := &layers.UDP{SrcPort: layers.UDPPort(p.sport), DstPort: layers.UDPPort(p.dport)}
		udp.SetNetworkLayerForChecksum(ip4)
		stack = append(stack, udp)
	case packet.ICMP:
		ip4.Protocol = layers.IPProtocolICMPv4
		stack = append(stack, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(uint8(p.icmpType), 0), Id: p.icmpID, Seq: 1})
	default:
		ip4.Protocol = layers.IPProtocolTCP
		tcp := &layers.TCP{SrcPort: layers.TCPPort(p.sport), DstPort: layers.TCPPort(p.dport), Seq: p.seq, Ack: p.ack, Window: 65535}
		for _, f := range p.flags {
			switch f {
			case 'S':
				tcp.SYN = true
			case 'A':
				tcp.ACK = true
			case 'F':
				tcp.FIN = true
			case 'R':
				tcp.RST = true
			case 'P':
				tcp.PSH = true
			}
		}
		tcp.SetNetworkLayerForChecksum(ip4)
		stack = append(stack, tcp)
	}
	stack = append(stack, gopacket.Payload(make([]byte, p.payload)))
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// fromClient and fromServer complete a description with the addresses of the two hosts.
func fromClient(p packetIn) packetIn {
	p.from, p.to, p.fromMAC, p.toMAC = client, server, macClient, macLan
	return p
}

func fromServer(p packetIn) packetIn {
	p.from, p.to, p.fromMAC, p.toMAC = server, wanAddr, macServer, macWan
	return p
}
