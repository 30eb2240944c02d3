package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"

	"holdfast/dataplane/packet"
)

// forger makes frames that a network has and frames that an attacker makes of them: it
// starts with a packet that is right, of a conversation that may be under way, and then
// spoils it, or not. All that it draws follows from its seed.
type forger struct {
	r    *rand.Rand
	next [8][4][2]uint32 // of a TCP conversation: the next sequence number of client and server
	buf  [4096]byte

	honest bool // spoils nothing

	said complaints // about frames that it made
}

func newForger(seed uint64) *forger { return &forger{r: rand.New(rand.NewPCG(seed, 18))} }

// The addresses that frames come from and go to: [family][port] those behind it that are
// there, and what no packet should cross the firewall with.
var (
	insiders  = [2][]netip.Addr{addrs("10.0.0.10", "10.0.0.11"), addrs("2001:db8:1::10", "2001:db8:1::11")}
	outsiders = [2][]netip.Addr{addrs("203.0.113.10", "203.0.113.11"), addrs("2001:db8:2::10", "2001:db8:2::11")}
	strangers = [2][]netip.Addr{
		addrs("10.0.0.99", "203.0.113.99", "10.0.0.1", "203.0.113.2", "198.51.100.1", "0.0.0.0", "0.1.2.3", "127.0.0.1",
			"224.0.0.251", "255.255.255.255", "169.254.1.1", "240.0.0.1"),
		addrs("2001:db8:1::99", "2001:db8:2::99", "2001:db8:1::1", "2001:db8:2::2", "2001:db8:77::1", "::", "::1",
			"::ffff:10.0.0.10", "ff02::1", "ff0e::1", "fe80::1", "2001:db8:2::1"),
	}
	masqueraded = netip.MustParseAddr("203.0.113.2")
)

