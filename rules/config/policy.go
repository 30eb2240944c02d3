package config

import (
	"cmp"
	"net/netip"
	"slices"
)

// Bounds of a policy.
const (
	portsMax    = 64 // a set of ports fits one word
	portNameMax = 12 // the TAP of a port is "hf-" and its name, within the kernel's 15 bytes
	rulesMax    = 1 << 17
	natMax      = 4096
)

// Policy is what is the same on every node.
type Policy struct {
	File     string    `json:"-"` // as it was named
	Notices  []Notice  `json:"-"` // what is not acted on yet, or risky, in order of place
	Macros   []Macro   `json:"-"` // expanded wherever they were used
	Ports    []Port    // sorted by name: the position is the port's number, see PortID
	Groups   []Group   // sorted by name; at least one
	Cluster  Cluster   // with defaults
	Gateways []Gateway // in the order of the file
	Routes   []Route   // in the order of the file: the first that matches decides
	Tables   []Table   // in the order of the file; behind them those that only rules name
	NAT      []NAT     // in the order of the file: the first that applies wins
	Limits   []Limit   // on sources; sorted by name
	Defaults Defaults
	Sections []Section // in the order of the file; their rules stand among Rules
	Rules    []Rule    // in the order in which they are asked: the first that matches decides
	Timeouts Timeouts
}

// Port is a logical port: what rules speak of in place of a device.
type Port struct {
	Name      Value[string]
	Addresses []Value[netip.Prefix] // the port's own addresses, each with its network's length
	MAC       Value[MAC]            // not Written: to be made from the cluster's key
	Antispoof Value[Antispoof]
	Clamp     Value[Clamp] // of the MSS in SYNs that cross it
}

// Group is a set of ports that fail over together.
type Group struct {
	Name  Value[string]
	Ports []Value[string]
}

// Gateway is a router on a port's link: a next hop for default routes, and for what
// [[routes]] send to it.
type Gateway struct {
	Name    Value[string]
	Port    Value[string]
	Address Value[netip.Addr]
	Probe   Probe
}

// PortID returns the number of a port, which is the rank of its name among the policy's,
// so that all nodes agree on it.
func (p *Policy) PortID(name string) (id uint8, ok bool) {
	i, ok := slices.BinarySearchFunc(p.Ports, name, func(port Port, name string) int { return cmp.Compare(port.Name.V, name) })
	return uint8(i), ok
}

// Port returns the port of a name, or nil.
func (p *Policy) Port(name string) *Port {
	if i, ok := p.PortID(name); ok {
		return &p.Ports[i]
	}
	return nil
}

// Self returns the addresses of all ports: what rules call "self".
func (p *Policy) Self() []netip.Addr {
	var all []netip.Addr
	for i := range p.Ports {
		for _, a := range p.Ports[i].Addresses {
			all = append(all, a.V.Addr())
		}
	}
	return all
}

// portNames lists the names of all ports, for suggestions.
func (p *Policy) portNames() []string {
	names := make([]string, len(p.Ports))
	for i := range p.Ports {
		names[i] = p.Ports[i].Name.V
	}
	return names
}

// The keys that tell the two files apart.
var (
	nodeOnly   = []string{"policy", "node", "devices", "socket", "log", "track", "hooks"}
	policyOnly = []string{"include", "ports", "groups", "gateways", "routes", "macros", "tables", "nat", "defaults", "sections", "rules", "timeouts"}
)

