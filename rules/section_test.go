package rules

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// TestSections: a section's rules are those rules with what its place asks written into each.
// The place asks what its rules leave open, so that it can be written there.
func TestSections(t *testing.T) {
	places := []string{"", "in = \"lan\"\n", "out = \"wan\"\nfrom = \"10.0.0.0/25\"\n", "from = \"!10.0.0.7\"\ntagged = \"b\"\n", "from = \"self\"\n", "ttl = 64\n", "in = [\"lan\", \"wan\"]\nnot_tagged = \"a\"\nfrom = \"10.0.0.0/24\"\n"}
	insides := []string{"", "proto = \"tcp\"\nto_port = [80, 443]\n", "to = \"198.51.100.0/24\"\n", "to = \"self\"\n", "proto = \"udp\"\nto_port = 80\ndscp = 46\n"}
	rapid.Check(t, func(rt *rapid.T) {
		nested, flat := head+tagging, head+tagging
		behind := ""
		for i := range rapid.IntRange(1, 20).Draw(rt, "places") {
			place := rapid.SampledFrom(places).Draw(rt, "place")
			nested += fmt.Sprintf("[[rules]]\nsection = \"s%d\"\n%s", i, place)
			behind += fmt.Sprintf("[sections.s%d]\n", i)
			for j := range rapid.IntRange(0, 4).Draw(rt, "rules") {
				rule := fmt.Sprintf("id = \"r%d-%d\"\naction = %q\n", i, j, rapid.SampledFrom([]string{"pass", "block", "match"}).Draw(rt, "action")) + rapid.SampledFrom(insides).Draw(rt, "rule")
				behind += fmt.Sprintf("[[sections.s%d.rules]]\n%s", i, rule)
				flat += "[[rules]]\n" + rule + place
			}
		}
		_, inSections := compiled(t, nested+behind)
		_, written := compiled(t, flat)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		hosts := []string{"10.0.0.1", "10.0.0.7", "10.0.0.8", "10.0.0.200", "198.51.100.1", "203.0.113.2", "203.0.113.9"}
		for range 200 {
			k := packet.Tuple{
				Proto: []packet.Proto{packet.TCP, packet.UDP}[r.IntN(2)], Src: address(hosts[r.IntN(len(hosts))]), Dst: address(hosts[r.IntN(len(hosts))]),
				SrcPort: 1024, DstPort: []uint16{80, 443, 22}[r.IntN(3)],
			}
			ports := []packet.PortID{lan, wan, packet.Self}
			in, out, facts := ports[r.IntN(3)], ports[r.IntN(3)], drawFacts(r)
			got, want := inSections.Match(&k, in, out, facts, nil), written.Match(&k, in, out, facts, nil)
			if got != want {
				rt.Fatalf("%v in %d out %d %+v: %+v, without sections %+v\n%s", &k, in, out, facts, got, want, nested+behind)
			}
			if err := same(inSections, &k, in, out, facts, nil); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// TestDefaults: what no rule matches gets the default, and reject rules their answers.
func TestDefaults(t *testing.T) {
	_, set := compiled(t, "[defaults]\naction = \"reject\"\nreject = \"unreachable\"\n"+head+`
[[rules]]
id = "silent"
action = "block"
proto = "udp"
[[rules]]
id = "closed"
action = "reject"
reject = "port-unreachable"
to = "198.51.100.1"
[[rules]]
id = "told"
action = "reject"
to = "198.51.100.2"
`)
	for packet, want := range map[string]string{
		"tcp 10.0.0.7:1 > 198.51.100.1:80": "reject closed port-unreachable",
		"tcp 10.0.0.7:1 > 198.51.100.2:80": "reject told unreachable",
		"tcp 10.0.0.7:1 > 198.51.100.3:80": "reject default unreachable",
		"udp 10.0.0.7:1 > 198.51.100.3:80": "block silent unreachable",
	} {
		k := tuple(t, packet)
		v := set.Match(&k, lan, wan, nil, nil)
		if got := fmt.Sprint(v.Action, " ", set.Rules()[v.Rule].ID, " ", set.Answer(&v)); got != want {
			t.Errorf("%s: %s, want %s", packet, got, want)
		}
	}
	if last := set.Rules()[set.Len()]; last.Action != config.Reject {
		t.Errorf("the default is listed as %v", last.Action)
	}
	k := tuple(t, "tcp 10.0.0.1:1 > 198.51.100.3:80")
	if v := set.Match(&k, packet.Self, wan, nil, nil); v.Action != Pass {
		t.Errorf("the node's own: %v", v.Action)
	}
}
