package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// fault is what a parser of a value found wrong. Its place is that of the value unless
// it says another.
type fault struct {
	at   Position
	what string
	mend string
}

// parser turns a value of the file into a T.
type parser[T any] func(*node) (T, *fault)

// decoder holds what reading one file shares.
type decoder struct {
	errs    Errors
	damaged bool                              // parts of the file could not be read: what seems missing may stand there
	macros  map[string]*node                  // nil where $name means nothing
	budget  int                               // how many more list elements macros may make
	keys    []string                          // room that the table closed last has left to the next
	read    func(path string) ([]byte, error) // a file that a table names
}

func (d *decoder) refuse(at Position, what, mend string) {
	d.errs = append(d.errs, Error{Pos: at, What: what, Mend: mend})
}

// table is a table being read: it hands out values by key and remembers which keys
// were asked for, so that close can tell the others. One that is absent from the file
// has no values and stands where it is missing.
type table struct {
	d    *decoder
	n    *node // nil: absent
	pos  Position
	name string   // as in its header; "" for the file itself
	keys []string // asked for so far
	told bool     // it is there, but not a table: nothing more is said of it
}

func (t *table) value(key string) *node {
	if t.n == nil {
		return nil
	}
	if t.keys == nil {
		t.keys, t.d.keys = t.d.keys[:0], nil
	}
	t.keys = append(t.keys, key)
	n := t.n.get(key)
	if n != nil {
		n.asked = true
	}
	return n
}

func (t *table) refuse(at Position, what, mend string) { t.d.refuse(at, what, mend) }

// place names the table in a message.
func (t *table) place() string {
	if t.name == "" {
		return "the file"
	}
	return "[" + t.name + "]"
}

func (t *table) below(key string) string {
	if t.name == "" {
		return key
	}
	return t.name + "." + key
}

// missing tells that a key without a default is absent.
func (t *table) missing(key, example string) {
	if t.d.damaged || t.told {
		return
	}
	t.refuse(t.pos, fmt.Sprintf("%s has no %q", t.place(), key), "add "+key+" = "+example)
}

// one reads the value of key into v, which keeps its default where the key is absent
// or wrong.
func one[T any](t *table, key string, parse parser[T], v *Value[T]) {
	n := t.value(key)
	if n == nil {
		return
	}
	if t.d.isMacro(n) {
		found := t.d.expand(n)
		if len(found) != 1 {
			if found != nil {
				t.refuse(n.pos, fmt.Sprintf("%s has %d values where one is wanted", n.literal(), len(found)), "write the value itself")
			}
			return
		}
		n = found[0]
	}
	if parsed, ok := read(t, n, parse); ok {
		*v = parsed
	}
}

// need is one for a key without a default; example shows what to write.
func need[T any](t *table, key string, parse parser[T], example string, v *Value[T]) {
	if t.n.get(key) == nil {
		t.value(key)
		t.missing(key, example)
		return
	}
	one(t, key, parse, v)
}

// many reads a list, or a single value as a list of one, with macros expanded.
func many[T any](t *table, key string, parse parser[T], into *[]Value[T]) {
	n := t.value(key)
	if n == nil {
		return
	}
	elements := []*node{n}
	if n.kind == unstable.Array {
		elements = n.items
	}
	nodes := t.d.expandAll(elements)
	if len(elements) == 0 {
		t.refuse(n.pos, fmt.Sprintf("%s is an empty list, which could mean all or nothing", key), "write its values, or remove the key")
	}
	if *into == nil && len(nodes) > 0 {
		*into = make([]Value[T], 0, len(nodes))
	}
	for _, n := range nodes {
		if parsed, ok := read(t, n, parse); ok {
			*into = append(*into, parsed)
		}
	}
}

// read applies parse to a value.
func read[T any](t *table, n *node, parse parser[T]) (Value[T], bool) {
	v, bad := parse(n)
	if bad != nil {
		at := bad.at
		if at.IsZero() {
			at = n.pos
		}
		t.refuse(at, bad.what, bad.mend)
		return Value[T]{}, false
	}
	return Value[T]{V: v, Pos: n.pos}, true
}

