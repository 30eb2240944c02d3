package config

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Bounds of tables.
const (
	tablesMax       = 256     // as many as package rules/table has numbers for
	tableWritten    = 1 << 20 // prefixes that the policy and the file of one table come to
	tableMaxDefault = 200_000 // entries beside the written ones
	tableMaxMost    = 4_000_000
	fileFaultsMax   = 10 // that are told of one file: the eleventh says that it is the wrong one
)

// Table is a set of addresses that rules name by "<name>". The narrowest entry that holds
// an address decides.
type Table struct {
	Name      Value[string]        // not Written: rules name it, and the file does not declare it
	Addresses []Value[Address]     // of kind AddressRange; those of File behind the others
	File      Value[string]        `json:"-"` // what it says stands in Addresses
	Timeout   Value[time.Duration] // of entries that are added; zero: they stay
	Max       Value[int]           // how many entries may be added
	Const     Value[bool]          // none may

	faulty bool // something in it was refused: what it holds is not known
}

// readTable reads [tables.name].
func (d *decoder) readTable(name Value[string], t *table) Table {
	set := Table{Name: name, Max: byDefault(tableMaxDefault)}
	faults := len(d.errs)
	many(t, "addresses", tableEntry, &set.Addresses)
	one(t, "file", text("a file's name", 4096, `"bogons.txt"`), &set.File)
	one(t, "timeout", duration(0, 366*24*time.Hour), &set.Timeout)
	one(t, "max", integer("a number of entries", 1, tableMaxMost), &set.Max)
	one(t, "const", boolean, &set.Const)
	t.close("")
	if set.File.Written() {
		set.Addresses = append(set.Addresses, d.tableFile(set.File)...)
	}
	if set.Const.V {
		for _, at := range []Position{set.Timeout.Pos, set.Max.Pos} {
			if !at.IsZero() {
				d.refuse(at, "table "+name.V+" is const, so no entry is ever added to it", "remove this, or const")
			}
		}
	}
	set.check(d)
	set.faulty = len(d.errs) > faults
	return set
}

// tableEntry reads an entry of a table: a prefix, a range or an address, or one behind "!".
func tableEntry(n *node) (Address, *fault) {
	const mend = `write one such as "10.0.0.66", "10.0.0.0/24", "10.0.0.1-10.0.0.9" or "!10.0.0.7"`
	a, bad := addressElement(n)
	switch {
	case bad == nil && a.Kind != AddressRange:
		return a, &fault{what: n.literal() + " is not an entry of a table", mend: mend}
	case bad != nil && strings.HasSuffix(bad.mend, `"any" or "self"`):
		bad.mend = mend
	}
	return a, bad
}

// tableFile reads the file that a table names.
func (d *decoder) tableFile(file Value[string]) []Value[Address] {
	if d.read == nil {
		return nil
	}
	path := relativeTo(file.Pos.File, file.V)
	data, err := d.read(path)
	if err != nil {
		d.errs = append(d.errs, refusal(unreadable(file.Pos, "table file "+path, err)))
		return nil
	}
	all, errs := parseTable(path, data)
	d.errs = append(d.errs, errs...)
	return all
}

// ParseTableEntry reads one entry of a table: "10.0.0.66", "10.0.0.0/24",
// "10.0.0.1-10.0.0.9", or one of them behind a "!".
func ParseTableEntry(text string) (Address, error) {
	a, bad := tableEntry(&node{kind: unstable.String, text: text})
	if bad != nil {
		return Address{}, fmt.Errorf("%s: %s", bad.what, strings.ReplaceAll(bad.mend, `"`, ""))
	}
	return a, nil
}

// ParseTable reads the entries of a table from text that is not a policy: one to a line, and
// what follows a "#" is a comment. name stands for the text in positions. The error is an
// Errors.
func ParseTable(name string, data []byte) ([]Value[Address], error) {
	all, errs := parseTable(name, data)
	if len(errs) > 0 {
		return nil, errs
	}
	return all, nil
}

