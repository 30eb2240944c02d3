package dataplane

import (
	"slices"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// answersPolicy refuses in every way, and lets pass by what only the packet says.
const answersPolicy = `
[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/24"]
[defaults]
action = "reject"
reject = "unreachable"
[[rules]]
id = "reset"
action = "reject"
reject = "reset"
proto = "tcp"
to_port = 23
[[rules]]
id = "port"
action = "reject"
reject = "port-unreachable"
proto = "tcp"
to_port = 24
[[rules]]
id = "plain"
action = "pass"
proto = "tcp"
to_port = 80
ttl = 64
tcp_flags = "S/SP"
ip_options = false
`

// TestReject answers as the rule says, the default's answers included.
func TestReject(t *testing.T) {
	type told struct {
		proto      packet.Proto
		kind, code uint8
	}
	for _, row := range []struct {
		name string
		in   packetIn
		want told
	}{
		{"a reset", packetIn{sport: 5, dport: 23, flags: "S"}, told{proto: packet.TCP}},
		{"an error to TCP", packetIn{sport: 5, dport: 24, flags: "S"}, told{packet.ICMP, 3, 3}},
		{"the default", packetIn{sport: 5, dport: 25, flags: "S"}, told{packet.ICMP, 3, 13}},
		{"the default to UDP", packetIn{proto: packet.UDP, sport: 5, dport: 25}, told{packet.ICMP, 3, 13}},
		{"the default to the node itself", packetIn{from: client, to: lanAddr, sport: 5, dport: 80, flags: "S", fromMAC: macClient, toMAC: macLan}, told{packet.ICMP, 3, 13}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := rigOf(t, answersPolicy, rigRoutes, rigNeighbors, 100)
			in := row.in
			if in.toMAC == (packet.MAC{}) {
				in = fromClient(in)
			}
			p := r.one(r.feed(lan, in.frame(t)), lan, macClient, macLan)
			if got := (told{p.Tuple.Proto, p.ICMPType, p.ICMPCode}); got != row.want {
				t.Errorf("it was told %+v, want %+v", got, row.want)
			}
			if reasons := r.dropped(lan); !slices.Equal(reasons, []drop.Reason{drop.RuleReject}) {
				t.Errorf("died of %v", reasons)
			}
		})
	}
}

// TestConditionsOnThePath: rules are asked with what the packet itself says.
func TestConditionsOnThePath(t *testing.T) {
	r := rigOf(t, answersPolicy, rigRoutes, rigNeighbors, 100)
	r.one(r.feed(lan, fromClient(packetIn{sport: 5, dport: 80, flags: "S"}).frame(t)), wan, macServer, macWan)
	r.feed(lan, fromClient(packetIn{sport: 6, dport: 80, flags: "SP"}).frame(t))
	if reasons := r.dropped(lan); !slices.Equal(reasons, []drop.Reason{drop.RuleReject}) {
		t.Errorf("a SYN with PSH died of %v", reasons)
	}
}
