package config

import "fmt"

// NeedsRestart returns what a policy changes of another that a reload cannot: what the start
// builds, devices, addresses and the cluster. The error is an Errors, at the places in the new policy.
func NeedsRestart(before, after *Policy) error {
	d := &decoder{}
	refuse := func(at Position, what string) {
		if at.IsZero() {
			at = Position{File: after.File, Line: 1, Column: 1}
		}
		d.refuse(at, what, "restart the node to put it in force, or take it back to reload the rest")
	}
	for i := range after.Ports {
		p := &after.Ports[i]
		switch old := before.Port(p.Name.V); {
		case old == nil:
			refuse(p.Name.Pos, fmt.Sprintf("port %s is new, and a reload adds no ports", p.Name.V))
		case !same(*old, *p):
			refuse(p.Name.Pos, fmt.Sprintf("port %s is changed, and a reload touches no ports", p.Name.V))
		}
	}
	for i := range before.Ports {
		if name := before.Ports[i].Name.V; after.Port(name) == nil {
			refuse(Position{}, fmt.Sprintf("port %s is gone, and a reload removes no ports", name))
		}
	}
	for _, part := range []struct {
		name string
		a, b any
		pos  Position
	}{
		{"[groups]", before.Groups, after.Groups, firstGroup(after)},
		{"[gateways]", before.Gateways, after.Gateways, firstGateway(after)},
		{"[cluster]", before.Cluster, after.Cluster, after.Cluster.Heartbeat.Pos},
	} {
		if part.pos.IsZero() && firstGroup(before).IsZero() && part.name == "[groups]" {
			continue // the one group of all ports, of which is told above
		}
		if !same(part.a, part.b) {
			refuse(part.pos, part.name+" is changed, and a reload leaves it as it is")
		}
	}
	return d.errs.orNil()
}

func firstGroup(p *Policy) Position {
	if len(p.Groups) == 0 {
		return Position{}
	}
	return p.Groups[0].Name.Pos
}

func firstGateway(p *Policy) Position {
	if len(p.Gateways) == 0 {
		return Position{}
	}
	return p.Gateways[0].Name.Pos
}
