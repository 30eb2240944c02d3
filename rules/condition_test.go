package rules

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// TestConditions reads as a table of packets and the rule that decides each, with a few
// rules and with so many that trees choose among them.
func TestConditions(t *testing.T) {
	text := head + `
[[rules]]
id = "crawlers"
action = "match"
from = "10.0.0.64/26"
tag = "crawler"
log = true
[[rules]]
id = "own-crawler"
action = "match"
from = "10.0.0.77"
tagged = "crawler"
tag = "friend"
[[rules]]
id = "spent"
action = "block"
ttl = "1-4"
proto = "udp"
[[rules]]
id = "slow"
action = "reject"
tagged = "crawler"
proto = "udp"
[[rules]]
id = "optional"
action = "block"
ip_options = true
[[rules]]
id = "voice"
action = "pass"
dscp = ["ef", 40]
proto = "udp"
log = "all"
[[rules]]
id = "plain"
action = "pass"
proto = "udp"
not_tagged = "crawler"
[[rules]]
id = "opens"
action = "pass"
proto = "tcp"
tcp_flags = "S/SAFR"
`
	var filler strings.Builder
	for i := range fewMax {
		fmt.Fprintf(&filler, "[[rules]]\nid = \"filler-%d\"\naction = \"block\"\nfrom = \"192.0.2.%d\"\n", i, i)
	}
	ordinary := Facts{TTL: 64}
	for _, row := range []struct {
		packet string
		facts  *Facts
		want   string
	}{
		{"udp 10.0.0.7:1 > 198.51.100.1:2", &ordinary, "pass plain  false"},
		{"udp 10.0.0.7:1 > 198.51.100.1:2", &Facts{TTL: 4}, "block spent  false"},
		{"udp 10.0.0.7:1 > 198.51.100.1:2", &Facts{TTL: 5}, "pass plain  false"},
		{"udp 10.0.0.7:1 > 198.51.100.1:2", &Facts{TTL: 64, DSCP: 46}, "pass voice  all"},
		{"udp 10.0.0.7:1 > 198.51.100.1:2", &Facts{TTL: 64, DSCP: 40}, "pass voice  all"},
		{"udp 10.0.0.7:1 > 198.51.100.1:2", &Facts{TTL: 64, DSCP: 41}, "pass plain  false"},
		{"udp 10.0.0.7:1 > 198.51.100.1:2", &Facts{TTL: 64, DSCP: 46, Options: true}, "block optional  false"},
		{"udp 10.0.0.70:1 > 198.51.100.1:2", &ordinary, "reject slow crawler true"},
		{"udp 10.0.0.70:1 > 198.51.100.1:2", &Facts{TTL: 1}, "block spent crawler true"},
		{"udp 10.0.0.77:1 > 198.51.100.1:2", &ordinary, "pass plain friend true"},
		{"udp 10.0.0.77:1 > 198.51.100.1:2", &Facts{TTL: 64, DSCP: 46}, "pass voice friend all"},
		{"tcp 10.0.0.7:1 > 198.51.100.1:2", &Facts{TTL: 1, TCPFlags: packet.FlagSYN | packet.FlagECE}, "pass opens  false"},
		{"tcp 10.0.0.7:1 > 198.51.100.1:2", &Facts{TCPFlags: packet.FlagSYN | packet.FlagACK}, "block default  false"},
		{"tcp 10.0.0.7:1 > 198.51.100.1:2", &Facts{TCPFlags: packet.FlagSYN | packet.FlagFIN}, "block default  false"},
		// Judged again, without the packet: in the connection's favour.
		{"udp 10.0.0.7:1 > 198.51.100.1:2", nil, "pass voice  all"},
		{"tcp 10.0.0.7:1 > 198.51.100.1:2", nil, "pass opens  false"},
		{"udp 10.0.0.70:1 > 198.51.100.1:2", nil, "reject slow crawler true"},
	} {
		for _, behind := range []string{"", filler.String()} {
			_, set := compiled(t, text+behind)
			k := tuple(t, row.packet)
			v := set.Match(&k, lan, wan, row.facts, nil)
			if got := fmt.Sprint(v.Action, " ", set.Rules()[v.Rule].ID, " ", set.Tag(v.Tag), " ", v.Log); got != row.want {
				t.Errorf("%s %+v: %s, want %s", row.packet, row.facts, got, row.want)
			}
			explained, steps := set.Explain(&k, lan, wan, row.facts, nil)
			if explained != v || !set.Default(&v) && steps[len(steps)-1].Differs != FieldNone {
				t.Errorf("%s %+v: explained as %+v by %v", row.packet, row.facts, explained, steps)
			}
			if n := testing.AllocsPerRun(10, func() { set.Match(&k, lan, wan, row.facts, nil) }); n != 0 {
				t.Errorf("%s: %v allocations", row.packet, n)
			}
		}
	}
}

