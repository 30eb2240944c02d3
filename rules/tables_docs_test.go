package rules

import (
	"os"
	"strings"
	"testing"

	"holdfast/rules/config"
	"holdfast/rules/table"
)

// TestTablesDocs: the example of docs/tables.md compiles, and means what the page says.
func TestTablesDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/tables.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```toml\n")
	example, _, ok := strings.Cut(example, "```")
	if !ok {
		t.Fatal("no example")
	}
	p, err := config.ParsePolicy("docs/tables.md", []byte(docsHead+example))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Notices) > 0 {
		t.Errorf("%v", p.Notices)
	}
	if _, err := Compile(p); err != nil {
		t.Error(err)
	}
	tables, err := table.New(Tables(p), nil)
	if err != nil {
		t.Fatal(err)
	}
	for a, holds := range map[string]bool{"192.0.2.1": true, "192.0.2.66": false, "203.0.113.47": true, "203.0.113.48": false, "2001:db8:7::1": true} {
		addr := address(a)
		if got := tables.ByName("offices").Holds(&addr); got != holds {
			t.Errorf("%s: %v", a, got)
		}
	}
	never := address("198.51.100.7")
	if out := tables.ByName("brutes").Add(&never, 1, table.Default, table.Cause{Kind: table.Overload}); out != table.IsWritten {
		t.Error(out)
	}
}
