package table

import "fmt"

// Max is how many tables a policy may have.
const Max = 256

// Tables is all tables of a policy, by the numbers that the policy's rules know them by:
// their places in the Plans. It is immutable; a nil one has no tables.
type Tables struct {
	all    []*Table
	byName map[string]*Table
	clock  *clock
}

// None returns no tables, for a node of a number to begin with: those that are made after them
// count its changes from counter on, which is above what it has counted in lives before.
func None(node uint16, counter uint64) *Tables {
	c := &clock{node: node}
	c.counter.Store(counter)
	return &Tables{clock: c}
}

// New makes the tables of a policy. Those of the policy before, or nil, give what was added
// to tables that go on, and stay as they are: going back to them loses nothing.
func New(plans []Plan, before *Tables) (*Tables, error) {
	if len(plans) > Max {
		return nil, fmt.Errorf("%d tables: at most %d are possible", len(plans), Max)
	}
	if before == nil {
		before = None(0, 0)
	}
	ts := &Tables{byName: make(map[string]*Table, len(plans)), clock: before.clock}
	for i := range plans {
		name := plans[i].Name
		if ts.byName[name] != nil {
			return nil, fmt.Errorf("two tables are called %s", name)
		}
		t, err := newTable(&plans[i], before.ByName(name), ts.clock)
		if err != nil {
			return nil, err
		}
		ts.all = append(ts.all, t)
		ts.byName[name] = t
	}
	return ts, nil
}

// All returns the tables by number. The caller must not change them.
func (ts *Tables) All() []*Table {
	if ts == nil {
		return nil
	}
	return ts.all
}

// At returns the table of a number, or nil.
func (ts *Tables) At(number int) *Table {
	if ts == nil || uint(number) >= uint(len(ts.all)) {
		return nil
	}
	return ts.all[number]
}

// ByName returns a table by its name, or nil.
func (ts *Tables) ByName(name string) *Table {
	if ts == nil {
		return nil
	}
	return ts.byName[name]
}

// Expire takes out of all tables what has no lifetime left at now (ns), and returns how many
// entries that were.
func (ts *Tables) Expire(now int64) (n int) {
	for _, t := range ts.All() {
		n += t.Expire(now)
	}
	return n
}
