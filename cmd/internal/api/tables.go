package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
)

// Tables is `holdfast tables --json`, sorted by name.
type Tables struct {
	Tables []Table `json:"tables"`
}

// Table is a table of addresses that the policy's rules name.
type Table struct {
	Name    string  `json:"name"`
	Const   bool    `json:"const"`   // nothing is ever added to it
	Written int     `json:"written"` // entries of the policy and the table's file, as prefixes
	Added   int     `json:"added"`   // entries that were added
	Max     int     `json:"max"`     // how many may be
	Timeout float64 `json:"timeout"` // seconds that one stays that is added without saying; 0: for good
	Refused uint64  `json:"refused"` // entries that found no room
}

// TableEntries is `holdfast tables show NAME --json`: the written entries and then the added
// ones, each in the order of addresses.
type TableEntries struct {
	Table   Table        `json:"table"`
	Entries []TableEntry `json:"entries"`
}

// TableEntry is an entry of a table.
type TableEntry struct {
	Entry   string  `json:"entry"`             // "!" before it keeps its addresses out of the table
	Cause   string  `json:"cause"`             // written, command, overload
	Written string  `json:"written,omitempty"` // file:line:column
	Rule    string  `json:"rule,omitempty"`    // by whose limit it came in
	Age     float64 `json:"age"`               // seconds since it was added; -1: it is written
	Left    float64 `json:"left"`              // seconds that it stays; -1: for good
	Matches uint64  `json:"matches"`           // first packets that a rule has decided on by it
	Last    float64 `json:"last"`              // seconds since the last of them; -1: there was none
}

// TableTest is `holdfast tables test NAME ADDR --json`.
type TableTest struct {
	Table   string      `json:"table"`
	Address string      `json:"address"`
	Holds   bool        `json:"holds"`
	Entry   *TableEntry `json:"entry"` // that decides; null: none has the address
}

// TableRequest asks to change what was added to a table.
type TableRequest struct {
	Table   string   `json:"table"`
	Entries []string `json:"entries"` // of none where it is flushed
	Timeout *float64 `json:"timeout"` // seconds, where entries come in; 0: for good, null: the table's own
}

// TableChange says what has become of it, in prefixes. A replacement has Added all that there
// are now, and Deleted all that there were.
type TableChange struct {
	Table     string `json:"table"`
	Node      string `json:"node"` // the one that has changed it: tables are not replicated yet
	Added     int    `json:"added"`
	Refreshed int    `json:"refreshed"` // were there already, and live anew
	Deleted   int    `json:"deleted"`
}

// ErrNoTable says that the policy has no such table.
var ErrNoTable = errors.New("no such table")

// TableKeeper is the part of a Daemon that has tables.
type TableKeeper interface {
	Tables() (Tables, error)
	TableEntries(name string) (TableEntries, error)
	TableTest(name, address string) (TableTest, error)
	TableAdd(TableRequest) (TableChange, error)
	TableDelete(TableRequest) (TableChange, error)
	TableFlush(TableRequest) (TableChange, error)
	TableReplace(TableRequest) (TableChange, error)
}

// tableBodyMax bounds a request that brings entries, in bytes: a table may have millions.
const tableBodyMax = 128 << 20

// handleTables routes the requests about tables.
func handleTables(mux *http.ServeMux, d TableKeeper) {
	mux.HandleFunc("GET /v1/tables", func(w http.ResponseWriter, _ *http.Request) {
		answer(w)(d.Tables())
	})
	mux.HandleFunc("GET /v1/tables/{name}", func(w http.ResponseWriter, r *http.Request) {
		answer(w)(d.TableEntries(r.PathValue("name")))
	})
	mux.HandleFunc("GET /v1/tables/{name}/test", func(w http.ResponseWriter, r *http.Request) {
		answer(w)(d.TableTest(r.PathValue("name"), r.URL.Query().Get("address")))
	})
	mux.HandleFunc("POST /v1/tables/add", postUpTo(tableBodyMax, d.TableAdd))
	mux.HandleFunc("POST /v1/tables/delete", postUpTo(tableBodyMax, d.TableDelete))
	mux.HandleFunc("POST /v1/tables/flush", post(d.TableFlush))
	mux.HandleFunc("POST /v1/tables/replace", postUpTo(tableBodyMax, d.TableReplace))
}

// Tables asks for all tables.
func (c *Client) Tables(ctx context.Context) (s Tables, err error) {
	return s, c.get(ctx, "tables", nil, &s)
}

// TableEntries asks for what a table has.
func (c *Client) TableEntries(ctx context.Context, name string) (s TableEntries, err error) {
	return s, c.get(ctx, "tables/"+url.PathEscape(name), nil, &s)
}

// TableTest asks whether a table holds an address, and by which entry.
func (c *Client) TableTest(ctx context.Context, name, address string) (s TableTest, err error) {
	return s, c.get(ctx, "tables/"+url.PathEscape(name)+"/test", url.Values{"address": {address}}, &s)
}

// TableAdd adds entries to a table; those that are there live anew.
func (c *Client) TableAdd(ctx context.Context, r TableRequest) (s TableChange, err error) {
	return s, c.post(ctx, "tables/add", r, &s)
}

// TableDelete takes entries that were added out of a table.
func (c *Client) TableDelete(ctx context.Context, r TableRequest) (s TableChange, err error) {
	return s, c.post(ctx, "tables/delete", r, &s)
}

// TableFlush takes all entries that were added out of a table.
func (c *Client) TableFlush(ctx context.Context, r TableRequest) (s TableChange, err error) {
	return s, c.post(ctx, "tables/flush", r, &s)
}

// TableReplace puts entries in the place of all that were added, in one step.
func (c *Client) TableReplace(ctx context.Context, r TableRequest) (s TableChange, err error) {
	return s, c.post(ctx, "tables/replace", r, &s)
}
