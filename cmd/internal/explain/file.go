package explain

import (
	"fmt"
	"net/netip"

	"holdfast/conntrack"
	"holdfast/dataplane"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/rules/limit"
	"holdfast/rules/table"
)

// Bounds of what a file is explained with.
const (
	connectionsMax = 1 << 16 // that a trace may have at once
	portMTU        = 1500    // bytes of an IP packet
)

// Unknown is what a file alone does not say.
var Unknown = []string{
	"routes of the kernel: only the ports' networks, the gateways and [[routes]] are known",
	"neighbours, connections, and entries that were added to tables: there are none",
}

// Load compiles a node file with its policy, or a policy alone. The errors are those of
// `holdfast check`. Close the table of the snapshot.
func Load(file string) (*View, error) {
	_, p, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	s := &dataplane.Snapshot{Generation: 1, Ports: nat.NewPool()}
	if s.Rules, err = rules.Compile(p); err != nil {
		return nil, err
	}
	if s.NAT, err = nat.Compile(rules.Translations(p), rules.Site(p), s.Ports); err != nil {
		return nil, err
	}
	plan := rules.Limits(p)
	if s.Limits, err = limit.New(&plan, connectionsMax); err != nil {
		return nil, err
	}
	if s.Tables, err = table.New(rules.Tables(p), nil); err != nil {
		return nil, err
	}
	if s.Gateways, err = rules.Gateways(p); err != nil {
		return nil, err
	}
	if s.Steering, err = rules.CompileRoutes(p, s.Gateways); err != nil {
		return nil, err
	}
	if s.Table, err = conntrack.New(conntrack.Config{Capacity: connectionsMax, Node: 1}); err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	if err := s.Table.SetTimeouts(s.Rules.Timeouts(), rules.Adaptive(p), 0); err != nil {
		return nil, err
	}
	s.Routes = routesOf(p, s)
	return &View{Policy: p, Snapshot: s, Ports: portsOf(p), File: true}, nil
}

// routesOf returns the routes that a policy implies.
func routesOf(p *config.Policy, s *dataplane.Snapshot) *fib.Table {
	var routes []fib.Route
	for i := range p.Ports {
		for _, a := range p.Ports[i].Addresses {
			addr := a.V.Addr()
			routes = append(routes,
				fib.Route{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Kind: fib.Local},
				fib.Route{Prefix: a.V.Masked(), Kind: fib.Forward, Port: packet.PortID(i)})
		}
	}
	for _, g := range p.Gateways { // of a family the first in the file has the default route
		port, _ := p.PortID(g.Port.V)
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if g.Address.V.Is6() {
			all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		routes = append(routes, fib.Route{Prefix: all, Kind: fib.Forward, Port: packet.PortID(port), Via: packet.AddrFrom(g.Address.V)})
	}
	var gateways []fib.Gateway
	for _, g := range s.Gateways.All() {
		gateways = append(gateways, fib.Gateway{Port: g.Port, Addr: g.Addr})
	}
	return fib.NewTable(routes, nil, gateways...)
}

// antispoof is the data plane's word for the policy's.
var antispoof = map[config.Antispoof]dataplane.Antispoof{
	config.AntispoofStrict: dataplane.AntispoofStrict,
	config.AntispoofLoose:  dataplane.AntispoofLoose,
	config.AntispoofOff:    dataplane.AntispoofOff,
}

func portsOf(p *config.Policy) (all []*dataplane.Port) {
	for i := range p.Ports {
		c := &p.Ports[i]
		port := &dataplane.Port{
			ID: packet.PortID(i), Name: c.Name.V, Ifindex: i + 1, MTU: portMTU, MAC: packet.MAC{2, 0, 0, 0, 0, byte(i)},
			Antispoof: antispoof[c.Antispoof.V],
		}
		for _, a := range c.Addresses {
			port.Addresses = append(port.Addresses, packet.AddrFrom(a.V.Addr()))
		}
		all = append(all, port)
	}
	return all
}
