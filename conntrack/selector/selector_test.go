package selector

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

func tuple(proto packet.Proto, src, dst string) packet.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return packet.Tuple{Proto: proto, Src: packet.AddrFrom(s.Addr()), Dst: packet.AddrFrom(d.Addr()), SrcPort: s.Port(), DstPort: d.Port()}
}

// web is a masqueraded connection; ping one without ports or translation.
var (
	web = conntrack.View{
		Incarnation: 0x1002a, Original: tuple(packet.TCP, "10.0.0.7:40000", "203.0.113.9:443"),
		Reply: tuple(packet.TCP, "203.0.113.9:443", "203.0.113.2:61000"), TCP: conntrack.Established,
		Flags: conntrack.Replied | conntrack.Assured | conntrack.SourceNAT, Class: conntrack.Class{Rule: 7, Ingress: 0, Egress: 1, Gateway: 1},
		Age: 2 * time.Minute, Idle: 30 * time.Second,
	}
	ping = conntrack.View{
		Incarnation: 0x2002b, Original: tuple(packet.ICMPv6, "[fd00::7]:99", "[2001:db8::9]:32768"),
		Reply: tuple(packet.ICMPv6, "[2001:db8::9]:99", "[fd00::7]:33024"), Class: conntrack.Class{Rule: 8, Ingress: 0, Egress: 2},
	}
	webLabels = []string{"web", "{in}-{out}", "{proto}/{port}", "{id}", "{src}>{dst}"}
	names     = &Names{
		Rule: func(n uint32) (string, []string) {
			if n == 7 {
				return "web-out", webLabels
			}
			return "", nil
		},
		Port:    func(id packet.PortID) string { return []string{"lan", "wan", "dmz"}[id] },
		Labels:  func() []string { return webLabels },
		Gateway: func(n uint8) string { return []string{"", "isp1", "isp2"}[n] },
		Node:    func(n uint16) string { return map[uint16]string{0x2a: "fw-a"}[n] },
	}
)

// TestMatch reads as: the selector, then whether it chooses web and ping.
func TestMatch(t *testing.T) {
	for _, row := range []struct {
		text      string
		web, ping bool
	}{
		{"all", true, true},
		{"label=web", true, false},
		{"label=lan-wan", true, false},
		{"label=tcp/443", true, false},
		{"label=web-out", true, false},
		{"label=10.0.0.7>203.0.113.9", true, false},
		{"label={in}-{out}", true, false}, // as the file says it
		{"label=we", false, false},
		{"rule=web-out", true, false},
		{"rule=default", false, true}, // its rule is gone
		{"gateway=isp1", true, false},
		{"port=lan", true, true},
		{"port=wan", true, false},
		{"port=lan port=dmz", false, true},
		{"proto=tcp", true, false},
		{"proto=58", false, true},
		{"src=10.0.0.0/24", true, false},
		{"src=203.0.113.9", false, false},
		{"src=::/0", false, true}, // no IPv4 in it
		{"dst=203.0.113.9", true, false},
		{"dst=203.0.113.2", false, false},
		{"addr=203.0.113.2", true, false},
		{"addr=fd00::/16", false, true},
		{"sport=40000", true, false},
		{"sport=99", false, false}, // an identifier is not a port
		{"dport=440-450", true, false},
		{"dport=1-65535", true, false},
		{"nat=snat", true, false},
		{"nat=dnat", false, false},
		{"nat=none", false, true},
		{"nat=203.0.113.0/29", true, false},
		{"nat=203.0.113.9", false, false},
		{"state=established", true, false},
		{"state=ESTABLISHED", true, false},
		{"state=time-wait", false, false},
		{"state=assured", true, false},
		{"state=unreplied", false, true},
		{"node=fw-a", true, false},
		{"node=43", false, true},
		{"min-age=2m", true, false},
		{"max-age=2m", true, true},
		{"max-age=0s", false, true},
		{"min-idle=31s", false, false},
		{"max-idle=29s", false, true},
		{"id=000000000001002a", true, false},
		{"proto=tcp min-idle=30s rule=web-out", true, false},
		{"proto=tcp min-idle=31s rule=web-out", false, false},
	} {
		s, err := ParseText(row.text)
		if err != nil {
			t.Errorf("%s: %v", row.text, err)
			continue
		}
		if gotWeb, gotPing := s.Match(&web, names), s.Match(&ping, names); gotWeb != row.web || gotPing != row.ping {
			t.Errorf("%s chooses web: %t, ping: %t; want %t, %t", row.text, gotWeb, gotPing, row.web, row.ping)
		}
		again, err := ParseText(s.String())
		if err != nil || again.String() != s.String() {
			t.Errorf("%s: as %q: %v", row.text, s, err)
		}
	}
}

