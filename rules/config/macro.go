package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Bounds of expansion: macros that name macros multiply.
const (
	macroDepthMax    = 8
	macroElementsMax = 1 << 16 // of one file
)

// expand returns n, or what its macro stands for where n is the string "$name". Faults
// inside a macro are told at the macro's own line.
func (d *decoder) expand(n *node) []*node {
	if d.macros == nil {
		return []*node{n}
	}
	return d.expandTo(nil, n, 0)
}

// isMacro reports whether a value is the name of a macro, where there can be some.
func (d *decoder) isMacro(n *node) bool {
	return d.macros != nil && n.kind == unstable.String && strings.HasPrefix(n.text, "$")
}

// expandAll is expand for a list. It returns the list itself where no element is a macro.
func (d *decoder) expandAll(list []*node) []*node {
	if !slices.ContainsFunc(list, d.isMacro) {
		return list
	}
	var all []*node
	for _, n := range list {
		all = d.expandTo(all, n, 0)
	}
	return all
}

func (d *decoder) expandTo(list []*node, n *node, depth int) []*node {
	name, isMacro := strings.CutPrefix(n.text, "$")
	if n.kind != unstable.String || !isMacro {
		if depth == 0 {
			return append(list, n) // written out, and so bounded by the file's size
		}
		if d.budget--; d.budget == 0 {
			d.refuse(n.pos, fmt.Sprintf("macros expand to more than %d values", macroElementsMax), "use prefixes or ranges for the many")
		}
		if d.budget <= 0 {
			return list
		}
		return append(list, n)
	}
	macro := d.macros[name]
	switch {
	case macro == nil:
		d.refuse(n.pos, fmt.Sprintf("unknown macro %q", clip(n.text)), suggest(name, slices.Collect(maps.Keys(d.macros)), "macros"))
		return list
	case depth == macroDepthMax:
		d.refuse(n.pos, fmt.Sprintf("macros name each other more than %d deep at %q", macroDepthMax, clip(n.text)), "break the circle")
		return list
	case macro.kind != unstable.Array:
		return d.expandTo(list, macro, depth+1)
	}
	for _, item := range macro.items {
		if d.budget <= 0 {
			break
		}
		list = d.expandTo(list, item, depth+1)
	}
	return list
}

// Macro is a named list, used as "$name".
type Macro struct {
	Name Value[string]
	Size int // how many values it stands for itself
}

// readMacros takes the macros; what they hold is checked where they are used.
func (d *decoder) readMacros(t *table) []Macro {
	var all []Macro
	d.macros, d.budget = map[string]*node{}, macroElementsMax
	if t.n == nil {
		return nil
	}
	for _, f := range t.n.fields {
		if bad := nameFault(f.name, "macro", nameMax); bad != nil {
			d.refuse(f.pos, bad.what, bad.mend)
			continue
		}
		switch kind := f.value.kind; {
		case kind == unstable.Array && len(f.value.items) == 0:
			// A rule's list that came out empty would hold for everything.
			d.refuse(f.value.pos, fmt.Sprintf("macro %s is empty", f.name), "give it values, or remove it and the rules that use it")
			continue
		case kind != unstable.String && kind != unstable.Integer && kind != unstable.Array:
			d.refuse(f.value.pos, fmt.Sprintf("macro %s is %s", f.name, f.value.literal()), `write a list of addresses or ports, such as web = [80, 443]`)
			continue
		}
		d.macros[f.name] = f.value
		all = append(all, Macro{Name: Value[string]{strings.Clone(f.name), f.pos}, Size: max(1, len(f.value.items))})
	}
	return all
}
