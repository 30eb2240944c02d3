package dataplane

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// The translation oracle sends the same packets through the kernel's nf_nat and through
// the path, and compares what comes out, byte by byte.
//
//	generated conversations --+--> nftables NAT in a namespace --+
//	                          |                                  +--> equal but for what may differ
//	                          +--> the path, in the rig ---------+
//
// Each judge chooses its own external ports, so what the outside answers is built for each
// from what it sent. Checksums of everything that comes out are verified, so a difference
// of ports may hide nothing; where the two chose the same port, every byte must be equal.

// oraclePolicy is kernelNAT in our words.
const oraclePolicy = `
[ports.lan]
addresses = ["10.0.0.1/24", "fd00:1::1/64"]
[ports.wan]
addresses = ["203.0.113.2/24", "2001:db8:0:2::2/64"]
[groups.main]
ports = ["lan", "wan"]

[[nat]]
kind = "dnat"
in = "wan"
to = ["203.0.113.2"]
proto = "tcp"
to_port = 8080
target = "10.0.0.20"
target_port = 80
[[nat]]
kind = "dnat"
in = "wan"
to = ["203.0.113.2"]
proto = "udp"
to_port = 5353
target = "10.0.0.21"
target_port = 53
[[nat]]
kind = "dnat"
in = "wan"
to = ["2001:db8:0:2::2"]
proto = "tcp"
to_port = 8080
target = "fd00:1::20"
target_port = 80
[[nat]]
kind = "static"
from = ["10.1.0.0/28"]
target = "198.51.100.0/28"
out = "wan"
[[nat]]
kind = "snat"
from = ["10.2.0.0/24"]
target = "203.0.113.3"
out = "wan"
[[nat]]
kind = "masquerade"
from = ["10.0.0.0/24", "fd00:1::/64"]
out = "wan"

[[rules]]
id = "out"
action = "pass"
in = "lan"
out = "wan"
[[rules]]
id = "in"
action = "pass"
in = "wan"
out = "lan"
to = ["10.0.0.20", "10.0.0.21", "10.1.0.0/28", "fd00:1::20"]
`

// oracleRoutes lead everything to two neighbours that stand for all hosts of their side.
func oracleRoutes() (routes []fib.Route, neighbors []fib.Neighbor) {
	for _, side := range []struct {
		port     packet.PortID
		mac      packet.MAC
		v4, v6   string // the neighbours
		prefixes []string
		own      []string
	}{
		{lan, macClient, "10.0.0.254", "fd00:1::fe", []string{"10.0.0.0/24", "10.1.0.0/28", "10.2.0.0/24", "fd00:1::/64"}, []string{"10.0.0.1/32", "fd00:1::1/128"}},
		{wan, macServer, "203.0.113.254", "2001:db8:0:2::fe", []string{"203.0.113.0/24", "198.18.0.0/15", "2001:db8:0:2::/64", "2001:db8:9::/48"},
			[]string{"203.0.113.2/32", "2001:db8:0:2::2/128"}},
	} {
		for _, p := range side.prefixes {
			prefix, via := netip.MustParsePrefix(p), side.v4
			if prefix.Addr().Is6() {
				via = side.v6
			}
			routes = append(routes, fib.Route{Prefix: prefix, Kind: fib.Forward, Port: side.port, Via: ip(via)})
		}
		for _, p := range side.own {
			routes = append(routes, fib.Route{Prefix: netip.MustParsePrefix(p), Kind: fib.Local})
		}
		neighbors = append(neighbors, fib.Neighbor{Port: side.port, Addr: ip(side.v4), MAC: side.mac},
			fib.Neighbor{Port: side.port, Addr: ip(side.v6), MAC: side.mac})
	}
	return routes, neighbors
}

// The judges.
const (
	theKernel = iota
	thePath
	judges
)

// endpoint is an address and a port, or the identifier of an ICMP query.
type endpoint struct {
	addr netip.Addr
	port uint16
}

// talk is one conversation between a host inside and one outside.
type talk struct {
	proto           packet.Proto
	inside, outside endpoint
	public          [judges]endpoint // what stands for the inside outside; learned from the first packet outwards
	learned         bool
	inbound         bool // the outside begins
	seq             [2]uint32
	last            [2][judges][]byte // by the port that it left by: the packet last delivered
	steps           []step
}

