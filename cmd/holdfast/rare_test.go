package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"testing"
	"time"

	"holdfast/internal/lab"
)

// Protocols that this kernel may not have.
const (
	protoGRE  = 47
	protoSCTP = 132
)

// speaker is a host of the test at a link's end: the kernel there answers ARP and neighbour
// solicitations, and the test speaks the protocols that the kernel does not have.
type speaker struct {
	wire     *lab.Wire
	mac, via net.HardwareAddr
}

// speaks opens the end up of ns, whose router has the link there.
func speaks(t *testing.T, ns, router *lab.Namespace, there string) *speaker {
	t.Helper()
	w, err := ns.Wire("up")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	mine, err := ns.Link("up")
	if err != nil {
		t.Fatal(err)
	}
	its, err := router.Link(there)
	if err != nil {
		t.Fatal(err)
	}
	return &speaker{w, mine.Attrs().HardwareAddr, its.Attrs().HardwareAddr}
}

// say sends a packet.
func (s *speaker) say(t *testing.T, proto byte, from, to netip.Addr, body []byte) {
	t.Helper()
	frame := append(append([]byte{}, s.via...), s.mac...)
	if to.Is4() {
		h := []byte{0x45, 0, 0, 0, 0, 9, 0x40, 0, 64, proto, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(body)))
		h = append(append(h, from.AsSlice()...), to.AsSlice()...)
		var sum uint32
		for i := 0; i < len(h); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(h[i:]))
		}
		binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
		frame = append(append(frame, 8, 0), h...)
	} else {
		h := []byte{0x60, 0, 0, 0, byte(len(body) >> 8), byte(len(body)), proto, 64}
		frame = append(append(append(append(frame, 0x86, 0xdd), h...), from.AsSlice()...), to.AsSlice()...)
	}
	if err := s.wire.Send(append(frame, body...)); err != nil {
		t.Fatal(err)
	}
}

// packetHeard is a packet that arrived.
type packetHeard struct {
	from netip.Addr
	body []byte
}

// hears returns the next packet of a protocol for an address that is wanted, nil after a moment.
func (s *speaker) hears(t *testing.T, proto byte, to netip.Addr, wanted func(body []byte) bool) *packetHeard {
	t.Helper()
	for deadline := time.Now().Add(200 * time.Millisecond); ; {
		f, err := s.wire.Receive(deadline)
		if err != nil {
			return nil
		}
		var p packetHeard
		var dst netip.Addr
		switch {
		case to.Is4() && len(f) >= 34 && f[12] == 8 && f[13] == 0 && f[23] == proto:
			p.from, _ = netip.AddrFromSlice(f[26:30])
			dst, _ = netip.AddrFromSlice(f[30:34])
			p.body = f[34 : 14+int(binary.BigEndian.Uint16(f[16:]))]
		case to.Is6() && len(f) >= 54 && f[12] == 0x86 && f[20] == proto:
			p.from, _ = netip.AddrFromSlice(f[22:38])
			dst, _ = netip.AddrFromSlice(f[38:54])
			p.body = f[54 : 54+int(binary.BigEndian.Uint16(f[18:]))]
		}
		if dst == to && wanted(p.body) {
			return &p
		}
	}
}

// tells sends a packet until it arrives at another speaker, and returns what arrived there.
func (s *speaker) tells(t *testing.T, what string, proto byte, from, to netip.Addr, body []byte, other *speaker, at netip.Addr, wanted func([]byte) bool) (p *packetHeard) {
	t.Helper()
	eventually(t, what+" arrives", func() bool {
		s.say(t, proto, from, to, body)
		p = other.hears(t, proto, at, wanted)
		return p != nil
	})
	return p
}

