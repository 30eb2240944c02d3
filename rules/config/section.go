package config

import (
	"fmt"
	"slices"
)

// A section is a list of rules with a name, which stands in the list of all rules where one
// says so (pf calls it an anchor). So a part of the policy can lie in a file of its own, and
// be written anew by whoever it belongs to, without a touch on the rest:
//
//	[[rules]]                          [[sections.office.rules]]
//	section = "office"                 id = "printer"
//	in = "lan"                         action = "pass"
//
// What the rule that names the section asks of a packet, each of its rules asks too. Where
// none of them decides, the rules behind it are asked, as if the section were not there.
type Section struct {
	Name Value[string]
	Used Position `json:"-"` // where a rule names it; zero: none does

	asks *Rule // what that place asks
	rows []*table
}

// Within is what the place of a section asks of the packets of its rules.
type Within struct {
	Section string
	Asks    *Rule // its lists and conditions alone mean something
}

// sectionDepthMax bounds sections within sections.
const sectionDepthMax = 8

// sayings are the keys of a rule that one which names a section does not have: it only asks.
var sayings = []string{"id", "action", "gateway", "label", "limit", "tag", "log", "on_change", "reject", "state"}

// readSections takes the sections; their rules are read where they stand.
func (d *decoder) readSections(t *table) (all []Section) {
	t.each("section", nameMax, func(name Value[string], below *table) {
		all = append(all, Section{Name: name, rows: below.rows("rules")})
		below.close("")
	})
	return all
}

// readRules reads a list of rules, with the sections that stand in it. within is what their
// own place asks.
func (p *Policy) readRules(d *decoder, rows []*table, within []Within) {
	p.Rules = slices.Grow(p.Rules, len(rows))
	for _, t := range rows {
		if t.n.get("section") == nil {
			p.Rules = slices.Grow(p.Rules, 1)[:len(p.Rules)+1] // the list never shrinks: what lies behind it is zero
			r := &p.Rules[len(p.Rules)-1]
			r.Within = within
			d.readRule(t, r)
			continue
		}
		p.readPlace(d, t, within)
	}
}

// readPlace reads a rule that names a section, and the section's rules.
func (p *Policy) readPlace(d *decoder, t *table, within []Within) {
	var name Value[string]
	one(t, "section", named("section", nameMax), &name)
	asks := &Rule{Pos: t.pos}
	faults := len(d.errs)
	asks.readAsks(t)
	for _, key := range sayings {
		if t.n.get(key) != nil {
			t.value(key)
			t.refuse(t.n.keyPos(key), fmt.Sprintf("a rule that names a section has no %q", key), "give it to the rules of the section")
		}
	}
	t.close("")
	if len(d.errs) == faults {
		asks.ID = Value[string]{V: "for section " + name.V, Pos: name.Pos}
		asks.checkAsks(d)
	}
	if !name.Written() {
		return // told already
	}
	names := make([]string, len(p.Sections))
	for i := range p.Sections {
		s := &p.Sections[i]
		names[i] = s.Name.V
		if s.Name.V != name.V {
			continue
		}
		switch {
		case !s.Used.IsZero():
			d.refuse(name.Pos, fmt.Sprintf("section %s stands in the rules twice, first at %s", name.V, s.Used), "name it once, or make two sections")
			return
		case len(within) == sectionDepthMax:
			d.refuse(name.Pos, fmt.Sprintf("sections stand in each other more than %d deep", sectionDepthMax), "name the section in [[rules]]")
			return
		}
		s.Used, s.asks = name.Pos, asks
		inside := append(within[:len(within):len(within)], Within{name.V, asks})
		p.readRules(d, s.rows, inside)
		return
	}
	known(d, "section", name, names)
}

// placeSections: every section stands somewhere.
func (p *Policy) placeSections(d *decoder) {
	defer func() {
		for i := range p.Sections {
			p.Sections[i].rows = nil // or they keep the tree
		}
	}()
	for i := range p.Sections {
		s := &p.Sections[i]
		if !s.Used.IsZero() || d.damaged {
			continue
		}
		d.refuse(s.Name.Pos, fmt.Sprintf("section %s stands nowhere: its rules are never asked", s.Name.V), fmt.Sprintf("write [[rules]] with section = %q where they are to be asked", s.Name.V))
		// Their own faults are told all the same.
		s.Used = s.Name.Pos
		p.readRules(d, s.rows, nil)
	}
}

// eachRule visits every rule, and what the place of every section asks.
func (p *Policy) eachRule(visit func(*Rule)) {
	for i := range p.Rules {
		visit(&p.Rules[i])
	}
	for i := range p.Sections {
		if asks := p.Sections[i].asks; asks != nil {
			visit(asks)
		}
	}
}
