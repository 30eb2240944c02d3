package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/dataplane"
	"holdfast/dataplane/gate"
)

// flushRest is how many times as long as a flush took the next one waits: whoever has many
// addresses could otherwise keep the node going through its table all the time.
const flushRest = 4

// flushSources ends, until ctx ends, what sources have that went beyond a limit.
func (d *daemon) flushSources(ctx context.Context) {
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-rest.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-d.overloads.Ready():
		}
		began := gate.Now()
		d.flush(d.overloads.Take())
		rest.Reset(flushRest * time.Duration(gate.Now()-began))
	}
}

// flush ends the connections of these sources, in one pass over the table however many there
// are. It is a kill of each by itself: both ends are reset, and the peers hear of each.
func (d *daemon) flush(orders map[dataplane.Flush]struct{}) {
	if len(orders) == 0 || !d.killing.begin() {
		return
	}
	defer d.killing.running.Done()
	d.killing.Lock()
	defer d.killing.Unlock()
	if !d.lease.Held(gate.Now()) {
		return // copies only: they are for the active node to end
	}
	f := newFlushed(orders)
	k := &kill{d: d, before: d.table.Latest(), manner: dataplane.Reset, why: conntrack.EndLimited, tell: len(d.links) > 0}
	k.choose = func() conntrack.Choice { return conntrack.Choice{Class: f.meansClass, Conn: f.means} }
	k.mark()
	if k.marked.Load() > 0 {
		k.reap()
	}
	d.flushed.Add(uint64(k.count()))
}

// flushed says which connections orders mean. It does not change.
type flushed struct {
	orders map[flushedSource]dataplane.Flush
	bits   []int           // the lengths of their sources' prefixes
	all    bool            // some mean connections of all rules
	rules  map[uint32]bool // and others those of these
}

// flushedSource is a source and the rule whose connections of it end; 0: all rules'.
type flushedSource struct {
	source netip.Prefix
	rule   uint32
}

func newFlushed(orders map[dataplane.Flush]struct{}) *flushed {
	f := &flushed{orders: map[flushedSource]dataplane.Flush{}, rules: map[uint32]bool{}}
	for o := range orders {
		f.orders[flushedSource{o.Source, o.Rule}] = o
		if !slices.Contains(f.bits, o.Source.Bits()) {
			f.bits = append(f.bits, o.Source.Bits())
		}
		f.all = f.all || o.Rule == 0
		f.rules[o.Rule] = true
	}
	return f
}

func (f *flushed) meansClass(c *conntrack.Class) bool { return f.all || f.rules[c.Rule] }

// means reports whether a connection ends: what it is from is one of the sources, and was not
// kept out of the table by an entry of its own.
func (f *flushed) means(v *conntrack.View) bool {
	src := v.Original.Src.Netip()
	for _, bits := range f.bits {
		source, err := src.Prefix(bits)
		if err != nil {
			continue // a length of the other family
		}
		for _, rule := range []uint32{0, v.Rule} {
			if o, ok := f.orders[flushedSource{source, rule}]; ok && o.Table.Holds(&v.Original.Src) {
				return true
			}
		}
	}
	return false
}

// overloadStatus puts the counts into the API's words.
func (d *daemon) overloadStatus() api.Overload {
	o := d.overloads
	return api.Overload{Taken: o.Taken(), NoRoom: o.NoRoom(), Flushed: d.flushed.Load(), Shed: o.Shed()}
}

// fullTables says which tables have no room for a source that goes beyond a limit.
func (d *daemon) fullTables() (all []string) {
	tables := d.snapshot.Load().Tables
	told := map[string]bool{}
	for _, r := range d.generation().limits.Rules {
		t := tables.ByName(r.Overload.Table)
		if t == nil || told[t.Name()] {
			continue
		}
		told[t.Name()] = true
		if _, added := t.Sizes(); added >= t.Max() {
			all = append(all, fmt.Sprintf("table %s is full with %d entries: sources that go beyond a limit are not blocked; raise its max, or shorten its timeout", t.Name(), added))
		}
	}
	return all
}