// step is one packet of a conversation.
type step struct {
	from    packet.PortID // lan: from the inside
	flags   packet.TCPFlags
	payload int
	about   bool // an ICMP error about the last packet that was delivered to this side
	spoil   bool // of about: it quotes another port
}

// oracle drives both judges.
type oracle struct {
	t       *testing.T
	r       *rand.Rand
	kernel  *kernelJudge
	rig     *rig
	used    map[string]bool
	counts  map[string]int
	packets int
	history []string // of the conversation
}

const (
	natOracleSeed = 20261121
	natOracleGate = 20_000
	natOracleSoak = 50_000 // in each of its rounds: more would use up the ports below 1024, which we do not overload
	natRounds     = 20
)

// TestREL22_TranslationOracle is the differential test against nf_nat (I1, I2, H1 to H5,
// K1). Every round has a seed, a kernel and a table of its own.
func TestREL22_TranslationOracle(t *testing.T) {
	seed, total, rounds := uint64(natOracleSeed), natOracleGate, uint64(1)
	if os.Getenv("HOLDFAST_SOAK") != "" {
		total, rounds = natOracleSoak, natRounds
	}
	if s := os.Getenv("HOLDFAST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("HOLDFAST_SEED: %v", err)
		}
		seed = n
	}
	for round := range rounds {
		t.Run(fmt.Sprint("seed=", seed+round), func(t *testing.T) { translateBoth(t, seed+round, total) })
	}
}

// translateBoth compares so many packets.
func translateBoth(t *testing.T, seed uint64, total int) {
	kernel := newKernelJudge(t)
	routes, neighbors := oracleRoutes()
	o := &oracle{
		t: t, r: rand.New(rand.NewPCG(seed, 22)), kernel: kernel, rig: rigOf(t, oraclePolicy, routes, neighbors, 1<<17),
		used: map[string]bool{}, counts: map[string]int{},
	}
	for i, a := range [][]string{{"10.0.0.1", "fd00:1::1"}, {"203.0.113.2", "2001:db8:0:2::2"}} {
		o.rig.w.shares[i].Addresses = []packet.Addr{ip(a[0]), ip(a[1])}
	}
	for o.packets < total {
		o.converse(o.talk())
		if t.Failed() {
			t.Fatalf("seed %d, packet %d:\n%s", seed, o.packets, strings.Join(o.history, "\n"))
		}
	}
	for _, what := range []string{"masquerade", "snat", "static", "dnat", "inbound static", "udp", "tcp", "icmp", "icmpv6", "fragments",
		"icmp error inwards", "icmp error outwards", "other port"} {
		if o.counts[what] == 0 {
			t.Errorf("nothing of %q was compared", what)
		}
	}
	t.Logf("seed %d: %d packets compared: %v", seed, o.packets, o.counts)
}

func (o *oracle) pick(all ...string) string { return all[o.r.IntN(len(all))] }

