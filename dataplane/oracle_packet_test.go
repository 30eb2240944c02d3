package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"holdfast/dataplane/packet"
)

// Packets of the translation oracle, without Ethernet headers.

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// say builds a step's packet for each judge, in pieces where it is too long.
func (o *oracle) say(c *talk, s *step) (in [judges][][]byte) {
	id, ttl, tos := uint16(1+o.r.IntN(65535)), uint8(2+o.r.IntN(250)), uint8(o.r.IntN(256))
	body := make([]byte, s.payload)
	for i := range body {
		body[i] = byte(o.r.Uint32())
	}
	next := c.seq[s.from] + uint32(s.payload)
	if s.flags&(packet.FlagSYN|packet.FlagFIN) != 0 {
		next++
	}
	order := o.r.Perm(8)
	for j := range judges {
		from, to := c.inside, c.outside
		if s.from == wan {
			from, to = c.outside, c.public[j]
		}
		whole := o.build(c, s, from, to, id, ttl, tos, body)
		in[j] = pieces(whole, uint32(id), order)
	}
	c.seq[s.from] = next
	return in
}

// build makes one packet.
func (o *oracle) build(c *talk, s *step, from, to endpoint, id uint16, ttl, tos uint8, body []byte) []byte {
	var network gopacket.SerializableLayer
	var sums gopacket.NetworkLayer
	proto := layers.IPProtocol(c.proto)
	if from.addr.Is4() {
		ip4 := &layers.IPv4{Version: 4, TTL: ttl, Id: id, TOS: tos, Protocol: proto, SrcIP: from.addr.AsSlice(), DstIP: to.addr.AsSlice()}
		network, sums = ip4, ip4
	} else {
		ip6 := &layers.IPv6{Version: 6, HopLimit: ttl, TrafficClass: tos, FlowLabel: uint32(id), NextHeader: proto, SrcIP: from.addr.AsSlice(), DstIP: to.addr.AsSlice()}
		network, sums = ip6, ip6
	}
	stack := []gopacket.SerializableLayer{network}
	request := s.from == lan != c.inbound
	switch c.proto {
	case packet.TCP:
		tcp := &layers.TCP{SrcPort: layers.TCPPort(from.port), DstPort: layers.TCPPort(to.port), Seq: c.seq[s.from], Window: 65535,
			SYN: s.flags&packet.FlagSYN != 0, ACK: s.flags&packet.FlagACK != 0, FIN: s.flags&packet.FlagFIN != 0, PSH: s.flags&packet.FlagPSH != 0}
		if tcp.ACK {
			tcp.Ack = c.seq[s.from^1]
		}
		tcp.SetNetworkLayerForChecksum(sums)
		stack = append(stack, tcp)
	case packet.UDP:
		udp := &layers.UDP{SrcPort: layers.UDPPort(from.port), DstPort: layers.UDPPort(to.port)}
		udp.SetNetworkLayerForChecksum(sums)
		stack = append(stack, udp)
	case packet.ICMP:
		kind, identifier := uint8(packet.ICMPEchoReply), from.port
		if request {
			kind = packet.ICMPEchoRequest
		}
		if s.from == wan {
			identifier = to.port
		}
		stack = append(stack, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: identifier, Seq: id})
	case packet.ICMPv6:
		kind := uint8(packet.ICMPv6EchoReply)
		if request {
			kind = packet.ICMPv6EchoRequest
		}
		identifier := from.port
		if s.from == wan {
			identifier = to.port
		}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
		icmp.SetNetworkLayerForChecksum(sums)
		stack = append(stack, icmp, &layers.ICMPv6Echo{Identifier: identifier, SeqNumber: id})
	}
	p := o.serialize(append(stack, gopacket.Payload(body))...)
	if _, _, l4 := dissect(p); c.proto == packet.UDP && be16(p[l4+6:]) == 0 {
		binary.BigEndian.PutUint16(p[l4+6:], 0xffff) // gopacket does not know that 0 is none (RFC 768)
	}
	return p
}

func (o *oracle) serialize(stack ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		o.t.Fatal(err)
	}
	return append([]byte(nil), buf.Bytes()...)
}

