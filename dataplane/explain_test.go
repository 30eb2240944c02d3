package dataplane

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/rules/limit"
	"holdfast/rules/table"
)

// explainPorts begins every policy of TestExplain_AsThePath. What follows is drawn.
const explainPorts = `
[ports.lan]
addresses = ["10.0.0.1/24"]
antispoof = "%s"
[ports.wan]
addresses = ["203.0.113.2/24"]
[limits.few]
connections = 1
[tables.known]
addresses = ["10.0.0.10", "203.0.113.10"]
[defaults]
action = "%s"
`

// explainNAT and explainRules are what a small policy may have: some of each, in any order.
var explainNAT = []string{`
kind = "dnat"
in = "wan"
to = "203.0.113.2"
proto = "tcp"
to_port = 80
target = "10.0.0.10"
`, `
kind = "masquerade"
from = ["10.0.0.0/24"]
out = "wan"
`, `
kind = "none"
from = ["10.0.0.11"]
`, `
kind = "redirect"
in = "lan"
proto = "udp"
to_port = 53
`}

var explainRules = []string{`
id = "no-telnet"
action = "reject"
in = "lan"
proto = "tcp"
to_port = 23
`, `
id = "slow"
action = "pass"
in = "lan"
to = ["any", "self"]
proto = "udp"
to_port = 53
limit = "few"
`, `
id = "self-ssh"
action = "pass"
in = "lan"
to = "self"
proto = "tcp"
to_port = 22
`, `
id = "no-ttl"
action = "block"
in = "lan"
ttl = "2-10"
`, `
id = "out"
action = "pass"
in = "lan"
out = "wan"
`, `
id = "web"
action = "pass"
in = "wan"
out = "lan"
proto = "tcp"
to_port = 80
`, `
id = "proxied"
action = "pass"
in = "lan"
proto = "tcp"
to_port = 80
syn_proxy = "always"
`, `
id = "middle"
action = "pass"
from = "<known>"
proto = "tcp"
state.pick-up = true
`, `
id = "mark"
action = "match"
proto = "icmp"
tag = "ping"
`, `
id = "marked"
action = "reject"
tagged = "ping"
`}

// anyPolicy draws a small policy.
func anyPolicy(t *rapid.T) string {
	text := fmt.Sprintf(explainPorts, rapid.SampledFrom([]string{"strict", "loose", "off"}).Draw(t, "antispoof"),
		rapid.SampledFrom([]string{"block", "reject"}).Draw(t, "default"))
	for key, all := range map[string][]string{"nat": explainNAT, "rules": explainRules} {
		order := rapid.Permutation(all).Draw(t, key)
		for _, one := range order[:rapid.IntRange(0, len(order)).Draw(t, "how many of "+key)] {
			if strings.Contains(one, "tagged =") && !slices.ContainsFunc(order, func(s string) bool { return strings.Contains(text, `tag = "ping"`) }) {
				continue // a tag that nobody sets is refused
			}
			text += "[[" + key + "]]" + one
		}
	}
	return text
}

// anyPacket draws a packet that may come in by a port.
func anyPacket(t *rapid.T) (packet.PortID, packetIn) {
	p := packetIn{
		sport: uint16(rapid.IntRange(4000, 4003).Draw(t, "sport")), dport: rapid.SampledFrom([]uint16{22, 23, 53, 53, 80}).Draw(t, "dport"),
		proto:    rapid.SampledFrom([]packet.Proto{packet.TCP, packet.UDP, packet.ICMP}).Draw(t, "proto"),
		flags:    rapid.SampledFrom([]string{"S", "S", "S", "A", "SA", "R"}).Draw(t, "flags"),
		ttl:      rapid.SampledFrom([]uint8{64, 64, 64, 1, 5}).Draw(t, "ttl"),
		icmpType: rapid.SampledFrom([]uint16{8, 8, 0}).Draw(t, "type"), icmpID: uint16(rapid.IntRange(1, 3).Draw(t, "id")),
	}
	if rapid.IntRange(0, 3).Draw(t, "a query") == 0 {
		p.proto, p.dport, p.ttl = packet.UDP, 53, 64
		return lan, fromClient(p)
	}
	far := ip("198.51.100.9") // no route leads there
	if rapid.Bool().Draw(t, "from lan") {
		p.from = rapid.SampledFrom([]packet.Addr{client, client, ip("10.0.0.11"), server, lanAddr}).Draw(t, "from")
		p.to = rapid.SampledFrom([]packet.Addr{server, server, ip("203.0.113.11"), lanAddr, wanAddr, far}).Draw(t, "to")
		p.fromMAC, p.toMAC = macClient, macLan
		return lan, p
	}
	p.from = rapid.SampledFrom([]packet.Addr{server, server, client, far}).Draw(t, "from")
	p.to = rapid.SampledFrom([]packet.Addr{wanAddr, wanAddr, client, ip("203.0.113.99")}).Draw(t, "to")
	p.fromMAC, p.toMAC = macServer, macWan
	return wan, p
}

