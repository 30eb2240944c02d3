package config

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestSections: a section's rules stand where it is named, with what that place asks.
func TestSections(t *testing.T) {
	p, err := ParsePolicy("p.toml", []byte(`
[ports.lan]
addresses = ["10.0.0.1/24"]
[[rules]]
id = "first"
action = "block"
[[rules]]
section = "office"
in = "lan"
[[rules]]
id = "last"
action = "block"
[[sections.office.rules]]
id = "a"
action = "pass"
[[sections.office.rules]]
section = "printers"
to = "10.0.0.9"
[[sections.office.rules]]
id = "c"
action = "pass"
[[sections.printers.rules]]
id = "b"
action = "pass"
from = "<staff>"
[sections.nobody]
[[rules]]
section = "nobody"
`))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range p.Rules {
		ids = append(ids, r.ID.V)
	}
	if !slices.Equal(ids, []string{"first", "a", "b", "c", "last"}) {
		t.Errorf("the rules are %v", ids)
	}
	within := p.Rules[2].Within
	if len(within) != 2 || within[0].Section != "office" || within[1].Section != "printers" || within[0].Asks.In[0].V != "lan" || len(p.Rules[4].Within) != 0 {
		t.Errorf("b stands in %+v", within)
	}
	if _, ok := p.TableNumber("staff"); !ok {
		t.Error("a section's table is not there")
	}
}

// TestIncludePattern: the files of a pattern come in the order of their names, and may be none.
func TestIncludePattern(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rule := func(id string) string { return "[[rules]]\nid = \"" + id + "\"\naction = \"block\"\n" }
	write("policy.toml", "include = [\"rules.d/*.toml\", \"empty/*.toml\"]\n[ports.lan]\n"+rule("own"))
	write("rules.d/20.toml", rule("b"))
	write("rules.d/10.toml", rule("a"))
	write("rules.d/readme.txt", "not TOML")
	write("empty/readme.txt", "not TOML")
	p, err := LoadPolicy(filepath.Join(dir, "policy.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range p.Rules {
		ids = append(ids, r.ID.V)
	}
	if !slices.Equal(ids, []string{"a", "b", "own"}) {
		t.Errorf("the rules are %v", ids)
	}
}

// TestMatchLabelNotice: labels that a match rule does not hand on yet are told.
func TestMatchLabelNotice(t *testing.T) {
	p, err := ParsePolicy("p.toml", []byte("[ports.lan]\n[[rules]]\nid = \"m\"\naction = \"match\"\nlabel = \"x\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Notices) != 1 || p.Notices[0].Pos.Line != 5 {
		t.Errorf("the notices are %v", p.Notices)
	}
}