// pieceLen is the most of a datagram that a piece carries.
const pieceLen = 1400

// pieces cuts a packet that is longer than 1,500 bytes, and puts the pieces in an order.
func pieces(whole []byte, id uint32, order []int) (all [][]byte) {
	if len(whole) <= 1500 {
		return [][]byte{whole}
	}
	header := 20
	if whole[0]>>4 == 6 {
		header = 40
	}
	body := whole[header:]
	for at := 0; at < len(body); at += pieceLen {
		end := min(at+pieceLen, len(body))
		more := end < len(body)
		p := append([]byte(nil), whole[:header]...)
		if header == 20 {
			offset := uint16(at / 8)
			if more {
				offset |= 1 << 13
			}
			binary.BigEndian.PutUint16(p[2:], uint16(20+end-at))
			binary.BigEndian.PutUint16(p[6:], offset)
			binary.BigEndian.PutUint16(p[10:], 0)
			binary.BigEndian.PutUint16(p[10:], ^sum16(0, p))
		} else {
			fragment := []byte{p[6], 0, 0, 0, 0, 0, 0, 0}
			binary.BigEndian.PutUint16(fragment[2:], uint16(at))
			if more {
				fragment[3] |= 1
			}
			binary.BigEndian.PutUint32(fragment[4:], id)
			p[6] = 44
			binary.BigEndian.PutUint16(p[4:], uint16(8+end-at))
			p = append(p, fragment...)
		}
		all = append(all, append(p, body[at:end]...))
	}
	var shuffled [][]byte
	for _, i := range order {
		if i < len(all) {
			shuffled = append(shuffled, all[i])
		}
	}
	return shuffled
}

// isPiece reports whether a packet is a piece of a datagram.
func isPiece(p []byte) bool {
	if p[0]>>4 == 6 {
		return p[6] == 44
	}
	return be16(p[6:])&0x3fff != 0
}

// Errors of routers and hosts, by family: type, code.
var oracleErrors = [2][][2]uint8{
	{{3, 0}, {3, 1}, {3, 3}, {3, 4}, {3, 13}, {11, 0}, {12, 0}},
	{{1, 0}, {1, 3}, {1, 4}, {2, 0}, {3, 0}, {4, 0}},
}

// complain builds the error that each judge's last packet to this side is answered with.
func (o *oracle) complain(c *talk, s *step) (in [judges][][]byte) {
	id, ttl := uint16(1+o.r.IntN(65535)), uint8(2+o.r.IntN(250))
	v6 := 0
	if c.inside.addr.Is6() {
		v6 = 1
	}
	kind := oracleErrors[v6][o.r.IntN(len(oracleErrors[v6]))]
	if s.spoil && (kind == [2]uint8{3, 4} || kind == [2]uint8{2, 0}) {
		kind = oracleErrors[v6][0] // from that the kernel would learn an MTU of its own
	}
	router := o.r.IntN(2) == 0
	keep := []int{8, 20, 64, 512}[o.r.IntN(4)]
	for j := range judges {
		quoted := c.last[s.from][j]
		src, dst, l4 := dissect(quoted)
		quote := append([]byte(nil), quoted[:min(len(quoted), l4+keep)]...)
		if s.spoil && len(quote) >= l4+8 {
			// A port, or identifier, that no talk has and hardly any translation gives.
			binary.BigEndian.PutUint16(quote[l4:], 0xffff)
			if c.proto == packet.ICMP || c.proto == packet.ICMPv6 {
				copy(quote[l4:], quoted[l4:l4+2])
				binary.BigEndian.PutUint16(quote[l4+4:], 0xffff)
			}
		}
		from := dst
		if router {
			from = netip.MustParseAddr([2][2]string{{"10.0.0.253", "fd00:1::fd"}, {"198.18.255.1", "2001:db8:9:ff::1"}}[s.from][v6])
		}
		in[j] = [][]byte{o.errorPacket(from, src, kind, id, ttl, quote)}
	}
	return in
}

