package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/conntrack/selector"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/sync/cluster"
)

// Drops implements api.Daemon.
func (d *daemon) Drops() (api.Drops, error) {
	var all api.Drops
	for _, p := range d.ports {
		one := api.PortDrops{Port: p.Name, Receive: map[string]uint64{}, Send: map[string]uint64{}}
		for _, w := range d.workers {
			_, _, receive, send := w.Counters(p.ID)
			for _, r := range drop.Reasons() {
				if n := receive.Count(r); n > 0 {
					one.Receive[r.String()] += n
				}
				if n := send.Count(r); n > 0 {
					one.Send[r.String()] += n
				}
			}
		}
		all.Ports = append(all.Ports, one)
	}
	return all, nil
}

// parse reads a selector; no words at all select everything for a listing.
func parse(words []string) (*selector.Selector, error) {
	if len(words) == 0 {
		words = []string{"all"}
	}
	s, err := selector.Parse(words)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", api.ErrUsage, err)
	}
	return s, nil
}

// each calls visit for every connection that the selector names.
func (d *daemon) each(s *selector.Selector, visit func(*conntrack.View)) {
	now := gate.Now()
	var v conntrack.View
	names := d.names()
	for i := range d.table.High() {
		if d.table.View(i, now, &v) && s.Match(&v, &names) {
			visit(&v)
		}
	}
}

// names tells a selector what the numbers in a connection are called.
func (d *daemon) names() selector.Names {
	return selector.Names{
		Rule: func(number uint32) (string, []string) {
			r, _ := d.ruleOf(number)
			return r.ID, r.Labels
		},
		Labels: func() (all []string) {
			for _, r := range d.set().Rules() {
				all = append(all, r.Labels...)
			}
			return all
		},
		Port:    d.portName,
		Gateway: d.gatewayName,
		Node:    d.cluster.NodeName,
	}
}

// Conns implements api.Daemon.
func (d *daemon) Conns(words []string, countOnly bool) (api.Conns, error) {
	s, err := parse(words)
	if err != nil {
		return api.Conns{}, err
	}
	list := api.Conns{Connections: []api.Conn{}}
	d.each(s, func(v *conntrack.View) {
		list.Count++
		if !countOnly {
			list.Connections = append(list.Connections, d.conn(v))
		}
	})
	return list, nil
}

// conn puts a connection into the API's words.
func (d *daemon) conn(v *conntrack.View) api.Conn {
	return api.Conn{
		ID: v.Incarnation.String(), Proto: protoName(v.Original.Proto), State: stateName(v),
		Original: tuple(&v.Original), Reply: tuple(&v.Reply),
		Replied: v.Flags&conntrack.Replied != 0, Assured: v.Flags&conntrack.Assured != 0, Proxied: v.Flags&conntrack.Proxied != 0,
		Rule: d.ruleName(v.Rule), In: d.portName(v.Ingress), Out: d.portName(v.Egress), Gateway: d.gatewayName(v.Gateway),
		Age: v.Age.Seconds(), Idle: v.Idle.Seconds(), Timeout: max(0, v.Left.Seconds()),
		Packets: v.Packets, Bytes: v.Bytes, Node: v.Incarnation.Node(),
	}
}

func stateName(v *conntrack.View) string {
	switch {
	case v.Original.Proto == packet.TCP:
		return v.TCP.String()
	case v.Original.Proto == packet.SCTP:
		return v.SCTP.String()
	case v.Flags&conntrack.Replied != 0:
		return "REPLIED"
	}
	return "UNREPLIED"
}

func tuple(t *packet.Tuple) api.Tuple {
	return api.Tuple{Src: t.Src.String(), Dst: t.Dst.String(), SrcPort: t.SrcPort, DstPort: t.DstPort}
}

var protoNames = map[packet.Proto]string{
	packet.ICMP: "icmp", packet.TCP: "tcp", packet.UDP: "udp", packet.GRE: "gre", packet.ESP: "esp",
	packet.ICMPv6: "icmpv6", packet.SCTP: "sctp", packet.UDPLite: "udplite", packet.DCCP: "dccp",
}

func protoName(p packet.Proto) string {
	if name, ok := protoNames[p]; ok {
		return name
	}
	return "proto-" + strconv.Itoa(int(p))
}

func (d *daemon) ruleName(number uint32) string {
	r, _ := d.ruleOf(number)
	return r.ID
}

// selfName is what rules and listings call the node itself.
const selfName = "self"

// portName names a logical port, or the node itself where a connection begins or ends there.
func (d *daemon) portName(id packet.PortID) string {
	switch {
	case id == packet.Self:
		return selfName
	case int(id) < len(d.ports):
		return d.ports[id].Name
	}
	return ""
}

// Promote implements api.Daemon.
func (d *daemon) Promote(r api.PromoteRequest) (api.Done, error) {
	if err := d.checkGroup(r.Group); err != nil {
		return api.Done{}, err
	}
	if err := d.cluster.Promote(r.Force); err != nil {
		return api.Done{}, err
	}
	return d.awaitRole(gate.Active)
}

