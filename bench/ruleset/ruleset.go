// Package ruleset makes filters and packets to measure a classifier with, like those of
// ClassBench (Taylor, Turner, INFOCOM 2005), from nothing but a shape, a size and a seed.
//
//	ACL       access lists: narrow destinations, one destination port, few wildcards
//	Firewall  sources or destinations that are any, ranges of ports, services of a few hosts
//	IPChains  a mixture of both, with pairs of networks
//
// Addresses nest as networks do: sites, networks within, hosts within those; so rules
// overlap. What is narrow stands before what is wide, as people write it, and a seed gives
// the same filter on every machine.
package ruleset

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"

	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// Shape is what a filter resembles.
type Shape uint8

// The shapes.
const (
	ACL Shape = iota
	Firewall
	IPChains
)

// Shapes is all of them.
var Shapes = []Shape{ACL, Firewall, IPChains}

// String returns ClassBench's name of the shape.
func (s Shape) String() string { return [...]string{"acl", "fw", "ipc"}[s] }

// traits are the likelihoods of a shape, in percent.
type traits struct {
	anyFrom, anyTo       int // of an address that is any
	hostFrom, hostTo     int // of a single host
	oneToPort, toRange   int // of one destination port, of a range of them; else any
	oneFromPort          int
	tcp, udp             int // else any protocol
	services             int // how many well-known services there are
	networksPerThousands int // of rules
}

var shapes = [...]traits{
	ACL:      {anyFrom: 8, anyTo: 2, hostFrom: 20, hostTo: 45, oneToPort: 70, toRange: 15, oneFromPort: 2, tcp: 70, udp: 20, services: 60, networksPerThousands: 150},
	Firewall: {anyFrom: 45, anyTo: 20, hostFrom: 20, hostTo: 40, oneToPort: 50, toRange: 25, oneFromPort: 15, tcp: 60, udp: 25, services: 30, networksPerThousands: 120},
	IPChains: {anyFrom: 15, anyTo: 10, hostFrom: 35, hostTo: 35, oneToPort: 45, toRange: 20, oneFromPort: 8, tcp: 55, udp: 25, services: 40, networksPerThousands: 200},
}

// generator draws from one seed.
type generator struct {
	r        *rand.Rand
	t        traits
	networks []netip.Prefix
	services []uint16
}

func (g *generator) percent(p int) bool { return g.r.IntN(100) < p }

// Filter returns n rules over IPv4 that pass or block, with ids r0, r1, ...
func Filter(shape Shape, n int, seed uint64) []config.Rule {
	g := &generator{r: rand.New(rand.NewPCG(seed, uint64(shape))), t: shapes[shape]}
	g.lay(max(8, n*g.t.networksPerThousands/1000))
	for range g.t.services {
		g.services = append(g.services, uint16(math.Exp(g.r.Float64()*math.Log(20000)))+1)
	}
	type drawn struct {
		rule  config.Rule
		width float64
	}
	all := make([]drawn, n)
	for i := range all {
		all[i].rule, all[i].width = g.rule()
	}
	slices.SortStableFunc(all, func(a, b drawn) int { return cmp.Compare(a.width, b.width) })
	rules := make([]config.Rule, n)
	for i := range all {
		rules[i] = all[i].rule
		rules[i].Pos = config.Position{File: shape.String(), Line: int32(i + 1), Column: 1}
		rules[i].ID = written(fmt.Sprintf("r%d", i), rules[i].Pos)
	}
	return rules
}

// lay draws the networks: a few sites, and within each networks of 8 to 12 bits less.
func (g *generator) lay(n int) {
	for len(g.networks) < n {
		site := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + g.r.IntN(222)), byte(g.r.IntN(256))}), 12+g.r.IntN(5)).Masked()
		g.networks = append(g.networks, site)
		for range 1 + g.r.IntN(2*max(1, n/40)) {
			g.networks = append(g.networks, g.within(site, 20+g.r.IntN(9)))
		}
	}
}

// within draws a network of so many bits out of another.
func (g *generator) within(p netip.Prefix, bits int) netip.Prefix {
	bits = max(bits, p.Bits())
	a := p.Addr().As4()
	v := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	v |= uint32(g.r.Uint64() & (1<<(32-p.Bits()) - 1))
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), bits).Masked()
}