// policy reads the blueprint from the tree. It is whole only where there are no errors.
func (b *builder) policy() (*Policy, Errors) {
	d := &decoder{errs: b.errs, damaged: b.damaged, read: b.read}
	file := &table{d: d, n: b.root, pos: b.root.pos}
	p := &Policy{File: b.root.pos.File}

	p.Macros = d.readMacros(file.sub("macros"))
	file.sub("ports").each("port", portNameMax, func(name Value[string], t *table) {
		port := Port{Name: name}
		if name.V == "self" {
			d.refuse(name.Pos, `a port named "self": listings and selectors call the node itself so`, "give the port another name")
		}
		many(t, "addresses", portAddress, &port.Addresses)
		one(t, "mac", mac, &port.MAC)
		one(t, "mss_clamp", clamp, &port.Clamp)
		one(t, "antispoof", choice("a way of antispoof", AntispoofStrict, AntispoofLoose, AntispoofOff), &port.Antispoof)
		t.close("")
		p.Ports = append(p.Ports, port)
	})
	file.sub("groups").each("group", nameMax, func(name Value[string], t *table) {
		group := Group{Name: name}
		if t.n.get("ports") == nil {
			t.missing("ports", `["lan", "wan"]`)
		}
		many(t, "ports", named("port", portNameMax), &group.Ports)
		t.close("")
		p.Groups = append(p.Groups, group)
	})
	p.Cluster = d.readCluster(file.sub("cluster"))
	file.sub("gateways").each("gateway", nameMax, func(name Value[string], t *table) {
		gateway := Gateway{Name: name}
		need(t, "port", named("port", portNameMax), `"wan"`, &gateway.Port)
		need(t, "address", address, `"203.0.113.1"`, &gateway.Address)
		gateway.Probe = readGatewayProbe(t, gateway.Address)
		t.close("")
		p.Gateways = append(p.Gateways, gateway)
	})
	for _, t := range file.rows("routes") {
		p.Routes = append(p.Routes, d.readRoute(t))
	}
	file.sub("tables").each("table", nameMax, func(name Value[string], t *table) {
		p.Tables = append(p.Tables, d.readTable(name, t))
	})
	file.sub("limits").each("limit", nameMax, func(name Value[string], t *table) {
		limit := Limit{Name: name}
		readLimit(t, &limit)
		p.Limits = append(p.Limits, limit)
	})
	for _, t := range file.rows("nat") {
		p.NAT = append(p.NAT, d.readNAT(t, p))
	}
	p.Defaults = d.readDefaults(file.sub("defaults"))
	p.Sections = d.readSections(file.sub("sections"))
	p.readRules(d, file.rows("rules"), nil)
	p.placeSections(d)
	p.Timeouts = d.readTimeouts(file.sub("timeouts"))
	file.close("the node file", nodeOnly...)

	p.order(file)
	if !d.damaged {
		p.refer(d)
		p.adopt(d)
	}
	p.Notices = p.notices()
	return p, d.errs
}

// order numbers the ports, and puts them into one group where the file names none.
func (p *Policy) order(file *table) {
	slices.SortFunc(p.Ports, func(a, b Port) int { return cmp.Compare(a.Name.V, b.Name.V) })
	slices.SortFunc(p.Groups, func(a, b Group) int { return cmp.Compare(a.Name.V, b.Name.V) })
	slices.SortFunc(p.Limits, func(a, b Limit) int { return cmp.Compare(a.Name.V, b.Name.V) })
	if len(p.Ports) == 0 && file.n.get("ports") == nil && !file.d.damaged {
		file.refuse(file.pos, "the policy has no ports", `add [ports.lan] with addresses = ["10.0.0.1/24"]`)
	}
	if len(p.Ports) > portsMax {
		over := p.Ports[portsMax].Name.Pos
		file.refuse(over, "more than 64 ports", "remove some")
	}
	if len(p.Gateways) > gatewaysMax {
		file.refuse(p.Gateways[gatewaysMax].Name.Pos, "more than 127 gateways", "remove some")
	}
	if len(p.Routes) > routesMax {
		file.refuse(p.Routes[routesMax].Pos, "more than 1024 routes", "use lists and prefixes")
	}
	if len(p.Rules) > rulesMax {
		file.refuse(p.Rules[rulesMax].Pos, "more than 131072 rules", "use lists and prefixes")
	}
	if len(p.NAT) > natMax {
		file.refuse(p.NAT[natMax].Pos, "more than 4096 translations", "use lists and prefixes")
	}
	if len(p.Groups) == 0 {
		group := Group{Name: byDefault("main")}
		for _, port := range p.Ports {
			group.Ports = append(group.Ports, Value[string]{V: port.Name.V})
		}
		p.Groups = []Group{group}
	}
}