// sub returns the table below key.
func (t *table) sub(key string) *table {
	below := &table{d: t.d, pos: t.pos, name: t.below(key)}
	n := t.value(key)
	if n == nil {
		return below
	}
	below.pos = n.pos
	if n.kind != unstable.Table {
		t.refuse(n.pos, fmt.Sprintf("%s is %s where a table is wanted", below.name, n.literal()), "write ["+below.name+"] and its keys below")
		below.told = true
		return below
	}
	below.n = n
	return below
}

// each visits the tables below t whose keys are names that the user chose, in the
// order of the file. kind is what they name, most the length of a name.
func (t *table) each(kind string, most int, visit func(name Value[string], below *table)) {
	if t.n == nil {
		return
	}
	for _, f := range t.n.fields {
		t.keys = append(t.keys, f.name)
		if bad := nameFault(f.name, kind, most); bad != nil {
			t.refuse(f.pos, bad.what, bad.mend)
			continue
		}
		below := t.sub(f.name)
		visit(Value[string]{V: strings.Clone(f.name), Pos: f.pos}, below)
	}
}

// rows returns the tables of a list: [[key]] in the file, or key = [{...}, {...}].
func (t *table) rows(key string) []*table {
	n := t.value(key)
	if n == nil {
		return nil
	}
	name := t.below(key)
	if n.kind != unstable.Array && n.kind != unstable.ArrayTable {
		t.refuse(n.pos, fmt.Sprintf("%s is %s where a list of tables is wanted", name, n.literal()), "write [["+name+"]] for each")
		return nil
	}
	made := make([]table, 0, len(n.items))
	rows := make([]*table, 0, len(n.items))
	for _, item := range n.items {
		if item.kind != unstable.Table {
			t.refuse(item.pos, fmt.Sprintf("%s in %s is not a table", item.literal(), name), "write [["+name+"]] for each")
			continue
		}
		made = append(made, table{d: t.d, n: item, pos: item.pos, name: name})
		rows = append(rows, &made[len(made)-1])
	}
	return rows
}

// close refuses the keys that nobody asked for. elsewhere says of some where they
// belong instead.
func (t *table) close(elsewhere string, theirs ...string) {
	if t.n == nil {
		return
	}
	defer func() { t.d.keys, t.keys = t.keys, nil }()
	for i := range t.n.fields {
		f := &t.n.fields[i]
		if f.value.asked || slices.Contains(t.keys, f.name) {
			continue
		}
		mend := suggest(f.name, t.keys, "known keys")
		for _, k := range theirs {
			if k == f.name {
				mend = "it belongs in " + elsewhere
			}
		}
		t.refuse(f.pos, fmt.Sprintf("unknown key %q in %s", clip(f.name), t.place()), mend)
	}
}

// nameFault checks a name that the user chose: it appears in selectors, in labels and
// in the names of devices, so it is letters, digits, dash, dot and underscore.
func nameFault(name, kind string, most int) *fault {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.", c)
	}
	switch {
	case name == "":
		return &fault{what: "the name of a " + kind + " is empty", mend: "give it a name"}
	case len(name) > most:
		return &fault{what: fmt.Sprintf("%q as the name of a %s has %d characters", clip(name), kind, len(name)), mend: fmt.Sprintf("at most %d are allowed", most)}
	case strings.TrimFunc(name, plain) != "" || strings.ContainsFunc(name, func(c rune) bool { return !plain(c) }):
		return &fault{what: fmt.Sprintf("%q cannot name a %s", clip(name), kind), mend: "use letters, digits, '-', '_' and '.'"}
	case strings.HasPrefix(name, "-") || strings.HasPrefix(name, "."):
		return &fault{what: fmt.Sprintf("%q cannot name a %s", clip(name), kind), mend: "begin with a letter or a digit"}
	}
	return nil
}

// named is the parser of such a name where it is a value.
func named(kind string, most int) parser[string] {
	return func(n *node) (string, *fault) {
		if bad := wants(n, unstable.String, "a name", `"web-out"`); bad != nil {
			return "", bad
		}
		return strings.Clone(n.text), nameFault(n.text, kind, most)
	}
}
