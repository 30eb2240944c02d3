package rules

import (
	"fmt"

	"holdfast/dataplane/gateway"
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// Routes says by which group of gateways a connection leaves. It is immutable; nil sends
// nothing anywhere.
type Routes struct {
	wants  Set // what each route wants of a packet; of its rules only that part is filled in
	groups []*gateway.Group
}

// Gateways returns a policy's gateways by number.
func Gateways(p *config.Policy) (*gateway.Set, error) {
	all := make([]gateway.Gateway, len(p.Gateways))
	for _, g := range p.Gateways {
		number, _ := p.GatewayNumber(g.Name.V)
		port, ok := p.PortID(g.Port.V)
		if !ok {
			return nil, fmt.Errorf("%v: gateway %s: no port %s", g.Name.Pos, g.Name.V, g.Port.V) // config refuses it
		}
		all[number-1] = gateway.Gateway{Name: g.Name.V, Port: packet.PortID(port), Addr: packet.AddrFrom(g.Address.V)}
	}
	set, err := gateway.NewSet(all)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.File, err)
	}
	return set, nil
}

// sticks translates what sticks together.
var sticks = [...]gateway.Stick{
	config.StickSource: gateway.StickSource, config.StickConnection: gateway.StickConnection,
	config.StickSourceDestination: gateway.StickSourceDestination,
}

// CompileRoutes compiles a policy's routes over its gateways.
func CompileRoutes(p *config.Policy, set *gateway.Set) (*Routes, error) {
	r := &Routes{}
	for i := range p.Routes {
		row := &p.Routes[i]
		var members []gateway.Member
		for _, w := range row.Gateways {
			number, _ := p.GatewayNumber(w.Gateway.V)
			members = append(members, gateway.Member{Gateway: gateway.Number(number), Weight: w.Weight.V})
		}
		group, err := gateway.NewGroup(set, members, sticks[row.Stick.V])
		if err != nil {
			return nil, fmt.Errorf("%v: route: %w", row.Pos, err) // config refuses it
		}
		r.groups = append(r.groups, group)
		wants := rule{
			in: portsOf(p, row.In), protos: protosOf(row.Protos),
			toPorts: r.wants.addPortRanges(row.ToPorts), fromPorts: anyList,
		}
		wants.from, _ = r.wants.addAddresses(p, row.From, nil) // config refuses tables here
		wants.to, _ = r.wants.addAddresses(p, row.To, nil)
		r.wants.rules = append(r.wants.rules, wants)
	}
	return r, nil
}

// Match returns the group of the first route that a packet meets which came in by a port,
// nil where none does. A route without a gateway of the packet's family is not met. It
// does not allocate.
func (r *Routes) Match(t *packet.Tuple, in packet.PortID) *gateway.Group {
	if i := r.Row(t, in); i >= 0 {
		return r.groups[i]
	}
	return nil
}

// Row is Match for people: it returns the place of the route in the policy, from 0, or -1.
func (r *Routes) Row(t *packet.Tuple, in packet.PortID) int {
	if r == nil || len(r.groups) == 0 {
		return -1
	}
	q := queryOf(t, in, packet.NoPort, nil)
	for i := range r.wants.rules {
		if r.groups[i].Serves(&t.Dst) && r.wants.differs(&r.wants.rules[i], &q) == FieldNone {
			return i
		}
	}
	return -1
}
