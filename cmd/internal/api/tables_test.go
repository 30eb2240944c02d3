package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func (f *fake) Tables() (Tables, error) {
	f.last = "tables"
	return Tables{Tables: []Table{{Name: "brutes", Max: 7}}}, f.err
}

func (f *fake) TableEntries(name string) (TableEntries, error) {
	f.last = "entries of " + name
	return TableEntries{Entries: []TableEntry{{Entry: "10.0.0.0/8", Left: -1}}}, f.err
}

func (f *fake) TableTest(name, address string) (TableTest, error) {
	f.last = "test " + name + " " + address
	return TableTest{Table: name, Holds: true}, f.err
}

func (f *fake) change(what string, r TableRequest) (TableChange, error) {
	f.last = fmt.Sprint(what, " ", r.Table, " ", r.Entries)
	if r.Timeout != nil {
		f.last += fmt.Sprint(" ", *r.Timeout)
	}
	return TableChange{Table: r.Table, Added: 3}, f.err
}

func (f *fake) TableAdd(r TableRequest) (TableChange, error)     { return f.change("add", r) }
func (f *fake) TableDelete(r TableRequest) (TableChange, error)  { return f.change("delete", r) }
func (f *fake) TableFlush(r TableRequest) (TableChange, error)   { return f.change("flush", r) }
func (f *fake) TableReplace(r TableRequest) (TableChange, error) { return f.change("replace", r) }

// TestTableRequests: each reaches the daemon with all that it says; a table that is not there
// is 404, and a replacement may be larger than other requests.
func TestTableRequests(t *testing.T) {
	f := &fake{}
	path := serve(t, f)
	c, ctx := NewClient(path), context.Background()
	hour := 3600.0
	r := TableRequest{Table: "b", Entries: []string{"10.0.0.1", "!::1"}}
	timed := r
	timed.Timeout = &hour
	changed := TableChange{Table: "b", Added: 3}
	for _, row := range []struct {
		ask   func() (any, error)
		heard string
		want  any
	}{
		{func() (any, error) { return c.Tables(ctx) }, "tables", Tables{Tables: []Table{{Name: "brutes", Max: 7}}}},
		{func() (any, error) { return c.TableEntries(ctx, "a.b") }, "entries of a.b", TableEntries{Entries: []TableEntry{{Entry: "10.0.0.0/8", Left: -1}}}},
		{func() (any, error) { return c.TableEntries(ctx, "a/b?c") }, "entries of a/b?c", TableEntries{Entries: []TableEntry{{Entry: "10.0.0.0/8", Left: -1}}}},
		{func() (any, error) { return c.TableTest(ctx, "b", "2001:db8::1") }, "test b 2001:db8::1", TableTest{Table: "b", Holds: true}},
		{func() (any, error) { return c.TableAdd(ctx, timed) }, "add b [10.0.0.1 !::1] 3600", changed},
		{func() (any, error) { return c.TableDelete(ctx, r) }, "delete b [10.0.0.1 !::1]", changed},
		{func() (any, error) { return c.TableFlush(ctx, TableRequest{Table: "b"}) }, "flush b []", changed},
		{func() (any, error) { return c.TableReplace(ctx, r) }, "replace b [10.0.0.1 !::1]", changed},
	} {
		got, err := row.ask()
		if err != nil || f.last != row.heard {
			t.Errorf("asked %q, the daemon heard %q: %v", row.heard, f.last, err)
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s: %s", row.heard, diff)
		}
	}
	many := TableRequest{Table: "b", Entries: make([]string, 200_000)}
	for i := range many.Entries {
		many.Entries[i] = "2001:db8::1"
	}
	if _, err := c.TableReplace(ctx, many); err != nil {
		t.Errorf("many entries: %v", err)
	}
	f.err = fmt.Errorf("%w: %q", ErrNoTable, "b")
	if _, err := c.TableTest(ctx, "b", "::1"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `no such table: "b"`) {
		t.Errorf("no table: %v", err)
	}
	if status, _ := raw(t, path, "GET", "/v1/tables/b", nil); status != http.StatusNotFound {
		t.Errorf("no table is answered with %d", status)
	}
}