func (o *oracle) errorPacket(from, to netip.Addr, kind [2]uint8, id uint16, ttl uint8, quote []byte) []byte {
	if from.Is4() {
		ip4 := &layers.IPv4{Version: 4, TTL: ttl, Id: id, TOS: 0xc0, Protocol: layers.IPProtocolICMPv4, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind[0], kind[1])}
		if kind == [2]uint8{3, 4} {
			icmp.Seq = 1280 // the MTU
		}
		return o.serialize(ip4, icmp, gopacket.Payload(quote))
	}
	ip6 := &layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: layers.IPProtocolICMPv6, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind[0], kind[1])}
	icmp.SetNetworkLayerForChecksum(ip6)
	word := make([]byte, 4)
	if kind[0] == 2 {
		binary.BigEndian.PutUint32(word, 1280)
	}
	return o.serialize(ip6, icmp, gopacket.Payload(append(word, quote...)))
}

// dissect returns the ends of a packet and where its transport header begins.
func dissect(p []byte) (src, dst netip.Addr, l4 int) {
	if p[0]>>4 == 4 {
		src, _ = netip.AddrFromSlice(p[12:16])
		dst, _ = netip.AddrFromSlice(p[16:20])
		return src, dst, int(p[0]&15) * 4
	}
	src, _ = netip.AddrFromSlice(p[8:24])
	dst, _ = netip.AddrFromSlice(p[24:40])
	if p[6] == 44 {
		return src, dst, 48
	}
	return src, dst, 40
}

// protocolOf returns the transport protocol.
func protocolOf(p []byte) packet.Proto {
	if p[0]>>4 == 4 {
		return packet.Proto(p[9])
	}
	if p[6] == 44 {
		return packet.Proto(p[40])
	}
	return packet.Proto(p[6])
}

// sum16 adds words in one's complement.
func sum16(start uint32, b []byte) uint16 {
	s := start
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(be16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// verify computes all checksums of a packet anew, but for a piece's transport.
func verify(p []byte) error {
	_, _, l4 := dissect(p)
	v4 := p[0]>>4 == 4
	if v4 && sum16(0, p[:l4]) != 0xffff {
		return errors.New("the IP header's is wrong")
	}
	if isPiece(p) {
		return nil
	}
	var start uint32
	proto := protocolOf(p)
	if proto != packet.ICMP {
		from, to := 8, 40
		if v4 {
			from, to = 12, 20
		}
		start = uint32(sum16(uint32(proto)+uint32(len(p)-l4), p[from:to]))
	}
	if sum16(start, p[l4:]) != 0xffff {
		return fmt.Errorf("that of %v is wrong", proto)
	}
	return nil
}

// canonical returns a packet as it is compared: what a translator may choose is taken out,
// the identification of pieces, and where the ports differ the port, and the checksums over
// it, which have been verified.
func canonical(p []byte, public endpoint, samePort bool) []byte {
	c := append([]byte(nil), p...)
	src, dst, l4 := dissect(c)
	if isPiece(c) {
		if c[0]>>4 == 4 {
			clear(c[4:6])
			clear(c[10:12])
		} else {
			clear(c[44:48])
		}
	}
	proto := protocolOf(c)
	if l4 >= len(c) {
		return c
	}
	first := c[0]>>4 == 4 && be16(c[6:])&0x1fff == 0 || c[0]>>4 == 6 && (c[6] != 44 || be16(c[42:])&^7 == 0)
	isError := proto == packet.ICMP && c[l4] != 8 && c[l4] != 0 || proto == packet.ICMPv6 && c[l4] < 128
	if isError && first && l4+8 < len(c) {
		copy(c[l4+8:], canonical(c[l4+8:], public, samePort))
		if !samePort || isPiece(c[l4+8:]) {
			clear(c[l4+2 : l4+4])
		}
		return c
	}
	if samePort || !first {
		return c
	}
	zero := func(at, n int) {
		if l4+at+n <= len(c) {
			clear(c[l4+at : l4+at+n])
		}
	}
	switch proto {
	case packet.ICMP, packet.ICMPv6:
		if src == public.addr || dst == public.addr {
			zero(4, 2)
			zero(2, 2)
		}
		return c
	case packet.TCP:
		zero(16, 2)
	case packet.UDP:
		zero(6, 2)
	}
	if src == public.addr {
		zero(0, 2)
	} else if dst == public.addr {
		zero(2, 2)
	}
	return c
}