// rigToExplain is rigOf with everything that a policy says.
func rigToExplain(t *testing.T, text string) *rig {
	r := rigOf(t, text, rigRoutes, rigNeighbors, 1000)
	policy, err := config.ParsePolicy("rig", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, plan := *r.w.snapshot, rules.Limits(policy)
	if s.Limits, err = limit.New(&plan, 1000); err != nil {
		t.Fatal(err)
	}
	if s.Tables, err = table.New(rules.Tables(policy), nil); err != nil {
		t.Fatal(err)
	}
	r.w.shares[lan].Antispoof = map[config.Antispoof]Antispoof{
		config.AntispoofStrict: AntispoofStrict, config.AntispoofLoose: AntispoofLoose, config.AntispoofOff: AntispoofOff,
	}[policy.Port("lan").Antispoof.V]
	r.snapshot.Store(&s)
	r.w.snapshot = &s
	return r
}

func (r *rig) explainer() *Explainer {
	var ports []*Port
	for _, share := range r.w.shares {
		ports = append(ports, share.Port)
	}
	return NewExplainer(ports, r.w.config.SynProxy)
}

// TestExplain_AsThePath: what is explained of a packet is what becomes of it.
func TestExplain_AsThePath(t *testing.T) {
	stages := map[Stage]int{}
	reasons := map[drop.Reason]int{}
	translated := 0
	rapid.Check(t, func(rt *rapid.T) {
		r := rigToExplain(t, anyPolicy(rt))
		s := r.w.snapshot
		x := r.explainer()
		for range rapid.IntRange(1, 25).Draw(rt, "packets") {
			in, p := anyPacket(rt)
			frame := p.frame(t)
			before := s.Table.Len()
			e := x.Explain(s, r.w.now, in, slices.Clone(frame))
			if s.Table.Len() != before {
				rt.Fatal("explaining made a connection")
			}
			kernel := len(r.kernel[0].got) + len(r.kernel[1].got)
			parked := r.w.parked.n
			staged := r.feed(in, frame)
			reasonsOf := r.dropped(in)
			stages[e.Stage]++
			reasons[e.Why]++
			if e.Stage == StageConnection && e.Why == drop.Pass {
				continue // its window is its own to judge
			}
			quiet := slices.Equal(reasonsOf, []drop.Reason{drop.TTLExceededQuiet}) && e.Why == drop.TTLExceeded
			switch {
			case r.w.parked.n > parked:
				if e.Stage != StageDecision || e.Hop.Kind != fib.Unresolved {
					rt.Fatalf("%+v: explained as %v (stage %d), and waits for its next hop", p, e.Why, e.Stage)
				}
				continue // what is explained comes when the neighbour is known
			case e.Why != drop.Pass:
				if !quiet && !slices.Equal(reasonsOf, []drop.Reason{e.Why}) {
					rt.Fatalf("%+v: explained as %v (stage %d), and died of %v", p, e.Why, e.Stage, reasonsOf)
				}
				continue
			case e.Cookie && len(reasonsOf) == 0:
				if len(staged) != 1 || staged[0].port != in {
					rt.Fatalf("%+v: explained as answered, and it was not", p)
				}
				continue
			case len(reasonsOf) > 0:
				rt.Fatalf("%+v: explained as passing, and died of %v", p, reasonsOf)
			case e.Stage == StageKernel:
				if len(r.kernel[0].got)+len(r.kernel[1].got) != kernel+1 {
					rt.Fatalf("%+v: explained as for the kernel, which did not get it", p)
				}
				continue
			}
			var v conntrack.View
			dir, ok := s.Table.Find(&e.Parsed, r.w.now, &v)
			if !ok || dir != conntrack.Original {
				rt.Fatalf("%+v: explained as beginning a connection, and there is none", p)
			}
			if rule, _ := s.Rules.ByNumber(v.Rule); rule.ID != s.Rules.Rules()[e.Verdict.Rule].ID {
				rt.Fatalf("%+v: explained as of rule %d, and rule %s admitted it", p, e.Verdict.Rule, rule.ID)
			}
			if v.Reply != e.Reply && !e.Clash {
				rt.Fatalf("%+v: explained as answered by %v, and it is by %v", p, e.Reply, v.Reply)
			}
			if e.Turn.Outcome == nat.Translated || e.Source == nat.Translated {
				translated++
			}
		}
	})
	for _, want := range []drop.Reason{drop.Pass, drop.RuleBlock, drop.RuleReject, drop.SourceInvalid, drop.NoRoute, drop.TTLExceeded, drop.SourceLimit, drop.ToSelf} {
		if reasons[want] == 0 {
			t.Errorf("no packet was explained as %v", want)
		}
	}
	if stages[StageConnection] == 0 || stages[StageKernel] == 0 || translated == 0 {
		t.Errorf("stages %v, translated %d", stages, translated)
	}
}

// TestExplain_LeavesNoTrace: nothing is counted, held, asked for or handed on.
func TestExplain_LeavesNoTrace(t *testing.T) {
	r := newRig(t)
	x := r.explainer()
	frame := fromClient(packetIn{sport: 4000, dport: 80, flags: "S"}).frame(t)
	e := x.Explain(r.w.snapshot, r.w.now, lan, frame)
	if e.Why != drop.Pass || e.Reply.Dst != wanAddr || e.Reply.DstPort != 4000 || len(e.Steps) != 2 {
		t.Fatalf("%+v", e)
	}
	for _, u := range r.w.snapshot.Ports.Usage() {
		if u.Used != 0 {
			t.Errorf("it holds %+v", u)
		}
	}
	if n := r.w.snapshot.Hits[0][1].Load(); n != 0 || r.w.snapshot.Table.Len() != 0 || len(r.resolver.asked) != 0 {
		t.Errorf("counted %d, %d connections, asked for %v", n, r.w.snapshot.Table.Len(), r.resolver.asked)
	}
}