// Demote implements api.Daemon.
func (d *daemon) Demote(r api.DemoteRequest) (api.Done, error) {
	if err := d.checkGroup(r.Group); err != nil {
		return api.Done{}, err
	}
	if err := d.cluster.Demote(); err != nil {
		return api.Done{}, err
	}
	return d.awaitRole(gate.Standby)
}

func (d *daemon) checkGroup(name string) error {
	if name != "" && name != d.group {
		return fmt.Errorf("%w: no group %q: this node has %q", api.ErrUsage, name, d.group)
	}
	return nil
}

// roleWait bounds how long promote and demote wait for what they asked for.
const roleWait = 5 * time.Second

func (d *daemon) awaitRole(want gate.Role) (api.Done, error) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(roleWait); time.Now().Before(deadline); <-tick.C {
		if d.cluster.Role() == want {
			return api.Done{Done: fmt.Sprintf("%s is %s", d.name, want)}, nil
		}
	}
	return api.Done{}, fmt.Errorf("%s is still not %s after %v: see `holdfast status --history`", d.name, want, roleWait)
}

// prefixStrings lists prefixes as text.
func prefixStrings(prefixes []netip.Prefix) []string {
	all := []string{}
	for _, p := range prefixes {
		all = append(all, p.String())
	}
	return all
}

// silentPaths names the sync links that a living peer is not heard by.
func silentPaths(p *api.Peer) (all []string) {
	if p.Silent() {
		return nil // that is said already
	}
	for _, way := range p.Paths {
		if way.Kind == cluster.PathSync.String() && way.Silent() {
			all = append(all, "peer "+p.Name+" is not heard by the sync link on "+way.Name+": check cable and switch")
		}
	}
	return all
}

// whyNobody says why this node does not serve though nobody does, and what to do.
func whyNobody(s *api.Status) string {
	for i := range s.Peers {
		if !s.Peers[i].Silent() {
			return ""
		}
	}
	return "; no peer is heard, and this node serves alone after `alone_after` or, with alone = \"wait\", when `holdfast promote --force` tells it to"
}

// silentPeer says what it means that a peer is silent.
func silentPeer(s *api.Status, p *api.Peer) string {
	serves := slices.ContainsFunc(s.Groups, func(g api.Group) bool { return g.Role == gate.Active.String() })
	switch {
	case serves && p.Role == gate.Active.String():
		return "; this node has taken over, nobody would take over from it; if only the links are cut " + p.Name + " may forward too: look there, and stop its daemon if it does"
	case serves:
		return "; nobody would take over from this node"
	}
	return ""
}

// degraded lists what an operator should look at, worst first.
func degraded(s *api.Status) []string {
	all := []string{}
	for _, g := range s.Groups {
		if g.Active == "" {
			all = append(all, "group "+g.Name+": no node is active, nothing is forwarded"+whyNobody(s))
		}
		if g.Fault != "" {
			all = append(all, "group "+g.Name+": this node does not serve while another can: "+g.Fault)
		} else if g.Alarm {
			all = append(all, "group "+g.Name+": this node serves although its table may have lacked connections when it took over")
		}
		if !g.Ready {
			all = append(all, "group "+g.Name+": this node is not ready to take over without loss: "+g.NotReady)
		}
	}
	for _, p := range s.Peers {
		if p.Silent() {
			all = append(all, "peer "+p.Name+" is not heard: its daemon is down or stopped, or every sync link to it is cut"+silentPeer(s, &p))
		} else if p.Incapable != "" {
			all = append(all, "peer "+p.Name+" "+p.Incapable)
		} else if p.Priority < 0 {
			all = append(all, "peer "+p.Name+" has a fault and would not take over: `holdfast status` there says which")
		} else if !p.SamePlan {
			all = append(all, otherPolicy(&s.Policy, &p))
		}
	}
	if w := s.Witness; w != nil && (w.Heard < 0 || w.Heard > 3) {
		all = append(all, "the witness at "+w.Address+" does not answer: nothing changes while the nodes hear each other, and where the active one dies nobody serves")
	}
	if n := s.Containment.Quarantined; n > 0 {
		all = append(all, fmt.Sprintf("%d packets made a worker panic, here or at a peer, and are dropped for ten minutes: `holdfast crashes` has the stacks, please report them", n))
	}
	for i := range s.Peers {
		all = append(all, silentPaths(&s.Peers[i])...)
		all = append(all, unequalMTUs(s.Ports, &s.Peers[i])...)
	}
	for _, p := range s.Ports {
		if !p.Carrier {
			all = append(all, "port "+p.Name+" ("+p.On()+") has no carrier: check cable and switch")
		}
		if p.Mode == "generic" {
			all = append(all, "port "+p.Name+" ("+p.On()+") is driven by the generic hook: several times slower than native")
		}
	}
	return all
}

func hash(h uint64) string { return fmt.Sprintf("%016x", h) }

// lines splits an error into its lines, one per fault.
func lines(err error) []string { return strings.Split(strings.TrimSpace(err.Error()), "\n") }
