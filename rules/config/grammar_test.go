package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// place is a table of the grammar: the keys that the reader asks it for, each with the table
// below it, nil where it is a value. Below "*" is a table of a name that the user chooses.
type place struct {
	path string
	keys map[string]*place
}

const (
	noKey   = "zzzzzzzz" // nobody's key
	anyName = "*"
)

var unknownKey = regexp.MustCompile(`^unknown key "` + noKey + `" in `)

// explorer finds the grammar by asking the reader: a key that is none is refused with the list
// of those that there are.
type explorer struct {
	faults func(text string) Errors
	rows   *place // of [[rules]], which sections have too
}

// around writes a table's keys where the table stands.
type around func(inner string) string

// needed is what a table must hold before what lies below its keys is looked at.
var needed = map[string]string{"nat": `kind = "dnat", `}

// explore returns the grammar of the table that write puts its keys into, nil where there is
// no table.
func (e *explorer) explore(path string, write around) *place {
	keys, ok := e.keysAt(write(noKey + " = 1"))
	if !ok {
		return nil
	}
	p := &place{path, map[string]*place{}}
	if path == "rules" {
		e.rows = p
	}
	for _, key := range keys {
		below := strings.TrimPrefix(path+"."+key, ".")
		table := func(open, shut string) around {
			return func(inner string) string { return write(needed[path] + key + " = " + open + inner + shut) }
		}
		switch {
		case below == "sections": // its rules are rules
			p.keys[key] = &place{below, map[string]*place{anyName: {below + ".*", map[string]*place{"rules": e.rows}}}}
		case strings.HasSuffix(path, "timeouts") && key == "translated" && path != "timeouts":
			p.keys[key] = &place{below, nil} // timers again
		default:
			p.keys[key] = e.explore(below, table("{ ", " }"))
			if p.keys[key] == nil {
				p.keys[key] = e.explore(below, table("[{ ", " }]"))
			}
			if p.keys[key] == nil {
				if named := e.explore(below+".*", table("{ x = { ", " } }")); named != nil {
					p.keys[key] = &place{below, map[string]*place{anyName: named}}
				}
			}
		}
	}
	return p
}

// keysAt returns the keys of the table in which a file has noKey.
func (e *explorer) keysAt(text string) (keys []string, ok bool) {
	for _, err := range e.faults(text) {
		if !unknownKey.MatchString(err.What) {
			continue
		}
		_, list, found := strings.Cut(err.Mend, "are ")
		if !found {
			return nil, false
		}
		return strings.Split(list, ", "), true
	}
	return nil, false
}

// cover takes out of missing what an example has. Timers are the same everywhere.
func (p *place) cover(n *node, missing map[string]bool) {
	if p == nil || n == nil {
		return
	}
	for _, item := range n.items {
		p.cover(item, missing)
	}
	for _, f := range n.fields {
		if below, ok := p.keys[anyName]; ok {
			below.cover(f.value, missing)
			continue
		}
		delete(missing, strings.TrimPrefix(p.path+"."+f.name, "."))
		p.keys[f.name].cover(f.value, missing)
	}
}

// all lists what there must be an example of: every key, and of timers those of [timeouts],
// since a rule and translated connections have the same.
func (p *place) all(missing map[string]bool) {
	for key, below := range p.keys {
		path := strings.TrimPrefix(p.path+"."+key, ".")
		again := timerIndex(key) >= 0 && p.path != "timeouts"
		if key != anyName && !again {
			missing[path] = true
		}
		if below != nil && !strings.HasPrefix(path, "sections.") {
			below.all(missing)
		}
	}
}

// undocumented returns the keys of a grammar that no example of a page has.
func undocumented(t *testing.T, grammar *place, file string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/" + file)
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	grammar.all(missing)
	if len(missing) < 10 {
		t.Fatalf("the grammar has %d keys", len(missing))
	}
	examples := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	for _, example := range examples {
		grammar.cover(build(file, []byte(example[1]), files{}).root, missing)
	}
	return slices.Sorted(maps.Keys(missing))
}

// TestEveryKeyOfAPolicyHasAnExample: in docs/rules.md, which another test compiles.
func TestEveryKeyOfAPolicyHasAnExample(t *testing.T) {
	e := &explorer{faults: func(text string) Errors {
		_, errs := build("p.toml", []byte(text), files{}).policy()
		return errs
	}}
	grammar := e.explore("", func(inner string) string { return inner })
	for _, path := range []string{"ports", "rules", "nat", "timeouts", "routes"} {
		if grammar.keys[path] == nil {
			t.Fatalf("%s was not found", path)
		}
	}
	if grammar.keys["ports"].keys[anyName] == nil || grammar.keys["rules"].keys["state"] == nil {
		t.Fatal("tables within tables were not found")
	}
	for _, key := range undocumented(t, grammar, "rules.md") {
		t.Errorf("docs/rules.md has no example of %s", key)
	}
}

// TestEveryKeyOfANodeHasAnExample: in docs/node.md, whose examples are good.
func TestEveryKeyOfANodeHasAnExample(t *testing.T) {
	faults := func(text string) Errors {
		_, errs := build("n.toml", []byte(text), files{}).node()
		return errs
	}
	e := &explorer{faults: faults}
	grammar := e.explore("", func(inner string) string { return inner })
	if grammar.keys["devices"] == nil || grammar.keys["cluster"].keys["links"] == nil {
		t.Fatal("tables within tables were not found")
	}
	for _, key := range undocumented(t, grammar, "node.md") {
		t.Errorf("docs/node.md has no example of %s", key)
	}
	page, err := os.ReadFile("../../docs/node.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if errs := faults(example[1]); len(errs) > 0 {
			t.Errorf("%s\n%v", example[1], errs)
		}
	}
}
