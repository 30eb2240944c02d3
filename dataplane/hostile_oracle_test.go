package dataplane

import (
	"encoding/binary"
	"net/netip"

	"holdfast/dataplane/packet"
)

// opening is what a frame would open: the ends of a connection. Ports are zero where the
// protocol has none.
type opening struct {
	src, dst     netip.Addr
	proto        uint8
	sport, dport uint16
}

// opens says what connection a frame may open, or why it must open none. It is written
// from the RFCs, shares nothing with the decoder or the tracker, and errs only towards
// "may": a frame that it lets pass may still be refused.
func opens(f []byte, in packet.PortID) (o opening, why string) {
	own := macLan
	if in == wan {
		own = macWan
	}
	switch {
	case len(f) < 14:
		return o, "no Ethernet header"
	case packet.MAC(f[:6]) != own:
		return o, "not for this station (RFC 1812 5.3.4: nor is a group)"
	}
	var rest []byte
	switch binary.BigEndian.Uint16(f[12:]) {
	case 0x0800:
		rest, why = opensIPv4(f[14:], &o)
	case 0x86dd:
		rest, why = opensIPv6(f[14:], &o)
	default:
		return o, "not IP"
	}
	if why != "" {
		return o, why
	}
	if why = crosses(o.src, o.dst, in); why != "" {
		return o, why
	}
	return o, opensTransport(rest, &o)
}

func opensIPv4(h []byte, o *opening) (rest []byte, why string) {
	if len(h) < 20 {
		return nil, "IPv4 header truncated"
	}
	ihl, total := int(h[0]&15)*4, int(binary.BigEndian.Uint16(h[2:]))
	switch {
	case h[0]>>4 != 4 || ihl < 20 || total < ihl || total > len(h):
		return nil, "RFC 791: version, IHL or length"
	case checksum(h[:ihl]) != 0:
		return nil, "RFC 1812 5.2.2: header checksum"
	case binary.BigEndian.Uint16(h[6:])&0x3fff != 0:
		return nil, "a fragment"
	case h[8] < 2:
		return nil, "RFC 1812 5.3.1: TTL"
	}
	for at := 20; at < ihl && h[at] != 0; { // options, to the end-of-list
		switch {
		case h[at] == 1:
			at++
			continue
		case h[at] == 131 || h[at] == 137:
			return nil, "a source route"
		case at+1 >= ihl || h[at+1] < 2 || at+int(h[at+1]) > ihl:
			return nil, "RFC 791: option length"
		}
		at += int(h[at+1])
	}
	o.proto = h[9]
	o.src, o.dst = netip.AddrFrom4([4]byte(h[12:16])), netip.AddrFrom4([4]byte(h[16:20]))
	if o.proto == 58 {
		return nil, "ICMPv6 over IPv4"
	}
	return h[ihl:total], ""
}

func opensIPv6(h []byte, o *opening) (rest []byte, why string) {
	if len(h) < 40 {
		return nil, "IPv6 header truncated"
	}
	length := int(binary.BigEndian.Uint16(h[4:]))
	switch {
	case h[0]>>4 != 6 || length > len(h)-40:
		return nil, "RFC 8200: version or length"
	case h[7] < 2:
		return nil, "RFC 8200 3: hop limit"
	}
	o.src, o.dst = netip.AddrFrom16([16]byte(h[8:24])), netip.AddrFrom16([16]byte(h[24:40]))
	next := h[6]
	rest = h[40 : 40+length]
	fragments := 0
	for count := 0; ; count++ {
		switch next {
		case 0, 43, 44, 51, 60, 135, 139, 140:
		default:
			o.proto = next
			if next == 1 {
				return nil, "ICMP over IPv6"
			}
			return rest, ""
		}
		if len(rest) < 8 || count == 8 || next == 0 && count > 0 {
			return nil, "RFC 8200 4: extension headers"
		}
		n := 8 * (int(rest[1]) + 1)
		switch next {
		case 44:
			fragments++
			if n = 8; fragments > 1 || rest[2] != 0 || rest[3]&0xf9 != 0 {
				return nil, "a fragment, not atomic (RFC 6946)"
			}
		case 51:
			n = 4 * (int(rest[1]) + 2)
		case 43:
			if rest[2] == 0 {
				return nil, "RFC 5095: routing type 0"
			}
		}
		if n > len(rest) {
			return nil, "RFC 8200 4: an extension header beyond the packet"
		}
		next, rest = rest[0], rest[n:]
	}
}

