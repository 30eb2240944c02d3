package config

import "fmt"

// Check compares a node with the policy it is to run: every port has a device here, every
// device a port, and priorities speak of groups that there are. The error is an Errors.
func Check(n *Node, p *Policy) error {
	d := &decoder{}
	for _, port := range p.Ports {
		if n.Device(port.Name.V) == nil {
			d.refuse(port.Name.Pos, fmt.Sprintf("port %s has no device in %s", port.Name.V, n.File),
				fmt.Sprintf("add %s = { device = \"eth1\" } to its [devices]", port.Name.V))
		}
	}
	for _, v := range n.Devices {
		known(d, "port", v.Port, p.portNames())
	}
	groups := make([]string, len(p.Groups))
	for i, g := range p.Groups {
		groups[i] = g.Name.V
	}
	for _, rank := range n.Priority {
		known(d, "group", rank.Group, groups)
	}
	n.checkGateways(d, p)
	if len(n.Links) > 0 {
		n.checkPriority(d, groups)
	}
	if alone := p.Cluster.Alone; alone.V == AloneWitness && (len(n.Links) == 0 || !n.Witness.Peer.Written()) {
		d.refuse(alone.Pos, fmt.Sprintf(`alone = "witness", and %s names no peers or no witness`, n.File),
			`add witness = { address = "192.0.2.1:7401", peer = "203.0.113.7:7401" } to its [cluster], or use "serve" or "wait"`)
	}
	return d.errs.orNil()
}

// checkPriority: where nodes elect, each says its rank in every group.
func (n *Node) checkPriority(d *decoder, groups []string) {
	for _, g := range groups {
		ranked := false
		for _, rank := range n.Priority {
			ranked = ranked || rank.Group.V == g
		}
		if !ranked {
			d.refuse(n.Links[0].Pos, fmt.Sprintf("the node has peers and no priority in group %s", g), fmt.Sprintf("add priority = { %s = %d } to [cluster]", g, DefaultPriority))
		}
	}
}

// checkGateways: a gateway that is tracked is one of the policy, and is asked.
func (n *Node) checkGateways(d *decoder, p *Policy) {
	var names []string
	asked := map[string]bool{}
	for _, g := range p.Gateways {
		names = append(names, g.Name.V)
		asked[g.Name.V] = g.Probe.Kind.V != ProbeNone
	}
	for i := range n.Tracks {
		g := n.Tracks[i].Gateway
		if !g.Written() {
			continue
		}
		known(d, "gateway", g, names)
		if is, ok := asked[g.V]; ok && !is {
			d.refuse(g.Pos, fmt.Sprintf("gateway %s is tracked, and the policy says nothing of how it is asked", g.V), fmt.Sprintf(`add probe = "icmp" to [gateways.%s]`, g.V))
		}
	}
}
