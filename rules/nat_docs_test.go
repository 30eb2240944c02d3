package rules

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"holdfast/nat"
	"holdfast/rules/config"
)

// docsHead is the policy that the examples of docs/nat.md say they take.
const docsHead = `
[ports.lan]
addresses = ["10.0.0.1/24", "fd00::1/64"]
[ports.dmz]
addresses = ["10.9.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/29", "2001:db8::2/64"]
`

// TestNATDocs loads and compiles every example of docs/nat.md, alone.
func TestNATDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/nat.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	kinds := map[config.NATKind]bool{}
	for _, example := range examples {
		p, err := config.ParsePolicy("docs/nat.md", []byte(docsHead+example[1]))
		if err != nil {
			t.Errorf("%s\n%v", example[1], err)
			continue
		}
		if _, err := Compile(p); err != nil {
			t.Errorf("%s\n%v", example[1], err)
		}
		if _, err := nat.Compile(Translations(p), Site(p), nat.NewPool()); err != nil {
			t.Errorf("%s\n%v", example[1], err)
		}
		for _, n := range p.Notices {
			t.Errorf("%s\n%v", example[1], n)
		}
		for i := range p.NAT {
			kinds[p.NAT[i].Kind.V] = true
		}
	}
	for _, k := range natKinds[1:] {
		if !strings.Contains(string(page), "### "+k.String()+"\n") {
			t.Errorf("no section of %s", k)
		}
	}
	if len(kinds) != len(natKinds)-1 {
		t.Errorf("%d kinds have examples, of %d", len(kinds), len(natKinds)-1)
	}
}