// TestTranslatedEnds: nat= means the end that is translated, or both of twice NAT, and the
// addresses that these have become.
func TestTranslatedEnds(t *testing.T) {
	forwarded := conntrack.View{Flags: conntrack.DestinationNAT,
		Original: tuple(packet.TCP, "203.0.113.9:40000", "203.0.113.2:80"), Reply: tuple(packet.TCP, "10.9.0.10:8080", "203.0.113.9:40000")}
	twice := conntrack.View{Flags: conntrack.DestinationNAT | conntrack.SourceNAT,
		Original: tuple(packet.TCP, "10.0.0.7:40000", "203.0.113.2:80"), Reply: tuple(packet.TCP, "10.9.0.10:8080", "10.9.0.1:61000")}
	for _, row := range []struct {
		text             string
		forwarded, twice bool
	}{
		{"nat=dnat", true, true},
		{"nat=snat", false, true},
		{"nat=dnat nat=snat", false, true},
		{"nat=none", false, false},
		{"nat=10.9.0.10", true, true},
		{"nat=10.9.0.1", false, true},
		{"nat=203.0.113.9", false, false}, // its source, which nobody translates
		{"nat=203.0.113.2", false, false}, // what it was, and dst= means
		{"dst=203.0.113.2", true, true},
	} {
		s, err := ParseText(row.text)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := s.Match(&forwarded, names), s.Match(&twice, names); a != row.forwarded || b != row.twice {
			t.Errorf("%s chooses the forwarded one: %t, the one of twice NAT: %t; want %t, %t", row.text, a, b, row.forwarded, row.twice)
		}
	}
}

// TestNamesUnknown: without names, words that need them choose nothing.
func TestNamesUnknown(t *testing.T) {
	for _, text := range []string{"label=web", "rule=web-out", "gateway=isp1", "port=lan", "node=fw-a"} {
		s, err := ParseText(text)
		if err != nil {
			t.Fatal(err)
		}
		if s.Match(&web, nil) || s.Match(&web, &Names{}) {
			t.Errorf("%s chooses without names", text)
		}
	}
	if (&Selector{}).Match(&web, names) {
		t.Error("the zero selector chooses")
	}
}

func TestErrors(t *testing.T) {
	for _, row := range []struct{ words, want string }{
		{"", "no selector: write key=value words such as rule=web-out, or the word all"},
		{"all|rule=x", "selector: all stands alone: remove it, or the other words"},
		{"rul=web", `selector: unknown key "rul": did you mean rule=?`},
		{"zzzzzz=web", `selector: unknown key "zzzzzz": the keys are label, rule, gateway, port, proto, src, dst, addr, sport, dport, nat, state, node, min-age, max-age, min-idle, max-idle, id`},
		{"protocol", `selector: "protocol" is not a key=value word: the keys are label, rule, gateway, port, proto, src, dst, addr, sport, dport, nat, state, node, min-age, max-age, min-idle, max-idle, id`},
		{"rule", "selector: rule has no value: write rule=web-out"},
		{"rule=", "selector: rule has no value: write rule=web-out"},
		{"=x", `selector: unknown key "": write a key before the =`},
		{"rule=a b", `selector: rule="a b" has a space in its value: write one word, such as rule=web-out`},
		{"src=10.0.0.0/33", "selector: src=10.0.0.0/33 is not an address or network: write such as src=10.0.0.0/24"},
		{"src=10.0.0.7/24", "selector: src=10.0.0.7/24 is not an address or network: write such as src=10.0.0.0/24"},
		{"dport=0", "selector: dport=0 is not a port number or range: write such as dport=443"},
		{"state=up", "selector: state=up is not a state: write such as state=established"},
		{"min-age=5", "selector: min-age=5 is not a duration: write such as min-age=90s"},
		{"min-age=-5s", "selector: min-age=-5s is not a duration: write such as min-age=90s"},
		{"id=1", "selector: id=1 is not the 16 digits of a connection: write such as id=000000000001002a"},
		{"proto=tpc", "selector: proto=tpc is not a protocol: write such as proto=tcp"},
	} {
		var words []string
		if row.words != "" {
			words = strings.Split(row.words, "|")
		}
		_, err := Parse(words)
		if err == nil || err.Error() != row.want {
			t.Errorf("%q:\n got %v\nwant %s", row.words, err, row.want)
		}
	}
}

// FuzzSelector: what is accepted is written and read back the same, and chooses the same.
func FuzzSelector(f *testing.F) {
	for _, text := range []string{"all", "label=web rule=web-out gateway=isp1 port=wan", "proto=tcp src=10.0.0.0/24 dst=::1 addr=10.0.0.1",
		"sport=1-2 dport=443 nat=none nat=10.0.0.1 state=Time-Wait node=3", "min-age=90s max-age=1h min-idle=1ms max-idle=0s id=000000000001002A", "rul=x", "rule=", "=", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseText(text)
		if err != nil {
			return
		}
		again, err := ParseText(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q is written %q: %v", text, s, err)
		}
		for _, v := range []*conntrack.View{&web, &ping} {
			if s.Match(v, names) != again.Match(v, names) {
				t.Fatalf("%q and %q choose differently", text, s)
			}
		}
	})
}