// sctp builds a packet of one chunk with its CRC-32C.
func sctp(sport, dport uint16, tag uint32, kind byte, value []byte) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, sport), dport)
	b = append(binary.BigEndian.AppendUint32(b, tag), 0, 0, 0, 0, kind, 3, byte((4+len(value))>>8), byte(4+len(value)))
	b = append(b, value...)
	b = append(b, make([]byte, (4-len(b)%4)%4)...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// rightCRC reports whether the CRC-32C of a packet is right.
func rightCRC(b []byte) bool {
	c := bytes.Clone(b)
	clear(c[8:12])
	return binary.LittleEndian.Uint32(b[8:]) == crc32.Checksum(c, crc32.MakeTable(crc32.Castagnoli))
}

// association is one between two speakers, with a translation between them.
type association struct {
	client, server     *speaker
	from, to           netip.Addr // as the client knows them
	as, at             netip.Addr // as the server knows them
	port, external     uint16     // of the client, inside and out; external is zero until it is known
	clientTag, peerTag uint32
}

const sctpServer = 38412

// up sends a chunk to the server, down one to the client; both check all that arrives.
func (a *association) up(t *testing.T, tag uint32, kind byte, value []byte) {
	t.Helper()
	sent := sctp(a.port, sctpServer, tag, kind, value)
	what := fmt.Sprintf("chunk %d from %v", kind, a.from)
	p := a.client.tells(t, what, protoSCTP, a.from, a.to, sent, a.server, a.at, func(b []byte) bool {
		return len(b) == len(sent) && bytes.Equal(b[12:], sent[12:]) && bytes.Equal(b[2:8], sent[2:8])
	})
	external := binary.BigEndian.Uint16(p.body)
	if a.external == 0 {
		a.external = external
	}
	if p.from != a.as || external != a.external || !rightCRC(p.body) {
		t.Errorf("%s: arrives from %v:%d, want %v:%d; CRC right: %v", what, p.from, external, a.as, a.external, rightCRC(p.body))
	}
}

func (a *association) down(t *testing.T, tag uint32, kind byte, value []byte) {
	t.Helper()
	sent := sctp(sctpServer, a.external, tag, kind, value)
	what := fmt.Sprintf("chunk %d to %v", kind, a.from)
	want := sctp(sctpServer, a.port, tag, kind, value)
	p := a.server.tells(t, what, protoSCTP, a.at, a.as, sent, a.client, a.from, func(b []byte) bool { return bytes.Equal(b, want) })
	if p.from != a.to {
		t.Errorf("%s: arrives from %v, want %v", what, p.from, a.to)
	}
}

// opens goes through the handshake of RFC 9260 section 5.1, and data both ways.
func (a *association) opens(t *testing.T) {
	t.Helper()
	init := func(tag uint32) []byte {
		return append(binary.BigEndian.AppendUint32(nil, tag), 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1)
	}
	data := append([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, pattern(1000)...)
	a.up(t, 0, 1, init(a.clientTag))
	a.down(t, a.clientTag, 2, init(a.peerTag))
	a.up(t, a.peerTag, 10, []byte("cookie"))
	a.down(t, a.clientTag, 11, nil)
	a.up(t, a.peerTag, 0, data)
	a.down(t, a.clientTag, 3, []byte{0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0})
	a.down(t, a.clientTag, 0, data)
}

// TestI1_SCTPAndGREBetweenSpeakers: associations and tunnels through masquerade and static
// prefixes, of both families; two hosts have one port, so one of them gets another outside,
// and the CRC-32C of every packet is right at its far end.
func TestI1_SCTPAndGREBetweenSpeakers(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	a, b, s := speaks(t, h.alice, h.inner, "down"), speaks(t, h.bob, h.inner, "down2"), speaks(t, h.server, h.outer, "down")
	var ports []uint16
	for family, name := range families {
		for _, from := range []netip.Addr{alice[family], aliceOther[family]} {
			as := nodeWan[family]
			if from == alice[1] {
				as = imageOf(from)
			}
			t.Run(fmt.Sprintf("SCTP from %v", from), func(t *testing.T) {
				c := &association{client: a, server: s, from: from, to: pathServer[family], as: as, at: pathServer[family], port: 7000, clientTag: 11, peerTag: 22}
				c.opens(t)
				ports = append(ports, c.external)
			})
		}
		t.Run("SCTP from outside over "+name, func(t *testing.T) {
			c := &association{client: s, server: b, from: pathServer[family], to: bobOutside[family], as: pathServer[family], at: bob[family], port: 7000, clientTag: 33, peerTag: 44}
			c.opens(t)
		})
		t.Run("GRE over "+name, func(t *testing.T) {
			tunnel := func(key byte) []byte { return append([]byte{0x20, 0, 8, 0, 0, 0, 0, key}, pattern(500)...) }
			there, back := tunnel(5), tunnel(6)
			is := func(want []byte) func([]byte) bool { return func(b []byte) bool { return bytes.Equal(b, want) } }
			p := a.tells(t, "the tunnel's packet", protoGRE, aliceOther[family], pathServer[family], there, s, pathServer[family], is(there))
			if p.from != nodeWan[family] {
				t.Errorf("the tunnel comes from %v", p.from)
			}
			p = s.tells(t, "the tunnel's answer", protoGRE, pathServer[family], nodeWan[family], back, a, aliceOther[family], is(back))
			if p.from != pathServer[family] {
				t.Errorf("the answer comes from %v", p.from)
			}
			s.tells(t, "a tunnel from outside", protoGRE, pathServer[family], bobOutside[family], there, b, bob[family], is(there))
		})
	}
	if t.Failed() {
		return // the node is asked for its drops while it lives
	}
	if len(ports) == 4 && (ports[0] != 7000 || ports[1] == 7000) {
		t.Errorf("external ports %v: the first two hosts share an address", ports)
	}
	h.node.stop(t, 15)
}