// crosses says whether the rules and routes of the hostile rig let a first packet through.
func crosses(src, dst netip.Addr, in packet.PortID) string {
	prefixes := map[packet.PortID][]netip.Prefix{
		lan: {netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8:1::/64")},
		wan: {netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:2::/64")},
	}
	behind := func(a netip.Addr, port packet.PortID) bool {
		return prefixes[port][0].Contains(a) || prefixes[port][1].Contains(a)
	}
	local := func(a netip.Addr) bool {
		return packet.AddrFrom(a) == lanAddr || packet.AddrFrom(a) == wanAddr || a == lanAddr6 || a == wanAddr6
	}
	known := false
	for family := range insiders {
		for _, a := range append(append([]netip.Addr(nil), insiders[family]...), outsiders[family]...) {
			known = known || a == dst
		}
	}
	switch {
	case src == dst:
		return "to its own sender"
	case src.Is4In6() || dst.Is4In6():
		return "mapped IPv4 on the wire (RFC 4291 2.5.5.2)"
	case local(src) || local(dst):
		return "of the firewall itself"
	case !behind(src, in):
		return "RFC 2827: the source is not behind this port"
	case !behind(dst, in^1):
		return "no rule for it"
	case !known:
		return "its neighbour is not known"
	}
	return ""
}

func opensTransport(s []byte, o *opening) (why string) {
	need := map[uint8]int{6: 20, 17: 8, 136: 8, 1: 8, 58: 8, 132: 16, 33: 12, 47: 4}[o.proto]
	if len(s) < need {
		return "transport header truncated"
	}
	switch o.proto {
	case 6, 17, 136, 132, 33:
		o.sport, o.dport = binary.BigEndian.Uint16(s), binary.BigEndian.Uint16(s[2:])
	}
	switch o.proto {
	case 6:
		offset, flags := int(s[12]>>4)*4, s[13]&0x17
		switch {
		case offset < 20 || offset > len(s):
			return "RFC 9293 3.1: data offset"
		case flags != 0x02:
			return "RFC 9293 3.5: only a SYN begins a connection"
		case o.dport == 23 && netip.MustParsePrefix("10.0.0.0/24").Contains(o.src):
			return "the rule no-telnet"
		case o.dport == 23 && netip.MustParsePrefix("2001:db8:1::/64").Contains(o.src):
			return "the rule no-telnet"
		}
	case 17:
		if n := int(binary.BigEndian.Uint16(s[4:])); n < 8 || n > len(s) {
			return "RFC 768: length"
		}
		if !o.src.Is4() && s[6] == 0 && s[7] == 0 {
			return "RFC 8200 8.1: no checksum"
		}
	case 136:
		if n := int(binary.BigEndian.Uint16(s[4:])); n != 0 && (n < 8 || n > len(s)) || s[6] == 0 && s[7] == 0 {
			return "RFC 3828 3.1: coverage or checksum"
		}
	case 1:
		switch s[0] {
		case 8, 13, 15, 17:
		default:
			return "RFC 792: not a question"
		}
	case 58:
		if s[0] != 128 {
			return "RFC 4443: not an echo request"
		}
	case 132:
		if s[12] != 1 {
			return heartbeatAlone(s[12:])
		}
		n := int(binary.BigEndian.Uint16(s[14:]))
		if len(s)%4 != 0 || s[12] != 1 || n < 20 || (n+3)&^3 != len(s)-12 || binary.BigEndian.Uint32(s[4:]) != 0 || binary.BigEndian.Uint32(s[16:]) == 0 {
			return "RFC 9260 5.1: only an INIT, alone, begins an association"
		}
	case 33:
		if o := int(s[4]) * 4; o < 12 || o > len(s) {
			return "RFC 4340 5.1: data offset"
		}
	case 47:
		if s[1]&7 > 1 {
			return "RFC 2784: version"
		}
	}
	return ""
}

// heartbeatAlone says why the chunks of a packet begin no association by another path of
// its two ends: nothing but HEARTBEAT does, and AUTH before it (RFC 9260 section 5.4, RFC
// 4895).
func heartbeatAlone(chunks []byte) string {
	beats := 0
	for len(chunks) >= 4 {
		n := int(binary.BigEndian.Uint16(chunks[2:]))
		if n < 4 || n > len(chunks) {
			return "RFC 9260 3.2: chunk length"
		}
		switch chunks[0] {
		case 4:
			beats++
		case 15:
		default:
			if chunks[0] < 15 {
				return "RFC 9260 5.1: only an INIT, or a HEARTBEAT, alone, begins an association"
			}
		}
		chunks = chunks[min((n+3)&^3, len(chunks)):]
	}
	if beats == 0 {
		return "RFC 9260 5.1: only an INIT, or a HEARTBEAT, alone, begins an association"
	}
	return ""
}