// talk draws a conversation that was not held before.
func (o *oracle) talk() *talk {
	for {
		c := &talk{}
		kind := o.pick("masquerade", "masquerade", "snat", "static", "dnat", "inbound static", "masquerade6", "dnat6")
		c.proto = []packet.Proto{packet.TCP, packet.UDP, packet.ICMP}[o.r.IntN(3)]
		port := func() uint16 {
			return uint16([]int{1 + o.r.IntN(1023), 1024 + o.r.IntN(64), 1024 + o.r.IntN(64000)}[o.r.IntN(3)])
		}
		v4 := func(format string, from, n int) netip.Addr {
			return netip.MustParseAddr(fmt.Sprintf(format, from+o.r.IntN(n)))
		}
		c.inside.port, c.outside = port(), endpoint{v4("198.18.0.%d", 1, 4), uint16(7 + o.r.IntN(3))}
		switch kind {
		case "masquerade":
			c.inside.addr = v4("10.0.0.%d", 30, 40)
		case "snat":
			c.inside.addr = v4("10.2.0.%d", 1, 40)
		case "static":
			c.inside.addr = v4("10.1.0.%d", 0, 16)
		case "masquerade6":
			c.inside.addr, c.outside.addr = v4("fd00:1::%x", 0x30, 40), v4("2001:db8:9::%x", 1, 4)
		case "inbound static":
			n := o.r.IntN(16)
			c.inbound, c.inside.addr = true, netip.MustParseAddr(fmt.Sprintf("10.1.0.%d", n))
			c.outside.port = port()
			c.know(endpoint{netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", n)), c.inside.port})
		case "dnat":
			c.inbound, c.outside.port = true, port()
			if c.proto = packet.TCP; o.r.IntN(2) == 0 {
				c.proto = packet.UDP
			}
			public := endpoint{netip.MustParseAddr("203.0.113.2"), 8080}
			c.inside = endpoint{netip.MustParseAddr("10.0.0.20"), 80}
			if c.proto == packet.UDP {
				public.port, c.inside = 5353, endpoint{netip.MustParseAddr("10.0.0.21"), 53}
			}
			c.know(public)
		case "dnat6":
			c.inbound, c.proto, c.outside = true, packet.TCP, endpoint{v4("2001:db8:9::%x", 1, 4), port()}
			c.inside = endpoint{netip.MustParseAddr("fd00:1::20"), 80}
			c.know(endpoint{netip.MustParseAddr("2001:db8:0:2::2"), 8080})
		}
		if c.proto == packet.ICMP {
			c.outside.port = c.inside.port // one identifier, whoever begins
			if c.inside.addr.Is6() {
				c.proto = packet.ICMPv6
			}
		}
		name := fmt.Sprint(c.proto, c.inside, c.outside)
		if o.used[name] {
			continue
		}
		o.used[name] = true
		o.counts[strings.TrimSuffix(kind, "6")]++
		o.counts[c.proto.String()]++
		c.script(o.r)
		return c
	}
}

func (c *talk) know(public endpoint) {
	c.public, c.learned = [judges]endpoint{public, public}, true
}

// script draws what is said.
func (c *talk) script(r *rand.Rand) {
	first := lan
	if c.inbound {
		first = wan
	}
	second := first ^ 1
	c.seq = [2]uint32{r.Uint32(), r.Uint32()}
	size := func() int { return []int{0, 1, 7, 8, 33, 512, 1399, 1400}[r.IntN(8)] }
	if c.proto == packet.TCP {
		c.steps = []step{{from: first, flags: packet.FlagSYN}, {from: second, flags: packet.FlagSYN | packet.FlagACK}, {from: first, flags: packet.FlagACK}}
	} else {
		c.steps = []step{{from: first, payload: size()}, {from: second, payload: size()}}
	}
	for range r.IntN(6) {
		from := packet.PortID(r.IntN(2))
		s := step{from: from, flags: packet.FlagACK | packet.FlagPSH, payload: size()}
		if c.proto != packet.TCP {
			s.flags = 0
			if r.IntN(4) == 0 {
				s.payload = 1400 + r.IntN(6000) // in pieces
			}
		}
		c.steps = append(c.steps, s)
		if r.IntN(3) == 0 {
			c.steps = append(c.steps, step{from: from ^ 1, about: true, spoil: r.IntN(8) == 0})
		}
	}
	if c.proto == packet.TCP && r.IntN(2) == 0 {
		c.steps = append(c.steps, step{from: first, flags: packet.FlagFIN | packet.FlagACK}, step{from: second, flags: packet.FlagFIN | packet.FlagACK},
			step{from: first, flags: packet.FlagACK})
	}
}

// converse holds a conversation with both judges, and compares them packet by packet.
func (o *oracle) converse(c *talk) {
	o.history = []string{fmt.Sprintf("%v inside %v outside %v public %v", c.proto, c.inside, c.outside, c.public)}
	for _, s := range c.steps {
		var in [judges][][]byte
		if s.about {
			if c.last[s.from][theKernel] == nil {
				continue // nothing was delivered to this side
			}
			in = o.complain(c, &s)
		} else if s.from == wan && !c.learned {
			o.counts["never begun"]++
			return // both have dropped what would have begun it
		} else {
			in = o.say(c, &s)
		}
		for i := range in[theKernel] {
			o.packets++
			o.rig.w.now += 1e6
			fromKernel, err := o.kernel.send(s.from, in[theKernel][i])
			if err != nil {
				o.t.Fatal(err)
			}
			fromPath := o.path(s.from, in[thePath][i])
			o.history = append(o.history, fmt.Sprintf("%+v\n  to the kernel %s\n  to the path   %s", s, start(in[theKernel][i]), start(in[thePath][i])))
			o.compare(c, &s, fromKernel, fromPath)
			if o.t.Failed() {
				return
			}
		}
	}
}

// path gives the path a packet, and returns what it sends, without Ethernet headers.
func (o *oracle) path(in packet.PortID, ipPacket []byte) (all []out) {
	dst, src, etherType := macLan, macClient, []byte{0x08, 0x00}
	if in == wan {
		dst, src = macWan, macServer
	}
	if ipPacket[0]>>4 == 6 {
		etherType = []byte{0x86, 0xdd}
	}
	frame := append(append(append(append([]byte(nil), dst[:]...), src[:]...), etherType...), ipPacket...)
	for _, one := range o.rig.feed(in, frame) {
		p := one.frame[14:]
		end := int(be16(p[2:]))
		if p[0]>>4 == 6 {
			end = 40 + int(be16(p[4:]))
		}
		all = append(all, out{one.port, p[:end]}) // behind it Ethernet pads
	}
	return all
}

// compare says how the judges differ, and remembers what was delivered.
func (o *oracle) compare(c *talk, s *step, kernel, path []out) {
	if s.spoil && len(kernel) == 1 && len(path) == 0 {
		// It quotes another connection by chance. The number is not one of that: RFC 5927
		// section 4.1 lets us refuse what nf_conntrack passes.
		if why := o.rig.dropped(s.from); len(why) == 1 && why[0] == drop.ICMPErrorSequence {
			o.counts["stricter"]++
			return
		}
	}
	if len(kernel) != len(path) {
		o.t.Errorf("the kernel sent %d packets, the path %d (dropped: %v)\n  kernel %s\n  path   %s",
			len(kernel), len(path), o.rig.dropped(s.from), show(kernel), show(path))
		return
	}
	o.rig.dropped(s.from) // the same are dropped by both
	for i := range kernel {
		var about [judges]string
		if !s.about && !c.learned && kernel[i].port == wan && path[i].port == wan {
			c.learn(kernel[i].frame, path[i].frame)
			if c.public[theKernel] != c.public[thePath] {
				o.counts["other port"]++
			}
		}
		a, b := kernel[i].frame, path[i].frame
		for j, one := range [judges][]byte{a, b} {
			if err := verify(one); err != nil {
				about[j] = err.Error()
			}
		}
		if about != [judges]string{} {
			o.t.Errorf("checksums: kernel %q, path %q\n  kernel %s\n  path   %s", about[theKernel], about[thePath], start(a), start(b))
			return
		}
		same := c.public[theKernel].port == c.public[thePath].port
		if kernel[i].port != path[i].port || !bytes.Equal(canonical(a, c.public[theKernel], same), canonical(b, c.public[thePath], same)) {
			o.t.Errorf("kernel and path differ, public %v\n  kernel %d %s\n  path   %d %s", c.public, kernel[i].port, start(a), path[i].port, start(b))
			return
		}
		if !s.about && kernel[i].port != s.from {
			c.last[kernel[i].port] = [judges][]byte{a, b}
		}
		if isPiece(a) {
			o.counts["fragments"]++
		}
	}
	if s.about && len(kernel) > 0 {
		o.counts["icmp error "+[]string{lan: "outwards", wan: "inwards"}[s.from]]++
	}
}

func show(all []out) string {
	var b strings.Builder
	for _, one := range all {
		fmt.Fprintf(&b, "[%d] %s ", one.port, start(one.frame))
	}
	return b.String()
}

// start is the headers of a packet, to be read.
func start(p []byte) string { return fmt.Sprintf("%d bytes: % x", len(p), p[:min(len(p), 100)]) }

// learn takes the public endpoint of each judge from its first packet outwards.
func (c *talk) learn(kernel, path []byte) {
	c.learned = true
	for j, p := range [judges][]byte{kernel, path} {
		src, _, l4 := dissect(p)
		c.public[j] = endpoint{src, be16(p[l4:])}
		if c.proto == packet.ICMP || c.proto == packet.ICMPv6 {
			c.public[j].port = be16(p[l4+4:])
		}
	}
}