// TestConditionOfStep: explain names the condition that a packet does not meet.
func TestConditionOfStep(t *testing.T) {
	for text, want := range map[string]Field{
		`tagged = "x"`:                         FieldTagged,
		`ttl = 1`:                              FieldTTL,
		`dscp = 1`:                             FieldDSCP,
		`ip_options = true`:                    FieldIPOptions,
		"proto = \"tcp\"\ntcp_flags = \"A/A\"": FieldTCPFlags,
	} {
		_, set := compiled(t, head+"[[rules]]\nid = \"x\"\naction = \"match\"\nout = \"lan\"\ntag = \"x\"\n[[rules]]\nid = \"y\"\naction = \"block\"\n"+text)
		k := tuple(t, "tcp 10.0.0.7:1 > 198.51.100.1:2")
		_, steps := set.Explain(&k, lan, wan, &Facts{TTL: 64, TCPFlags: packet.FlagSYN}, nil)
		if got := steps[1].Differs; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
		if key := want.String(); !strings.Contains(text, key) {
			t.Errorf("%s is called %s", text, key)
		}
	}
}

// TestFactsOf takes the facts from real headers.
func TestFactsOf(t *testing.T) {
	// IPv4 with a router alert option (RFC 2113), DSCP 46, TTL 7, and TCP with SYN and ECE.
	frame := append(make([]byte, 12), 0x08, 0)
	frame = append(frame, 0x46, 46<<2|1, 0, 44, 0, 0, 0, 0, 7, 6, 0, 0, 10, 0, 0, 7, 198, 51, 100, 1, 148, 4, 0, 0)
	header := frame[14:]
	sum := 0
	for i := 0; i < len(header); i += 2 {
		sum += int(header[i])<<8 | int(header[i+1])
	}
	sum = ^(sum + sum>>16)
	header[10], header[11] = byte(sum>>8), byte(sum)
	tcp := []byte{0, 9, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x42, 0xff, 0xff, 0, 0, 0, 0}
	check := 6 + len(tcp)
	for _, part := range [][]byte{header[12:20], tcp} {
		for i := 0; i < len(part); i += 2 {
			check += int(part[i])<<8 | int(part[i+1])
		}
	}
	check = ^(check&0xffff + check>>16)
	tcp[16], tcp[17] = byte(check>>8), byte(check)
	frame = append(frame, tcp...)
	var p packet.Parsed
	if why := packet.Decode(frame, &p); why != drop.Pass {
		t.Fatal(why)
	}
	if got, want := FactsOf(frame, &p), (Facts{TTL: 7, DSCP: 46, TCPFlags: packet.FlagSYN | packet.FlagECE, Options: true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestTCPFlagBits: the configuration's letters are the wire's bits.
func TestTCPFlagBits(t *testing.T) {
	p, _ := compiled(t, head+"[[rules]]\nid = \"x\"\naction = \"pass\"\nproto = \"tcp\"\ntcp_flags = \"FPUW/FSRPAUEW\"\n")
	want := packet.FlagFIN | packet.FlagPSH | packet.FlagURG | packet.FlagCWR
	if f := p.Rules[0].TCPFlags.V; f != (config.TCPFlags{Set: uint8(want), Mask: 0xff}) || f.String() != "FPUW/FSRPAUEW" {
		t.Errorf("%+v", f)
	}
}
