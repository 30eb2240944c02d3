package rules

import (
	"fmt"
	"strings"
	"testing"
)

// TestLog_Inheritance: what is logged of a packet is what the rule that decides says, else
// the last match rule before it; of what no rule matches it is what [defaults] says, else
// the last match rule. The classifier and the linear twin agree.
func TestLog_Inheritance(t *testing.T) {
	const rules = `
[[rules]]
id = "watched"
action = "match"
from = "10.0.0.66"
log = "all"
[[rules]]
id = "quiet"
action = "pass"
proto = "tcp"
to_port = 80
log = false
[[rules]]
id = "first"
action = "block"
proto = "tcp"
to_port = 22
log = "first"
[[rules]]
id = "silent"
action = "pass"
proto = "tcp"
to_port = 443
`
	var filler strings.Builder
	for i := range 100 {
		fmt.Fprintf(&filler, "[[rules]]\nid = \"f%d\"\naction = \"block\"\nfrom = \"172.16.0.%d\"\n", i, i)
	}
	for _, row := range []struct{ defaults, packet, want string }{
		{"", "tcp 10.0.0.66:1 > 198.51.100.1:80", "quiet false"},
		{"", "tcp 10.0.0.66:1 > 198.51.100.1:22", "first true"},
		{"", "tcp 10.0.0.66:1 > 198.51.100.1:443", "silent all"},
		{"", "tcp 10.0.0.7:1 > 198.51.100.1:443", "silent false"},
		{"", "tcp 10.0.0.66:1 > 198.51.100.1:25", "default all"},
		{"", "tcp 10.0.0.7:1 > 198.51.100.1:25", "default false"},
		{"[defaults]\nlog = true\n", "tcp 10.0.0.66:1 > 198.51.100.1:25", "default true"},
		{"[defaults]\nlog = true\n", "tcp 10.0.0.7:1 > 198.51.100.1:25", "default true"},
		{"[defaults]\nlog = true\n", "tcp 10.0.0.7:1 > 198.51.100.1:443", "silent false"},
		{"[defaults]\nlog = false\n", "tcp 10.0.0.66:1 > 198.51.100.1:25", "default false"},
	} {
		for _, behind := range []string{"", filler.String(), "[[rules]]\nid = \"t\"\naction = \"match\"\nproto = \"gre\"\ntag = \"x\"\n[[rules]]\nid = \"u\"\naction = \"block\"\ntagged = \"x\"\n" + filler.String()} {
			_, set := compiled(t, head+row.defaults+rules+behind)
			k := tuple(t, row.packet)
			v := set.Match(&k, lan, wan, nil, nil)
			if got := fmt.Sprint(set.Rules()[v.Rule].ID, " ", v.Log); got != row.want {
				t.Errorf("%q %s: %s, want %s", row.defaults, row.packet, got, row.want)
			}
			if each := set.MatchEach(&k, lan, wan, nil, nil); each != v {
				t.Errorf("%q %s: %+v, one by one %+v", row.defaults, row.packet, v, each)
			}
		}
	}
}
