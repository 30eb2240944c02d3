package config

import (
	"fmt"

	"github.com/pelletier/go-toml/v2/unstable"
)

// origin says how a table came to be, because TOML lets only some be added to.
type origin uint8

const (
	implicit origin = iota + 1 // made on the way to [a.b]; may still get its own header
	header                     // by [a] or [[a]]
	dotted                     // by a.b = 1; more dotted keys may follow, a header may not
	inline                     // { ... }: closed
)

// node is a value of the file: a scalar, a list or a table. Its kind is one of
// go-toml's, where InlineTable is folded into Table, and ArrayTable is the list that
// [[a]] makes.
type node struct {
	kind   unstable.Kind
	pos    Position
	text   string         // a string's content; other scalars as written
	items  []*node        // Array, ArrayTable
	fields []field        // Table, in the order of the file
	index  map[string]int // of fields, by name; nil: there are few
	names  uint32         // a bit for each of fields, see bitOf
	origin origin         // Table
	asked  bool           // as the value of a key: somebody wanted it, see table.close
}

// field is a key of a table with its value.
type field struct {
	name  string
	pos   Position // of the key
	value *node
}

// get returns the value of key, or nil.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	if i := n.find(key); i >= 0 {
		return n.fields[i].value
	}
	return nil
}

// fieldsFew is how many fields are found by going through them, without an index.
const fieldsFew = 12

// find returns the index of a key's field, -1 where there is none.
func (n *node) find(key string) int {
	if n.index != nil {
		if i, ok := n.index[key]; ok {
			return i
		}
		return -1
	}
	if n.names&bitOf(key) == 0 {
		return -1
	}
	for i := range n.fields {
		if n.fields[i].name == key {
			return i
		}
	}
	return -1
}

// bitOf returns one of 32 bits by a name: of the keys that a rule may have most are absent,
// and a look at the bits of those that are there tells it.
func bitOf(name string) uint32 {
	if name == "" {
		return 1
	}
	return 1 << ((name[0] + name[len(name)-1] + uint8(len(name))<<2) % 32)
}

// keyPos returns where key was written.
func (n *node) keyPos(key string) Position { return n.fields[n.find(key)].pos }

func (n *node) add(key keyPart, value *node) *node {
	if n.fields == nil {
		n.fields = make([]field, 0, fieldsFew)
	}
	n.names |= bitOf(key.name)
	n.fields = append(n.fields, field{name: key.name, pos: key.pos, value: value})
	switch {
	case n.index != nil:
		n.index[key.name] = len(n.fields) - 1
	case len(n.fields) > fieldsFew:
		n.index = make(map[string]int, 2*len(n.fields))
		for i := range n.fields {
			n.index[n.fields[i].name] = i
		}
	}
	return value
}

// literal describes a value in a message: scalars as they are meant, short.
func (n *node) literal() string {
	switch n.kind {
	case unstable.Table:
		return "a table"
	case unstable.Array, unstable.ArrayTable:
		return "a list"
	case unstable.String:
		return fmt.Sprintf("%q", clip(n.text))
	}
	return clip(n.text)
}

// clip shortens what a message quotes.
func clip(s string) string {
	const most = 48
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// keyPart is one part of a dotted key.
type keyPart struct {
	name string
	pos  Position
}

// set stores value under the dotted key path below n (TOML 1.0, "Keys").
func (n *node) set(path []keyPart, value *node) *fault {
	for _, part := range path[:len(path)-1] {
		next := n.get(part.name)
		switch {
		case next == nil:
			next = n.add(part, &node{kind: unstable.Table, pos: part.pos, origin: dotted})
		case next.kind != unstable.Table || next.origin != dotted:
			return twice(part, next)
		}
		n = next
	}
	last := path[len(path)-1]
	if old := n.get(last.name); old != nil {
		return twice(last, old)
	}
	n.add(last, value)
	return nil
}

// open returns the table that the header [path] names, making it where it is new
// (TOML 1.0, "Table"). Unlike TOML, two files may each open the same table: that is
// how included files add to it.
func (n *node) open(path []keyPart) (*node, *fault) {
	n, bad := n.descend(path[:len(path)-1])
	if bad != nil {
		return nil, bad
	}
	last := path[len(path)-1]
	old := n.get(last.name)
	switch {
	case old == nil:
		return n.add(last, &node{kind: unstable.Table, pos: last.pos, origin: header}), nil
	case old.kind == unstable.Table && (old.origin == implicit || old.origin == header && old.pos.File != last.pos.File):
		old.origin, old.pos = header, last.pos
		return old, nil
	}
	return nil, twice(last, old)
}

// extend appends a table to the list that the header [[path]] names (TOML 1.0,
// "Array of Tables").
func (n *node) extend(path []keyPart, newNode func(node) *node) (*node, *fault) {
	n, bad := n.descend(path[:len(path)-1])
	if bad != nil {
		return nil, bad
	}
	last := path[len(path)-1]
	list := n.get(last.name)
	if list == nil {
		list = n.add(last, &node{kind: unstable.ArrayTable, pos: last.pos})
	}
	if list.kind != unstable.ArrayTable {
		return nil, twice(last, list)
	}
	row := newNode(node{kind: unstable.Table, pos: last.pos, origin: header})
	if before := len(list.items); before > 0 { // rows of a list are mostly alike
		row.fields = make([]field, 0, max(1, len(list.items[before-1].fields)))
	}
	list.items = append(list.items, row)
	return row, nil
}

// descend follows the leading parts of a header.
func (n *node) descend(path []keyPart) (*node, *fault) {
	for _, part := range path {
		next := n.get(part.name)
		switch {
		case next == nil:
			next = n.add(part, &node{kind: unstable.Table, pos: part.pos, origin: implicit})
		case next.kind == unstable.ArrayTable:
			next = next.items[len(next.items)-1]
		case next.kind != unstable.Table || next.origin == inline:
			return nil, twice(part, next)
		}
		n = next
	}
	return n, nil
}

func twice(part keyPart, old *node) *fault {
	return &fault{
		at:   part.pos,
		what: fmt.Sprintf("%q is set twice, first at %s", clip(part.name), old.pos),
		mend: "remove one of the two",
	}
}