func addrs(s ...string) (all []netip.Addr) {
	for _, a := range s {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

func one[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// chance is never with a forger that is honest.
func (g *forger) chance(percent int) bool { return !g.honest && g.r.IntN(100) < percent }

// quiet returns a forger that spoils nothing.
func quiet() *forger {
	g := newForger(1)
	g.honest = true
	return g
}

// kinds returns a right packet of every kind from an insider to an outsider.
func kinds() (all [][]byte) {
	g := quiet()
	ports := []byte{0x03, 0xe8, 0, 80}
	with := func(rest ...byte) []byte { return append(slices.Clone(ports), rest...) }
	syn := []byte{0, 0, 0, 100, 0, 0, 0, 0, 0xa0, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}
	begin := []byte{0, 0, 0, 0, 1, 2, 3, 4, 1, 0, 0, 20, 0, 0, 0, 9, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1}
	dccp := []byte{5, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1}
	for family := range 2 {
		echo, proto := []byte{8, 0, 0, 0, 0, 7, 0, 1, 1, 2, 3, 4}, uint8(1)
		if family == 1 {
			echo, proto = []byte{128, 0, 0, 0, 0, 7, 0, 1, 1, 2, 3, 4}, 58
		}
		for _, k := range []struct {
			proto   uint8
			segment []byte
		}{
			{6, with(syn...)}, {17, with(0, 12, 0, 1, 1, 2, 3, 4)}, {proto, echo}, {132, with(begin...)}, {136, with(0, 8, 0, 1, 1, 2)},
			{33, with(dccp...)}, {47, []byte{0x30, 0, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}, {47, []byte{0x20, 1, 0x88, 0x0b, 0, 4, 0, 9, 1, 2, 3, 4}},
			{50, []byte{0, 0, 0, 9, 0, 0, 0, 1, 1, 2, 3, 4}}, {59, nil},
		} {
			f := slices.Clone(g.wrap(lan, insiders[family][0], outsiders[family][0], k.proto, k.segment))
			sumIPv4(f)
			all = append(all, f)
		}
	}
	for _, chain := range [][]byte{
		{6, 0, 1, 4, 0, 0, 0, 0}, // options
		{6, 2, 4, 1, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10}, // a segment route
		{6, 0, 0, 0, 0, 0, 0, 1}, // an atomic fragment
	} {
		first := map[int]uint8{8: 60, 24: 43}[len(chain)]
		if chain[7] == 1 {
			first = 44
		}
		all = append(all, slices.Clone(g.wrap(lan, insiders[1][0], outsiders[1][0], first, append(slices.Clone(chain), with(syn...)...))))
	}
	return all
}

// frame returns a frame and the port that it comes in by. It is valid until the next call.
func (g *forger) frame() (packet.PortID, []byte) {
	in, family := packet.PortID(g.r.IntN(2)), g.r.IntN(2)
	if g.chance(2) {
		return in, g.arp(in)
	}
	if g.chance(4) && g.said.n > 0 {
		return g.complaint()
	}
	near, far := insiders[family], outsiders[family]
	if in == wan {
		near, far = far, near
		if family == 0 && g.chance(70) {
			far = []netip.Addr{masqueraded}
		}
	}
	src, dst := one(g.r, near), one(g.r, far)
	if g.chance(4) {
		src = one(g.r, strangers[family])
	}
	if g.chance(4) {
		dst = one(g.r, strangers[family])
	}
	proto, segment := g.segment(in, family)
	f := g.wrap(in, src, dst, proto, segment)
	g.said.remember(in, f)
	for g.chance(40) {
		f = g.spoil(f)
	}
	if g.chance(90) {
		sumIPv4(f)
	}
	return in, f
}

// wrap puts a segment into IP, with options or extension headers now and then, and Ethernet.
func (g *forger) wrap(in packet.PortID, src, dst netip.Addr, proto uint8, segment []byte) []byte {
	f := append(g.buf[:0], macLan[:]...)
	if in == wan {
		f = append(f[:0], macWan[:]...)
	}
	f = append(f, macClient[:]...)
	switch {
	case g.chance(2):
		f[0] |= 1 // to a group of stations
	case g.chance(2):
		f[5] ^= 0x40 // to another station
	}
	ttl := byte(64)
	if g.chance(3) {
		ttl = byte(g.r.IntN(3))
	}
	if src.Is4() && dst.Is4() {
		var options []byte
		if g.chance(8) {
			options = g.ipv4Options()
		}
		frag := uint16(0x4000)
		if g.chance(3) {
			frag = uint16(g.r.Uint32())
		}
		f = append(f, 0x08, 0, byte(0x45+len(options)/4), 0)
		f = binary.BigEndian.AppendUint16(f, uint16(20+len(options)+len(segment)))
		f = binary.BigEndian.AppendUint16(f, uint16(g.r.Uint32()))
		f = binary.BigEndian.AppendUint16(f, frag)
		f = append(f, ttl, proto, 0, 0)
		f = append(append(f, src.AsSlice()...), dst.AsSlice()...)
		return append(append(f, options...), segment...)
	}
	var chain []byte
	next := proto
	if g.chance(15) {
		next, chain = g.extensions(proto)
	}
	s, d := src.As16(), dst.As16()
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(chain)+len(segment)))
	f = append(f, next, ttl)
	f = append(append(f, s[:]...), d[:]...)
	return append(append(f, chain...), segment...)
}

// segment returns what a packet carries, and its protocol.
func (g *forger) segment(in packet.PortID, family int) (uint8, []byte) {
	client, server := g.r.IntN(8), g.r.IntN(4)
	s := make([]byte, 0, 1600)
	sport, dport := uint16(1000+client), uint16(20+server) // 23 among them
	if in == wan {
		sport, dport = dport, sport
	}
	s = binary.BigEndian.AppendUint16(s, sport)
	s = binary.BigEndian.AppendUint16(s, dport)
	payload := g.payload()
	switch k := g.r.IntN(100); {
	case k < 45:
		return 6, g.tcp(s, in, &g.next[client][server], payload)
	case k < 58:
		s = binary.BigEndian.AppendUint16(s, uint16(8+len(payload)))
		s = append(s, 0, byte(g.r.IntN(8)))
		return 17, append(s, payload...)
	case k < 72:
		return g.icmp(family, client, payload)
	case k < 80:
		return 132, g.sctp(s)
	case k < 84:
		s = binary.BigEndian.AppendUint16(s, uint16(g.r.IntN(12)))
		return 136, append(append(s, 0, 1), payload...)
	case k < 88:
		kind := byte(g.r.IntN(16))
		s = append(s, byte(7), 0, 0, 1, kind<<1|byte(g.r.IntN(8)/7^1), 0, 0, 0)
		return 33, append(s, make([]byte, 16+g.r.IntN(8))...)
	case k < 92:
		return 47, append(append(s[:0], byte(g.r.IntN(256)), byte(one(g.r, []int{0, 0, 1, 0x81, 2})), 0x88, 0x0b), make([]byte, g.r.IntN(24))...)
	case k < 95:
		return 50, append(s[:0], payload...)
	}
	return uint8(g.r.Uint32()), append(s, payload...)
}

func (g *forger) payload() []byte {
	n := one(g.r, []int{0, 0, 1, 7, 8, 20, 100})
	if g.chance(1) {
		n = 1400 + g.r.IntN(150)
	}
	p := make([]byte, n)
	for i := range min(n, 32) {
		p[i] = byte(g.r.Uint32())
	}
	return p
}

// tcp appends the rest of a segment to its ports: mostly one that its conversation could
// have next.
func (g *forger) tcp(s []byte, in packet.PortID, next *[2]uint32, payload []byte) []byte {
	me, peer := &next[in], next[in^1]
	flags := one(g.r, []byte{0x02, 0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14, 0x42, 0xc2})
	switch {
	case g.chance(10):
		flags = byte(g.r.Uint32())
	case flags&2 != 0 && g.chance(80):
		payload = nil
	}
	seq, ack := *me, peer
	switch {
	case flags&2 != 0 && g.chance(50):
		seq = g.r.Uint32()
	case g.chance(10):
		seq += g.r.Uint32() >> (g.r.IntN(4) * 8)
	}
	if g.chance(10) {
		ack += uint32(g.r.IntN(200000)) - 100000
	}
	if flags&2 != 0 || g.chance(90) {
		*me = seq + uint32(len(payload)) + uint32(flags>>1&1) + uint32(flags&1)
	}
	var options []byte
	switch {
	case g.chance(20):
		options = g.tcpOptions()
	case flags&2 != 0:
		options = []byte{2, 4, 5, 180, 4, 2, 3, 3, 1, 3, 3, 7}
	}
	s = binary.BigEndian.AppendUint32(s, seq)
	s = binary.BigEndian.AppendUint32(s, ack)
	s = append(s, byte(5+len(options)/4)<<4, flags)
	s = binary.BigEndian.AppendUint16(s, uint16(g.r.Uint32()))
	s = append(s, 0, 0, 0, 0)
	return append(append(s, options...), payload...)
}

// tcpOptions is a bomb: up to 40 bytes of kinds that mean something with lengths that do
// not.
func (g *forger) tcpOptions() []byte {
	o := make([]byte, 4*g.r.IntN(11))
	for i := 0; i+2 < len(o); i += max(1, g.r.IntN(12)) {
		o[i], o[i+1] = byte(g.r.IntN(9)), byte(one(g.r, []int{0, 1, 2, 3, 4, 10, 18, 40, 255}))
	}
	return o
}

func (g *forger) ipv4Options() []byte {
	o := make([]byte, 4*g.r.IntN(11))
	for i := 0; i+2 < len(o); i += max(1, g.r.IntN(10)) {
		o[i], o[i+1] = byte(one(g.r, []int{0, 1, 7, 68, 130, 131, 137, 148, 255})), byte(one(g.r, []int{0, 1, 2, 3, 4, 11, 39, 255}))
	}
	return o
}

func (g *forger) icmp(family, id int, payload []byte) (uint8, []byte) {
	kind, proto := one(g.r, []byte{8, 8, 8, 0, 0, 3, 5, 11, 12, 13, 14, 17}), uint8(1)
	if family == 1 {
		kind, proto = one(g.r, []byte{128, 128, 128, 129, 129, 1, 2, 3, 4, 130, 131, 132, 133, 134, 135, 136, 137, 143}), 58
	}
	if g.chance(10) {
		kind = byte(g.r.Uint32())
	}
	if g.chance(2) {
		proto ^= 1 ^ 58
	}
	s := []byte{kind, byte(g.r.IntN(20) / 19), 0, 0, 0, byte(id), 0, 1}
	return proto, append(s, payload...)
}

// sctp appends tag, checksum and chunks to the ports.
func (g *forger) sctp(s []byte) []byte {
	first := one(g.r, []byte{1, 1, 1, 2, 0, 3, 6, 10, 11, 14, 15})
	tag := g.r.Uint32() | 1
	if first == 1 && g.chance(90) {
		tag = 0
	}
	s = binary.BigEndian.AppendUint32(s, tag)
	s = append(s, 0, 0, 0, 0)
	for kind := first; ; kind = byte(g.r.IntN(16)) {
		n := 20
		if kind > 2 || g.chance(5) {
			n = 4 + g.r.IntN(20)
		}
		told := n
		if g.chance(5) {
			told = g.r.IntN(40)
		}
		s = append(s, kind, byte(g.r.IntN(2)), byte(told>>8), byte(told))
		for range (n+3)&^3 - 4 {
			s = append(s, byte(g.r.IntN(4)))
		}
		if len(s) > 1000 || !g.chance(30) {
			return s
		}
	}
}

// extensions returns a chain of extension headers that ends in proto, and its first type.
func (g *forger) extensions(proto uint8) (first uint8, chain []byte) {
	kinds := []uint8{0}
	for range g.r.IntN(10) {
		kinds = append(kinds, one(g.r, []uint8{0, 43, 44, 60, 60, 51, 135, 139, 140}))
	}
	if g.chance(50) {
		kinds = kinds[1:]
	}
	kinds = append(kinds, proto)
	for i, kind := range kinds[:len(kinds)-1] {
		h := make([]byte, 8*(1+g.r.IntN(3)))
		h[0], h[1] = kinds[i+1], byte(len(h)/8-1)
		switch kind {
		case 44:
			h = h[:8]
			h[1] = 0
			if g.chance(30) {
				binary.BigEndian.PutUint16(h[2:], uint16(g.r.Uint32()))
			}
		case 43:
			h[2], h[3] = byte(g.r.IntN(5)), byte(g.r.IntN(3))
		case 51:
			h[1] = byte(len(h)/4 - 2)
		}
		if g.chance(3) {
			h[1] = byte(g.r.Uint32())
		}
		chain = append(chain, h...)
	}
	return kinds[0], chain
}

func (g *forger) arp(in packet.PortID) []byte {
	f := g.buf[:42+g.r.IntN(20)]
	n := packet.AppendGratuitousARP(f[:cap(f)], macClient, client)
	if g.chance(30) {
		n = g.r.IntN(n)
	}
	return f[:n]
}

// spoil does one thing to a frame that should not be done.
func (g *forger) spoil(f []byte) []byte {
	if len(f) < 34 {
		return f
	}
	l4 := 34 + int(f[12]>>7)*20 // without options and extension headers
	put := func(at int, b ...byte) {
		if at+len(b) <= len(f) {
			copy(f[at:], b)
		}
	}
	word := func() []byte {
		w := uint16(one(g.r, []int{0, 1, 7, 8, 19, 20, 0x7fff, 0x8000, 0xffff, len(f) - 14, len(f) - 13, len(f) - l4, g.r.IntN(1 << 16)}))
		return []byte{byte(w >> 8), byte(w)}
	}
	switch g.r.IntN(14) {
	case 0:
		return f[:g.r.IntN(len(f))]
	case 1:
		more := f[len(f):min(cap(f), len(f)+g.r.IntN(64))]
		for i := range more {
			more[i] = byte(g.r.Uint32())
		}
		return f[:len(f)+len(more)]
	case 2:
		f[g.r.IntN(len(f))] ^= 1 << g.r.IntN(8)
	case 3:
		f[g.r.IntN(len(f))] = byte(g.r.Uint32())
	case 4:
		put(16+int(f[12]>>7)*2, word()...) // the length of the packet
	case 5:
		put(14, byte(g.r.Uint32())) // version, IHL
	case 6:
		put(l4+12, byte(g.r.Uint32())) // TCP data offset
	case 7:
		put(l4+13, byte(g.r.Uint32())) // TCP flags
	case 8:
		put(l4+4, word()...) // UDP length
	case 9:
		put(23-int(f[12]>>7)*3, byte(g.r.Uint32())) // protocol
	case 10:
		put(12, one(g.r, [][]byte{{8, 0}, {0x86, 0xdd}, {8, 6}, {0x81, 0}, {0x88, 0xa8}, {0x88, 0xcc}, {0, 60}})...)
	case 11:
		put(20, byte(g.r.Uint32()), byte(g.r.Uint32())) // IPv4 fragment
	case 12:
		put(14+2*g.r.IntN((len(f)-14)/2), word()...)
	case 13:
		put(22-int(f[12]>>7), byte(g.r.IntN(2))) // TTL
	}
	return f
}

// sumIPv4 makes the header checksum of an IPv4 frame right, whatever its length says.
func sumIPv4(f []byte) {
	if len(f) < 34 || f[12] != 8 || f[13] != 0 {
		return
	}
	n := min(max(int(f[14]&15)*4, 20), (len(f)-14)&^1)
	f[24], f[25] = 0, 0
	sum := checksum(f[14 : 14+n])
	f[24], f[25] = byte(sum>>8), byte(sum)
}

// checksum is RFC 1071, slowly.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
