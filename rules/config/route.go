package config

import (
	"fmt"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Bounds of gateways and routes.
const (
	gatewaysMax      = 127 // a connection names its gateway by seven bits
	routesMax        = 1024
	routeGatewaysMax = 64
	weightMax        = 1000
)

// Route says by which gateways connections leave. The first that matches decides; where
// none does, the kernel's routes hold. Every list that is empty holds for everything. A
// destination on a port's own network is reached directly and meets no route.
type Route struct {
	Pos      Position          `json:"-"` // of its [[routes]]
	In       []Value[string]   // logical ports
	From, To []Value[Address]  // ranges and "any", included or excluded
	Protos   []Value[Protocol] //
	ToPorts  []Value[PortRange]
	Gateways []Weighted // at least one; of the packet's family one is chosen
	Stick    Value[Stick]
}

// Weighted is a gateway of a route with its share of the connections.
type Weighted struct {
	Gateway Value[string]
	Weight  Value[uint32] // 1 by default
}

// Stick says which connections go by one gateway together.
type Stick uint8

// The choices. The zero value is the default.
const (
	StickSource            Stick = iota // all of one source
	StickConnection                     // each by itself
	StickSourceDestination              // all of one source to one destination
)

// String returns the word of the file.
func (s Stick) String() string { return [...]string{"source", "connection", "source-destination"}[s] }

// MarshalText is String.
func (s Stick) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (d *decoder) readRoute(t *table) Route {
	r := Route{Pos: t.pos}
	faults := len(d.errs)
	many(t, "in", named("port", portNameMax), &r.In)
	many(t, "from", routeElement, &r.From)
	many(t, "to", routeElement, &r.To)
	many(t, "proto", protocol, &r.Protos)
	many(t, "to_port", portRange, &r.ToPorts)
	r.readGateways(t)
	one(t, "stick", choice("what sticks together", StickSource, StickConnection, StickSourceDestination), &r.Stick)
	t.close("")
	if len(d.errs) == faults {
		r.check(d)
	}
	return r
}

// routeElement reads an element of a route's from or to: less than a rule's.
func routeElement(n *node) (Address, *fault) {
	a, bad := addressElement(n)
	if bad == nil && a.Kind != AddressRange && a.Kind != AddressAny {
		bad = &fault{what: n.literal() + " in a route is not built yet", mend: `use prefixes, ranges or "any"`}
	}
	return a, bad
}

// readGateways reads "isp1", { gateway = "isp1", weight = 3 }, or a list of either.
func (r *Route) readGateways(t *table) {
	const example = `["isp1", { gateway = "isp2", weight = 3 }]`
	n := t.value("gateways")
	if n == nil {
		t.missing("gateways", example)
		return
	}
	elements := []*node{n}
	if n.kind == unstable.Array {
		elements = n.items
	}
	if len(elements) == 0 {
		t.refuse(n.pos, "gateways is an empty list, which could mean all or nothing", "write their names, such as "+example)
	}
	for _, e := range elements {
		for _, item := range t.d.expand(e) {
			r.Gateways = append(r.Gateways, t.d.readWeighted(t, item))
		}
	}
}

func (d *decoder) readWeighted(t *table, n *node) Weighted {
	w := Weighted{Weight: byDefault[uint32](1)}
	if n.kind != unstable.Table {
		if name, ok := read(t, n, named("gateway", nameMax)); ok {
			w.Gateway = name
		}
		return w
	}
	below := &table{d: d, n: n, pos: n.pos, name: t.below("gateways")}
	need(below, "gateway", named("gateway", nameMax), `"isp1"`, &w.Gateway)
	one(below, "weight", integer[uint32]("a weight", 1, weightMax), &w.Weight)
	below.close("")
	return w
}

// check finds what is wrong with a route whose values are right one by one.
func (r *Route) check(d *decoder) {
	if len(r.Gateways) > routeGatewaysMax {
		d.refuse(r.Gateways[routeGatewaysMax].Gateway.Pos, fmt.Sprintf("more than %d gateways in a route", routeGatewaysMax), "use several routes")
	}
	first := map[string]Position{}
	for _, w := range r.Gateways {
		if at, ok := first[w.Gateway.V]; ok {
			d.refuse(w.Gateway.Pos, fmt.Sprintf("gateway %s is in the route twice, first at %s", w.Gateway.V, at), "remove one of the two, and give the other a weight")
			continue
		}
		first[w.Gateway.V] = w.Gateway.Pos
	}
	if len(r.ToPorts) == 0 {
		return
	}
	if len(r.Protos) == 0 {
		d.refuse(r.ToPorts[0].Pos, "the route has ports and no protocol", `add proto = "tcp" or proto = ["tcp", "udp"]`)
	}
	for _, p := range r.Protos {
		if !p.V.HasPorts() {
			d.refuse(p.Pos, fmt.Sprintf("the route has ports, and %s has none", p.V), "write two routes, one without ports")
		}
	}
}

// GatewayNumber returns the number of a gateway, which is the rank of its name among the
// policy's, from 1, so that all nodes agree on it.
func (p *Policy) GatewayNumber(name string) (number uint8, ok bool) {
	number = 1
	for i := range p.Gateways {
		switch other := p.Gateways[i].Name.V; {
		case other < name:
			number++
		case other == name:
			ok = true
		}
	}
	return number, ok
}

// gateway returns the gateway of a name, or nil.
func (p *Policy) gateway(name string) *Gateway {
	for i := range p.Gateways {
		if p.Gateways[i].Name.V == name {
			return &p.Gateways[i]
		}
	}
	return nil
}

// gatewayNames lists the names of all gateways, for suggestions.
func (p *Policy) gatewayNames() []string {
	names := make([]string, len(p.Gateways))
	for i := range p.Gateways {
		names[i] = p.Gateways[i].Name.V
	}
	return names
}

// referRoute: the gateways are there, and what the route names can go by one of them.
func (p *Policy) referRoute(d *decoder, r *Route) {
	for _, name := range r.In {
		p.wantPort(d, name)
	}
	serves := map[Family]bool{}
	for _, w := range r.Gateways {
		if !w.Gateway.Written() {
			return // told already
		}
		g := p.gateway(w.Gateway.V)
		if g == nil {
			known(d, "gateway", w.Gateway, p.gatewayNames())
			return
		}
		if !g.Address.Written() {
			return // told already
		}
		serves[familyOf(g.Address.V)] = true
	}
	for _, list := range [][]Value[Address]{r.From, r.To} {
		for _, a := range list {
			if a.V.Kind != AddressRange || a.V.Sense == Exclude {
				continue
			}
			if f := familyOf(a.V.First); !serves[f] && len(serves) > 0 {
				d.refuse(a.Pos, fmt.Sprintf("%s is %s, and no gateway of the route is", a.V, f), fmt.Sprintf("add a gateway with an %s address, or take the prefix out", f))
			}
		}
	}
}
