package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"

	"pgregory.net/rapid"

	"holdfast/bench/ruleset"
	"holdfast/dataplane/packet"
	"holdfast/internal/race"
	"holdfast/rules/config"
	"holdfast/rules/table"
)

// same holds the classifier against asking each rule, for one packet.
func same(s *Set, p *packet.Tuple, in, out packet.PortID, facts *Facts, tables *table.Tables) error {
	if got, want := s.Match(p, in, out, facts, tables), s.MatchEach(p, in, out, facts, tables); got != want {
		return fmt.Errorf("%v in %d out %d %+v: the classifier says %+v, the rules one by one %+v", p, in, out, facts, got, want)
	}
	return nil
}

// filtered compiles a filter that was not written in a file.
func filtered(t testing.TB, filter []config.Rule) *Set {
	t.Helper()
	p, err := config.ParsePolicy("p.toml", []byte(head))
	if err != nil {
		t.Fatal(err)
	}
	p.Rules = filter
	s, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestREL27_Classifier holds the classifier against its twin on filters of every shape:
// packets that a rule was made for, and packets beside them.
func TestREL27_Classifier(t *testing.T) {
	sizes, packets := []int{3, 13, 100, 1000, kindsMin + 1}, 2000
	if race.Enabled {
		packets = 500
	}
	if os.Getenv("HOLDFAST_SOAK") != "" {
		sizes, packets = append(sizes, 10_000), 100_000
	}
	for _, shape := range ruleset.Shapes {
		for _, n := range sizes {
			filter := ruleset.Filter(shape, n, 1)
			s := filtered(t, filter)
			decided := 0
			for i, p := range ruleset.Packets(filter, packets, 2) {
				if s.Match(&p, lan, wan, nil, nil).Rule < uint32(n) {
					decided++
				}
				for _, beside := range []func(){func() {}, func() { p.DstPort ^= uint16(i) }, func() { p.Src[15-i%4]++ }, func() { p.Dst[15-i%4]-- }} {
					beside()
					if err := same(s, &p, lan, wan, nil, nil); err != nil {
						t.Fatalf("%v %d: %v", shape, n, err)
					}
				}
			}
			if decided < packets {
				t.Errorf("%v %d: rules decided on %d of %d packets only", shape, n, decided, packets)
			}
		}
	}
}

// TestREL27_EveryField draws rules of all that a rule can say, lists, exclusions, tables and
// match rules included, and packets from the same few values, so that edges meet. A third
// answer is that of rules whose tables are written out as addresses.
func TestREL27_EveryField(t *testing.T) {
	addresses := []string{"any", "self", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.7", "10.0.0.7-10.0.1.9", "!10.0.0.0/25", "!10.0.0.7",
		"0.0.0.0/0", "255.255.255.255", "::/0", "2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::5", "!2001:db8:1::/64", "fd00::-fd00::ffff",
		"<still>", "<moving>", "!<still>", "!<moving>", "<empty>"}
	hosts := []string{"10.0.0.1", "10.0.0.7", "10.0.0.8", "10.0.0.128", "10.0.1.9", "10.0.1.10", "10.255.255.255", "0.0.0.0", "255.255.255.255",
		"::", "2001:db8::", "2001:db8:1::5", "2001:db8:1:1::5", "fd00::1", "fd00::1:0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
	ports := []string{"80", "443", `"1-79"`, `"80-90"`, `"1024-65535"`, `"65535"`}
	rapid.Check(t, func(rt *rapid.T) {
		list := func(name string, from []string, quoted bool) string {
			n := rapid.IntRange(0, 4).Draw(rt, name+"s")
			out := ""
			for range n {
				v := rapid.SampledFrom(from).Draw(rt, name)
				if quoted {
					v = fmt.Sprintf("%q", v)
				}
				out += v + ", "
			}
			if n == 0 {
				return ""
			}
			return fmt.Sprintf("%s = [%s]\n", name, out)
		}
		tables := drawTables(rt, addresses[2:16])
		text := head + tagging + "[tables.still]\n[tables.moving]\n[tables.empty]\n"
		for i := range rapid.IntRange(1, 60).Draw(rt, "rules") {
			action := rapid.SampledFrom([]string{"pass", "block", "reject", "match", "match"}).Draw(rt, "action")
			text += fmt.Sprintf("[[rules]]\nid = \"r%d\"\naction = %q\n", i, action)
			if action == "match" && rapid.Bool().Draw(rt, "tags") {
				text += fmt.Sprintf("tag = %q\n", rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "tag"))
			}
			text += list("in", []string{"lan", "wan"}, true) + list("out", []string{"lan", "wan"}, true) + list("from", addresses, true) + list("to", addresses, true)
			switch rapid.IntRange(0, 3).Draw(rt, "proto") {
			case 1:
				text += "proto = [\"tcp\", \"udp\"]\n" + list("to_port", ports, false) + list("from_port", ports, false)
			case 2:
				text += "proto = \"icmp\"\nicmp_type = [\"echo-request\"]\n"
			case 3:
				text += "proto = \"tcp\"\n" + fmt.Sprintf("tcp_flags = %q\n", rapid.SampledFrom([]string{"S/SA", "/FR", "SA/SA"}).Draw(rt, "flags"))
			}
			text += drawConditions(rt, list)
			if rapid.Bool().Draw(rt, "says") {
				text += fmt.Sprintf("state = { mode = %q, sync = %q }\n", rapid.SampledFrom([]string{"strict", "liberal", "sloppy"}).Draw(rt, "mode"),
					rapid.SampledFrom([]string{"async", "none"}).Draw(rt, "sync"))
			}
		}
		_, s := compiled(t, text)
		bound, err := table.New([]table.Plan{tables[0].Plan, {Name: "moving", Max: 100}, {Name: "empty", Max: 1}}, nil)
		if err != nil {
			rt.Fatal(err)
		}
		for _, w := range tables[1].Written {
			bound.At(1).AddPrefix(w.Prefix, w.Sense, 1, table.Forever, table.Cause{Kind: table.Command})
		}
		flat := text
		for i, name := range []string{"still", "moving", "empty"} {
			flat = tables[i].writeOut(flat, name)
		}
		_, s3 := compiled(t, flat)
		if s.deciders == nil {
			rt.Fatal("no classifier")
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		for range 300 {
			family := r.IntN(2) // the first 9 hosts are IPv4
			host := func() packet.Addr {
				if family == 0 {
					return address(hosts[r.IntN(9)])
				}
				return address(hosts[9+r.IntN(len(hosts)-9)])
			}
			p := packet.Tuple{Src: host(), Dst: host(), Proto: []packet.Proto{packet.TCP, packet.UDP, packet.ICMP, packet.GRE}[r.IntN(4)]}
			port := func() uint16 { return []uint16{0, 1, 79, 80, 81, 90, 443, 1023, 1024, 65535, 8 << 8}[r.IntN(11)] }
			p.SrcPort, p.DstPort = port(), port()
			logical := func() packet.PortID { return []packet.PortID{lan, wan, packet.NoPort}[r.IntN(3)] }
			in, out, facts := logical(), logical(), drawFacts(r)
			if err := same(s, &p, in, out, facts, bound); err != nil {
				rt.Fatalf("%v\n%s", err, text)
			}
			if got, want := s.Match(&p, in, out, facts, bound), s3.Match(&p, in, out, facts, nil); got != want {
				rt.Fatalf("%v in %d out %d: with tables %+v, with their addresses %+v\n%s%s", &p, in, out, got, want, text, flat)
			}
		}
	})
}

// tagging makes tags of which every draw of rules can speak.
const tagging = `
[[rules]]
id = "tag-a"
action = "match"
in = "lan"
tag = "a"
[[rules]]
id = "tag-b"
action = "match"
from = "10.0.0.0/24"
tag = "b"
[[rules]]
id = "tag-c"
action = "match"
tagged = "a"
to = "2001:db8::/32"
tag = "c"
`

// drawConditions draws what rules ask of packets besides their tuples, mostly nothing.
func drawConditions(rt *rapid.T, list func(string, []string, bool) string) (text string) {
	often := func(name string) bool { return rapid.IntRange(0, 3).Draw(rt, name) == 0 }
	if often("asks ttl") {
		text += list("ttl", []string{"1", "64", `"1-63"`, `"64-255"`}, false)
	}
	if often("asks dscp") {
		text += list("dscp", []string{"0", "63", `"ef"`}, false)
	}
	if often("asks options") {
		text += fmt.Sprintf("ip_options = %v\n", rapid.Bool().Draw(rt, "options"))
	}
	switch rapid.IntRange(0, 4).Draw(rt, "asks tag") {
	case 1:
		text += list("tagged", []string{"a", "b", "c"}, true)
	case 2:
		text += list("not_tagged", []string{"a", "b", "c"}, true)
	}
	if often("logs") {
		text += fmt.Sprintf("log = %s\n", rapid.SampledFrom([]string{"true", `"all"`, "false"}).Draw(rt, "log"))
	}
	return text
}

// drawFacts draws a packet's facts, or none.
func drawFacts(r *rand.Rand) *Facts {
	if r.IntN(8) == 0 {
		return nil
	}
	return &Facts{
		TTL: []uint8{1, 63, 64, 255}[r.IntN(4)], DSCP: []uint8{0, 46, 63}[r.IntN(3)], Options: r.IntN(2) == 0,
		TCPFlags: []packet.TCPFlags{packet.FlagSYN, packet.FlagSYN | packet.FlagACK, packet.FlagACK, packet.FlagSYN | packet.FlagECE}[r.IntN(4)],
	}
}

// BenchmarkClassifier is N5. Each operation is one first packet.
func BenchmarkClassifier(b *testing.B) {
	for _, shape := range ruleset.Shapes {
		for _, n := range []int{10, 1000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%v/%d", shape, n), func(b *testing.B) {
				if testing.Short() && n > 10_000 {
					b.Skip("short")
				}
				filter := ruleset.Filter(shape, n, 1)
				s := filtered(b, filter)
				packets := ruleset.Packets(filter, 1<<12, 2) // they lie in cache, as a packet does that was just decoded
				if c := s.deciders; c != nil {
					b.ReportMetric(float64(len(c.nodes)*64+len(c.entries)*36)/float64(n), "bytes/rule")
				}
				i := 0
				for b.Loop() {
					s.Match(&packets[i&(1<<12-1)], lan, wan, nil, nil)
					i++
				}
			})
		}
	}
}

// BenchmarkCompile is the half of a reload that depends on the number of rules.
func BenchmarkCompile(b *testing.B) {
	for _, shape := range ruleset.Shapes {
		filter := ruleset.Filter(shape, 100_000, 1)
		b.Run(shape.String(), func(b *testing.B) {
			for b.Loop() {
				filtered(b, filter)
			}
		})
	}
}

func address(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }
