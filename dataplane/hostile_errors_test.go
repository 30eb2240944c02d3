package dataplane

import (
	"net/netip"

	"holdfast/dataplane/packet"
)

// complaints is what the forger needs to make ICMP errors that quote what it sent: the last
// frames, as they were before anybody spoilt them.
type complaints struct {
	n    int // frames ever remembered
	in   [64]packet.PortID
	last [64][]byte
}

func (c *complaints) remember(in packet.PortID, f []byte) {
	k := c.n % len(c.last)
	c.in[k], c.last[k] = in, append(c.last[k][:0], f...)
	c.n++
}

// complaint returns an error about a frame, from the side that it went to, as somebody
// there may send it, or somebody who only guesses.
func (g *forger) complaint() (packet.PortID, []byte) {
	k := g.r.IntN(min(g.said.n, len(g.said.last)))
	in, about := g.said.in[k]^1, g.said.last[k]
	if g.chance(5) {
		in ^= 1
	}
	family, proto, kind, src, length := 0, uint8(1), one(g.r, []byte{3, 3, 11, 12, 5, 4}), 26, 4
	if about[12] == 0x86 {
		family, proto, kind, src, length = 1, 58, one(g.r, []byte{1, 2, 3, 4, 100, 137}), 22, 16
	} else if in == wan && about[23] != 1 { // ports are kept, the source is not
		copy(about[26:30], masqueraded.AsSlice())
	}
	sumIPv4(about)
	dst, _ := netip.AddrFromSlice(about[src : src+length])
	if g.chance(5) {
		dst = one(g.r, insiders[family])
	}
	quote := about[14:]
	if g.chance(40) {
		quote = quote[:g.r.IntN(len(quote)+1)]
	}
	from := one(g.r, outsiders[family])
	if in == lan {
		from = one(g.r, insiders[family])
	}
	s := append([]byte{kind, 0, 0, 0, 0, byte(g.r.IntN(30)), 5, 0}, quote...)
	if g.chance(3) {
		s = append(s[:8], s...) // about an error
	}
	f := g.wrap(in, from, dst, proto, s)
	sumIPv4(f)
	var p packet.Parsed
	if packet.Decode(f, &p); p.IsICMPError() && g.chance(95) {
		m := f[p.L4:]
		m[2], m[3] = 0, 0
		total := uint32(^checksum(append([]byte(nil), append(m, 0)[:len(m)+len(m)%2]...)))
		if family == 1 {
			pseudo := append(append([]byte(nil), f[22:54]...), byte(len(m)>>8), byte(len(m)), 0, 58)
			total += uint32(^checksum(pseudo))
		}
		total = total&0xffff + total>>16
		m[2], m[3] = byte(^total>>8), byte(^total)
	}
	return in, f
}