func parseTable(name string, data []byte) (all []Value[Address], errs Errors) {
	if len(data) > fileSizeMax {
		return nil, Errors{{Pos: Position{name, 1, 1}, What: fmt.Sprintf("the table has more than %d bytes", fileSizeMax), Mend: "is this the right file?"}}
	}
	number, wrong := int32(0), 0
	for line := range bytes.Lines(data) {
		number++
		line, _, _ = bytes.Cut(line, []byte("#"))
		word := bytes.TrimSpace(line)
		if len(word) == 0 {
			continue
		}
		n := &node{kind: unstable.String, text: string(word), pos: Position{name, number, int32(utf8.RuneCount(line[:bytes.Index(line, word)]) + 1)}}
		a, bad := tableEntry(n)
		if bad == nil {
			all = append(all, Value[Address]{V: a, Pos: n.pos})
			continue
		}
		if wrong++; wrong <= fileFaultsMax {
			errs = append(errs, Error{Pos: n.pos, What: bad.what, Mend: strings.ReplaceAll(bad.mend, `"`, "")})
		}
	}
	if wrong > fileFaultsMax {
		errs = append(errs, Error{Pos: Position{name, number, 1}, What: fmt.Sprintf("%d lines more are not entries of a table", wrong-fileFaultsMax),
			Mend: "write one address, prefix or range to a line, and comments behind #"})
	}
	return all, errs
}

// check finds entries that contradict each other, and more of them than there may be. A
// range counts as the prefixes that it is made of.
func (t *Table) check(d *decoder) {
	excluded := map[netip.Prefix]Position{}
	n := 0
	for _, a := range t.Addresses {
		if a.V.Kind != AddressRange {
			continue
		}
		for _, p := range Prefixes(a.V.First, a.V.Last) {
			if n++; n > tableWritten {
				d.refuse(a.Pos, fmt.Sprintf("table %s has more than %d prefixes", t.Name.V, tableWritten), "write wider ones")
				return
			}
			if a.V.Sense == Exclude {
				excluded[p] = a.Pos
			}
		}
	}
	if len(excluded) == 0 {
		return
	}
	for _, a := range t.Addresses {
		if a.V.Sense == Exclude {
			continue
		}
		for _, p := range Prefixes(a.V.First, a.V.Last) {
			if at, ok := excluded[p]; ok {
				d.refuse(a.Pos, fmt.Sprintf("table %s holds %s and excludes it, at %s", t.Name.V, rangeText(prefixBounds(p)), at), "remove one of the two")
			}
		}
	}
}

// TableNumber returns the number of a table: its place among the policy's.
func (p *Policy) TableNumber(name string) (number int, ok bool) {
	number = slices.IndexFunc(p.Tables, func(t Table) bool { return t.Name.V == name })
	return number, number >= 0
}

func (p *Policy) tableNames() []string {
	names := make([]string, len(p.Tables))
	for i, t := range p.Tables {
		names[i] = t.Name.V
	}
	return names
}

// referTable refuses the name of a table that looks like a slip. A table that the file
// declares nowhere is not one: it starts empty and is filled by command (see adopt).
func (p *Policy) referTable(d *decoder, a Value[Address]) {
	if a.V.Kind != AddressTable {
		return
	}
	if _, ok := p.TableNumber(a.V.Table); ok {
		return
	}
	if near := Nearest(a.V.Table, p.tableNames()); near != "" {
		d.refuse(a.Pos, fmt.Sprintf("unknown table %q", a.V.Table), fmt.Sprintf("did you mean %q? If not, declare [tables.%s]", near, a.V.Table))
	}
}

// tables visits the elements of from and to that are tables.
func (r *Rule) tables(visit func(*Value[Address]) bool) {
	for _, list := range [...][]Value[Address]{r.From, r.To} {
		for i := range list {
			if list[i].V.Kind == AddressTable && !visit(&list[i]) {
				return
			}
		}
	}
}

// adopt declares the tables that rules name and the file does not, in the order of their
// names.
func (p *Policy) adopt(d *decoder) {
	missing := map[string]bool{}
	p.eachRule(func(r *Rule) {
		for a := range r.tables {
			if _, ok := p.TableNumber(a.V.Table); !ok {
				missing[a.V.Table] = true
			}
		}
	})
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		p.Tables = append(p.Tables, Table{Name: byDefault(name), Max: byDefault(tableMaxDefault)})
	}
	if len(p.Tables) > tablesMax {
		at := p.Tables[tablesMax].Name.Pos
		if at.IsZero() {
			at = Position{p.File, 1, 1}
		}
		d.refuse(at, fmt.Sprintf("more than %d tables", tablesMax), "join some, or use macros for those that never change")
	}
}