// rule draws one, and says how much of the space it holds, as a logarithm.
func (g *generator) rule() (r config.Rule, width float64) {
	r.Action = written([]config.Action{config.Pass, config.Block}[g.r.IntN(2)], r.Pos)
	address := func(wide, host int) []config.Value[config.Address] {
		if g.percent(wide) {
			width += 32
			return nil
		}
		p := g.networks[g.r.IntN(len(g.networks))]
		if g.percent(host) {
			p = g.within(p, 32)
		} else if g.percent(30) {
			p = g.within(p, min(32, p.Bits()+g.r.IntN(8)))
		}
		width += float64(32 - p.Bits())
		last := p.Addr().As4()
		for i := p.Bits(); i < 32; i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		return []config.Value[config.Address]{written(config.Address{Kind: config.AddressRange, First: p.Addr(), Last: netip.AddrFrom4(last)}, r.Pos)}
	}
	r.From, r.To = address(g.t.anyFrom, g.t.hostFrom), address(g.t.anyTo, g.t.hostTo)
	switch {
	case g.percent(g.t.tcp):
		r.Protos = []config.Value[config.Protocol]{written(config.TCP, r.Pos)}
	case g.percent(100 * g.t.udp / (100 - g.t.tcp)):
		r.Protos = []config.Value[config.Protocol]{written(config.UDP, r.Pos)}
	default:
		width += 8
	}
	if len(r.Protos) > 0 {
		r.ToPorts = g.ports(g.t.oneToPort, g.t.toRange, &width)
		r.FromPorts = g.ports(g.t.oneFromPort, 3, &width)
	} else {
		width += 32
	}
	return r, width
}

func (g *generator) ports(one, span int, width *float64) []config.Value[config.PortRange] {
	switch d := g.r.IntN(100); {
	case d < one:
		p := g.services[g.r.IntN(len(g.services))]
		return []config.Value[config.PortRange]{written(config.PortRange{First: p, Last: p}, config.Position{})}
	case d < one+span:
		*width += 14
		if g.percent(50) {
			return []config.Value[config.PortRange]{written(config.PortRange{First: 1024, Last: 65535}, config.Position{})}
		}
		first := g.services[g.r.IntN(len(g.services))]
		return []config.Value[config.PortRange]{written(config.PortRange{First: first, Last: first + uint16(g.r.IntN(min(1000, 65535-int(first))))}, config.Position{})}
	}
	*width += 16
	return nil
}

func written[T any](v T, pos config.Position) config.Value[T] { return config.Value[T]{V: v, Pos: pos} }

// Packets returns n first packets that rules of the filter match, with some that none
// does. Rules are drawn evenly, so most packets must pass over what stands before theirs.
func Packets(filter []config.Rule, n int, seed uint64) []packet.Tuple {
	r := rand.New(rand.NewPCG(seed, 1<<32))
	all := make([]packet.Tuple, n)
	for i := range all {
		rule := &filter[r.IntN(len(filter))]
		t := packet.Tuple{Proto: packet.TCP, Src: addressOf(r, rule.From), Dst: addressOf(r, rule.To), SrcPort: portOf(r, rule.FromPorts), DstPort: portOf(r, rule.ToPorts)}
		if len(rule.Protos) > 0 {
			t.Proto = packet.Proto(rule.Protos[0].V)
		}
		all[i] = t
	}
	return all
}

func addressOf(r *rand.Rand, in []config.Value[config.Address]) packet.Addr {
	first, last := netip.AddrFrom4([4]byte{}), netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if len(in) > 0 {
		first, last = in[0].V.First, in[0].V.Last
	}
	a, b := first.As4(), last.As4()
	low, high := number(a), number(b)
	v := low + uint32(r.Uint64N(uint64(high-low)+1))
	return packet.AddrFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}))
}

func number(a [4]byte) uint32 {
	return uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
}

func portOf(r *rand.Rand, in []config.Value[config.PortRange]) uint16 {
	if len(in) == 0 {
		return uint16(r.IntN(1 << 16))
	}
	return in[0].V.First + uint16(r.IntN(int(in[0].V.Last-in[0].V.First)+1))
}
