package recording

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// captured is a conversation of two nodes as a capture has it: UDP payloads, in order.
type captured struct {
	t    testing.TB
	ends [2]*seal.Peer
	key  seal.Key
	log  []seal.SessionKey
	sent []sent
}

type sent struct {
	from    int
	payload []byte
}

var addresses = [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7400"), netip.MustParseAddrPort("192.0.2.2:7400")}

// converse makes two nodes shake hands.
func converse(t testing.TB) *captured {
	t.Helper()
	c := &captured{t: t, key: seal.NewKey()}
	for i := range c.ends {
		config := seal.Config{Keys: []seal.Key{c.key}, Part: seal.Part(i), Payload: []byte("12345678")}
		if i == 0 {
			config.Log = func(k seal.SessionKey) { c.log = append(c.log, k) }
		}
		var err error
		if c.ends[i], err = seal.NewPeer(config); err != nil {
			t.Fatal(err)
		}
	}
	for d, from := c.ends[0].Tick(0, nil), 0; len(d) > 0; from = 1 - from {
		c.keep(from, d)
		d = c.ends[1-from].Receive(0, bytes.Clone(d), nil).Reply
	}
	if c.ends[0].Session() == nil || c.ends[1].Session() == nil {
		t.Fatal("no session")
	}
	return c
}

func (c *captured) keep(from int, payload []byte) {
	c.sent = append(c.sent, sent{from, bytes.Clone(payload)})
}

// say seals a batch on a lane.
func (c *captured) say(from int, lane seal.Lane, batch []byte) {
	c.keep(from, c.ends[from].Session().Seal(lane, nil, batch))
}

// control makes a batch of a message.
func control(message func([]byte) []byte) []byte { return message(wire.AppendControlHeader(nil)) }

// insert makes a stream batch of one connection.
func insert(sequence uint64) []byte {
	t := packet.Tuple{
		Src: packet.AddrFrom(netip.MustParseAddr("10.0.0.5")), Dst: packet.AddrFrom(netip.MustParseAddr("198.51.100.9")),
		SrcPort: uint16(sequence), DstPort: 53, Proto: packet.UDP,
	}
	s := conntrack.State{Index: uint32(sequence), Incarnation: conntrack.Incarnation(sequence<<16 | 1), Original: t, Reply: t.Reply()}
	return wire.AppendInsert(wire.AppendStreamHeader(nil, 0, sequence), &s)
}

// capture writes the conversation as pcap, in such frames.
func (c *captured) capture(link layers.LinkType, wrap func(ip []byte) []byte) []byte {
	c.t.Helper()
	var out bytes.Buffer
	w := pcapgo.NewWriter(&out)
	if err := w.WriteFileHeader(1<<16, link); err != nil {
		c.t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 0)
	for _, s := range c.sent {
		b := wrap(c.ip(s))
		at = at.Add(time.Millisecond)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(b), Length: len(b)}, b); err != nil {
			c.t.Fatal(err)
		}
	}
	return out.Bytes()
}

// ip returns the IPv4 packet of a datagram.
func (c *captured) ip(s sent) []byte {
	from, to := addresses[s.from], addresses[1-s.from]
	ip := &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP,
		SrcIP: net.IP(from.Addr().AsSlice()), DstIP: net.IP(to.Addr().AsSlice()),
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		c.t.Fatal(err)
	}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(s.payload)); err != nil {
		c.t.Fatal(err)
	}
	return bytes.Clone(buffer.Bytes())
}

// bare puts nothing around an IP packet.
func bare(ip []byte) []byte { return ip }

// decoded decodes a capture.
func decoded(t testing.TB, capture []byte, o Options) (lines []*Line, totals *Totals) {
	t.Helper()
	totals, err := Decode(bytes.NewReader(capture), o, func(l *Line) error {
		lines = append(lines, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines, totals
}
