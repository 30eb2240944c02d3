package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane/gate"
	"holdfast/rules/config"
	"holdfast/rules/table"
)

// tableTick is how much longer than its lifetime an entry of a table stays at most.
const tableTick = 250 * time.Millisecond

// expireTables takes entries whose lifetime is over out of the tables until ctx ends.
func (d *daemon) expireTables(ctx context.Context) {
	tick := time.NewTicker(tableTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.snapshot.Load().Tables.Expire(gate.Now())
		}
	}
}

// tableOf returns a table by its name.
func (d *daemon) tableOf(name string) (*table.Table, error) {
	tables := d.snapshot.Load().Tables
	if t := tables.ByName(name); t != nil {
		return t, nil
	}
	var names []string
	for _, t := range tables.All() {
		names = append(names, t.Name())
	}
	mend := "the policy has none"
	if near := config.Nearest(name, names); near != "" {
		mend = fmt.Sprintf("did you mean %q?", near)
	} else if len(names) > 0 {
		mend = "`holdfast tables` lists those of the policy"
	}
	return nil, fmt.Errorf("%w: %q: %s", api.ErrNoTable, name, mend)
}

// Tables implements api.Daemon.
func (d *daemon) Tables() (api.Tables, error) {
	list := api.Tables{Tables: []api.Table{}}
	for _, t := range d.snapshot.Load().Tables.All() {
		list.Tables = append(list.Tables, showTable(t))
	}
	slices.SortFunc(list.Tables, func(a, b api.Table) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

func showTable(t *table.Table) api.Table {
	written, added := t.Sizes()
	return api.Table{
		Name: t.Name(), Const: t.Const(), Written: written, Added: added, Max: t.Max(),
		Timeout: seconds(t.Lifetime()), Refused: t.Refused(),
	}
}

// seconds are those of a time in ns.
func seconds(ns int64) float64 { return time.Duration(ns).Seconds() }

// TableEntries implements api.Daemon.
func (d *daemon) TableEntries(name string) (api.TableEntries, error) {
	t, err := d.tableOf(name)
	if err != nil {
		return api.TableEntries{}, err
	}
	now := gate.Now()
	list := api.TableEntries{Table: showTable(t), Entries: []api.TableEntry{}}
	for e := range t.Entries() {
		list.Entries = append(list.Entries, d.tableEntry(&e, now))
	}
	return list, nil
}

// tableEntry puts an entry into the API's words.
func (d *daemon) tableEntry(e *table.Entry, now int64) api.TableEntry {
	a := api.TableEntry{Entry: e.String(), Cause: e.Cause.Kind.String(), Age: -1, Left: -1, Matches: e.Matches, Last: -1}
	switch e.Cause.Kind {
	case table.Written:
		a.Written = e.Written.String()
	case table.Overload:
		a.Rule = d.ruleName(e.Cause.Rule)
		fallthrough
	default:
		a.Age = max(0, seconds(now-e.Added))
	}
	if e.Expires != 0 {
		a.Left = max(0, seconds(e.Expires-now))
	}
	if e.Last != 0 {
		a.Last = max(0, seconds(now-e.Last))
	}
	return a
}

// TableTest implements api.Daemon.
func (d *daemon) TableTest(name, address string) (api.TableTest, error) {
	t, err := d.tableOf(name)
	if err != nil {
		return api.TableTest{}, err
	}
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" {
		return api.TableTest{}, fmt.Errorf("%w: %q is not an address: write one such as 203.0.113.5 or 2001:db8::1", api.ErrUsage, address)
	}
	result := api.TableTest{Table: name, Address: a.Unmap().String()}
	if e, ok := t.Find(a); ok {
		shown := d.tableEntry(&e, gate.Now())
		result.Holds, result.Entry = e.Sense == table.Include, &shown
	}
	return result, nil
}

// tableChange is a request to change a table, read.
type tableChange struct {
	*table.Table
	entries  []table.NewEntry
	lifetime int64
}

// readChange reads a request; nothing is changed before all of it is right.
func (d *daemon) readChange(r *api.TableRequest) (c tableChange, err error) {
	if c.Table, err = d.tableOf(r.Table); err != nil {
		return c, err
	}
	if c.Const() {
		return c, fmt.Errorf("table %s is const: only its policy changes it", r.Table)
	}
	for _, text := range r.Entries {
		a, err := config.ParseTableEntry(text)
		if err != nil {
			return c, fmt.Errorf("%w: %w", api.ErrUsage, err)
		}
		sense := table.Include
		if a.Sense == config.Exclude {
			sense = table.Exclude
		}
		for _, p := range config.Prefixes(a.First, a.Last) {
			c.entries = append(c.entries, table.NewEntry{Prefix: p, Sense: sense})
		}
		if len(c.entries) > c.Max() {
			return c, fmt.Errorf("nothing is changed: more than %d prefixes, the max of [tables.%s]", c.Max(), c.Name())
		}
	}
	c.lifetime, err = lifetime(r.Timeout)
	return c, err
}

// lifetime returns that of a request, in ns.
func lifetime(timeout *float64) (int64, error) {
	if timeout == nil {
		return table.Default, nil
	}
	switch ns := *timeout * 1e9; {
	case ns == 0:
		return table.Forever, nil
	case ns < 1 || ns > math.MaxInt64/2:
		return 0, fmt.Errorf("%w: a timeout of %v s: write 0 for none, or some seconds", api.ErrUsage, *timeout)
	default:
		return int64(ns), nil
	}
}

// unwritten leaves out what the policy says too, and refuses what it says otherwise.
func (c *tableChange) unwritten() (rest []table.NewEntry, err error) {
	for _, n := range c.entries {
		e, ok := c.Get(n.Prefix)
		switch {
		case !ok || e.Cause.Kind != table.Written:
			rest = append(rest, n)
		case e.Sense != n.Sense:
			return nil, c.isWritten(n)
		}
	}
	return rest, nil
}

var commanded = table.Cause{Kind: table.Command}

// TableAdd implements api.Daemon.
func (d *daemon) TableAdd(r api.TableRequest) (api.TableChange, error) {
	done := api.TableChange{Table: r.Table, Node: d.name}
	c, err := d.readChange(&r)
	if err != nil {
		return done, err
	}
	rest, err := c.unwritten()
	if err != nil {
		return done, err
	}
	done.Refreshed = len(c.entries) - len(rest)
	now := gate.Now()
	peers := tableTeller{d: d, t: c.Table}
	defer peers.done()
	for _, n := range rest {
		switch c.AddPrefix(n.Prefix, n.Sense, now, c.lifetime, commanded) {
		case table.Added:
			done.Added++
			peers.entry(n.Prefix)
		case table.Refreshed:
			done.Refreshed++
			peers.entry(n.Prefix)
		case table.Full:
			d.tellChange(&done)
			return done, fmt.Errorf("%w, after %d of %d", c.full(), done.Added+done.Refreshed, len(c.entries))
		}
	}
	d.tellChange(&done)
	return done, nil
}

// isWritten refuses to change an entry of the policy.
func (c *tableChange) isWritten(n table.NewEntry) error {
	e, _ := c.Get(n.Prefix)
	return fmt.Errorf("table %s has %v at %v, which no command changes: change it there", c.Name(), e, e.Written)
}

func (c *tableChange) full() error {
	return fmt.Errorf("table %s is full with %d added entries: delete some, or raise max in [tables.%s]", c.Name(), c.Max(), c.Name())
}

// tellChange writes down that somebody has changed a table.
func (d *daemon) tellChange(c *api.TableChange) {
	if c.Added+c.Refreshed+c.Deleted == 0 {
		return
	}
	d.log.Info("table changed", slog.String("table", c.Table), slog.Int("added", c.Added), slog.Int("refreshed", c.Refreshed), slog.Int("deleted", c.Deleted))
}

// TableDelete implements api.Daemon.
func (d *daemon) TableDelete(r api.TableRequest) (api.TableChange, error) {
	done := api.TableChange{Table: r.Table, Node: d.name}
	c, err := d.readChange(&r)
	if err != nil {
		return done, err
	}
	var missing error
	peers := tableTeller{d: d, t: c.Table}
	defer peers.done()
	for _, n := range c.entries {
		switch c.Delete(n.Prefix) {
		case table.Deleted:
			done.Deleted++
			peers.entry(n.Prefix)
		case table.IsWritten:
			missing = cmp.Or(missing, c.isWritten(n))
		case table.Absent:
			missing = cmp.Or(missing, c.absent(n))
		}
	}
	d.tellChange(&done)
	if missing != nil && len(c.entries) > 1 {
		missing = fmt.Errorf("%w (%d of %d were deleted)", missing, done.Deleted, len(c.entries))
	}
	return done, missing
}

// absent says that there is no such entry, and what may have been meant.
func (c *tableChange) absent(n table.NewEntry) error {
	text := table.Entry{Prefix: n.Prefix, Sense: n.Sense}.String()
	if e, ok := c.Find(n.Prefix.Addr()); ok {
		return fmt.Errorf("table %s has no entry %s: %v decides about it", c.Name(), text, e)
	}
	return fmt.Errorf("table %s has no entry %s: `holdfast tables show %s` lists them", c.Name(), text, c.Name())
}

// TableFlush implements api.Daemon.
func (d *daemon) TableFlush(r api.TableRequest) (api.TableChange, error) {
	done := api.TableChange{Table: r.Table, Node: d.name}
	if len(r.Entries) > 0 || r.Timeout != nil {
		return done, fmt.Errorf("%w: a flush takes no entries and no timeout", api.ErrUsage)
	}
	c, err := d.readChange(&r)
	if err != nil {
		return done, err
	}
	done.Deleted = c.Flush()
	d.tellTable(c.Table)
	d.tellChange(&done)
	return done, nil
}

// TableReplace implements api.Daemon.
func (d *daemon) TableReplace(r api.TableRequest) (api.TableChange, error) {
	done := api.TableChange{Table: r.Table, Node: d.name}
	c, err := d.readChange(&r)
	if err != nil {
		return done, err
	}
	rest, err := c.unwritten()
	if err != nil {
		return done, err
	}
	_, done.Deleted = c.Sizes()
	if out, _ := c.Replace(rest, gate.Now(), c.lifetime, commanded); out != table.Added {
		return done, c.full()
	}
	_, done.Added = c.Sizes()
	d.tellTable(c.Table)
	d.tellChange(&done)
	return done, nil
}
