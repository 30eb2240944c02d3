package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/cmd/internal/api"
)

// tablesText is a policy with tables of every kind, in front of the rules of policyText.
func tablesText() string {
	head, rest, _ := strings.Cut(policyText, "[[rules]]")
	return head + `[tables.brutes]
addresses = ["!10.0.0.99"]
timeout = "1h"
max = 5

[tables.bogons]
file = "bogons.txt"
const = true

[[rules]]
id = "brutes"
action = "block"
from = ["<brutes>", "<bogons>"]

[[rules]]` + rest
}

// blocked sends until a rule has blocked what it sends, and hears nothing.
func (f *flow) blocked(t *testing.T, d *daemon) {
	t.Helper()
	count := func() (n uint64) {
		var drops api.Drops
		strict(t, d.tell(t, "drops", "--json").said(t), &drops)
		for _, p := range drops.Ports {
			n += p.Receive["rule-block"]
		}
		return n
	}
	before := count()
	var b [64]byte
	eventually(t, "a rule blocks the flow", func() bool {
		if _, err := f.conn.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if n, err := read(f.conn, b[:]); err == nil {
			t.Fatalf("it is answered: %q", b[:n])
		}
		return count() > before
	})
}

// TestTablesCommands goes through all that can be done to tables of a running node, and sees
// that packets meet it at once.
func TestTablesCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	p := s.places[0]
	p.files.alone()
	p.files.write("policy.toml", tablesText(), 0o644)
	p.files.write("bogons.txt", "# none of ours\n192.168.0.0/16\n!192.168.7.7\n", 0o644)
	d := start(t, p)
	eventually(t, "it is active", func() bool { return d.group().Role == "active" })
	tell := func(want string, args ...string) {
		t.Helper()
		if got := d.tell(t, append([]string{"tables"}, args...)...).said(t); got != want {
			t.Errorf("%v: %q, want %q", args, got, want)
		}
	}
	refused := func(code int, args []string, words ...string) {
		t.Helper()
		d.tell(t, append([]string{"tables"}, args...)...).refused(t, code, words...)
	}
	before := s.flowTo(t, 4000)
	before.answers(t)
	tell("fw-a: 1 added to brutes\n", "add", "brutes", "10.0.0.10")
	tell("fw-a: 1 added to brutes, 1 were there\n", "add", "brutes", "10.0.0.10", "198.51.100.0/24", "--timeout", "10m")
	tell("10.0.0.10 is in brutes by 10.0.0.10 (command)\n", "test", "brutes", "10.0.0.10")
	before.answers(t) // what lives is not asked again
	s.flowTo(t, 4001).blocked(t, d)
	var list api.TableEntries
	strict(t, d.tell(t, "tables", "show", "brutes", "--json").said(t), &list)
	if n := len(list.Entries); n != 3 || list.Entries[1].Entry != "10.0.0.10" || list.Entries[1].Matches == 0 || list.Entries[1].Last < 0 ||
		list.Entries[1].Left < 500 || list.Entries[1].Left > 600 || list.Entries[0].Left != -1 || !strings.HasSuffix(list.Entries[0].Written, "policy.toml:24:14") {
		t.Errorf("%+v", list)
	}
	tell("fw-a: 2 deleted from brutes\n", "flush", "brutes")
	s.flowTo(t, 4002).answers(t)

	path := filepath.Join(p.files.dir, "list.txt")
	p.files.write("list.txt", "10.0.0.8/29 # the client\n203.0.113.7-203.0.113.8\n", 0o644)
	tell("fw-a: 3 entries in brutes, in the place of 0\n", "replace", "brutes", path, "--timeout", "0")
	s.flowTo(t, 4003).blocked(t, d)
	tell("fw-a: 1 added to brutes\n", "add", "brutes", "!10.0.0.10")
	s.flowTo(t, 4004).answers(t)

	// `test` says which entry decides, by its exit status too.
	for _, row := range []struct{ table, address, says string }{
		{"brutes", "10.0.0.10", "10.0.0.10 is not in brutes: !10.0.0.10 (command) keeps it out\n"},
		{"brutes", "8.8.8.8", "8.8.8.8 is not in brutes: no entry has it\n"},
	} {
		if o := d.tell(t, "tables", "test", row.table, row.address); o.code != exitRefused || o.out != row.says || o.errors != "" {
			t.Errorf("test %s: exit %d: %q %q", row.address, o.code, o.out, o.errors)
		}
	}
	if o := d.tell(t, "tables", "test", "bogons", "192.168.7.7", "--json"); o.code != exitRefused {
		t.Errorf("exit %d", o.code)
	} else {
		var r api.TableTest
		strict(t, o.out, &r)
		if r.Holds || r.Entry == nil || r.Entry.Entry != "!192.168.7.7" || !strings.HasSuffix(r.Entry.Written, "bogons.txt:3:1") || r.Entry.Cause != "written" {
			t.Errorf("%+v", r)
		}
	}

	// What is wrong is refused with its reason, and changes nothing.
	refused(exitRefused, []string{"add", "bruts", "10.0.0.1"}, "no such table", `did you mean "brutes"?`)
	refused(exitRefused, []string{"show", "nothing-like-it"}, "no such table")
	refused(exitRefused, []string{"add", "bogons", "10.0.0.1"}, "const")
	refused(exitRefused, []string{"flush", "bogons"}, "const")
	refused(exitRefused, []string{"add", "brutes", "10.0.0.99"}, "!10.0.0.99", "policy.toml:24:14")
	refused(exitRefused, []string{"delete", "brutes", "!10.0.0.99"}, "policy.toml:24:14")
	refused(exitRefused, []string{"delete", "brutes", "10.0.0.9"}, "no entry 10.0.0.9", "10.0.0.8/29 decides")
	refused(exitRefused, []string{"add", "brutes", "192.0.2.1", "192.0.2.2"}, "full", "after 1 of 2", "max in [tables.brutes]")
	refused(exitUsage, []string{"add", "brutes", "10.0.0.300"}, "10.0.0.300", "write one such as")
	refused(exitUsage, []string{"add", "brutes", "10.0.0.1/24"}, "10.0.0.0/24")
	refused(exitUsage, []string{"add", "brutes", "10.0.0.1", "--timeout", "soon"}, "soon")
	refused(exitUsage, []string{"add", "brutes", "10.0.0.1", "--timeout", "-1s"}, "--timeout -1s")
	refused(exitUsage, []string{"test", "brutes", "10.0.0.0/8"}, "not an address")
	p.files.write("list.txt", "10.0.0.1\n10.0.0.2 10.0.0.3\n", 0o644)
	refused(exitRefused, []string{"replace", "brutes", path}, "list.txt:2:1", "10.0.0.2 10.0.0.3")
	refused(exitRefused, []string{"replace", "brutes", filepath.Join(p.files.dir, "none")}, "no such file")

	// Entries leave after their lifetime.
	tell("fw-a: 1 deleted from brutes\n", "delete", "brutes", "192.0.2.1")
	tell("fw-a: 1 added to brutes\n", "add", "brutes", "2001:db8::/32", "--timeout", "1s")
	eventually(t, "the entry has left", func() bool {
		return d.tell(t, "tables", "test", "brutes", "2001:db8::7").code == exitRefused
	})

	want := regexp.MustCompile(`^TABLE +WRITTEN +ADDED +MAX +TIMEOUT +REFUSED
bogons +2 +0 +const +- +0
brutes +1 +4 +5 +1h0m0s +1
$`)
	if got := d.tell(t, "tables").said(t); !want.MatchString(got) {
		t.Errorf("%s", got)
	}
	var tables api.Tables
	strict(t, d.tell(t, "tables", "--json").said(t), &tables)
	if len(tables.Tables) != 2 || tables.Tables[1].Timeout != 3600 || !tables.Tables[0].Const {
		t.Errorf("%+v", tables)
	}
	if got := d.tell(t, "tables", "show", "bogons").said(t); !regexp.MustCompile(`(?m)^192\.168\.0\.0/16 +\S*bogons\.txt:2:1 +- +0 +-$`).MatchString(got) {
		t.Errorf("%s", got)
	}
}

// TestTablesReplaceReadsStandardInput: as a script that fetches a list would.
func TestTablesReplaceReadsStandardInput(t *testing.T) {
	in, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := newTablesReplace(&common{})
	cmd.SetIn(strings.NewReader("# a list\n10.0.0.0/8\n\n!10.0.0.1\n::1-::2\n"))
	entries, err := readEntries(cmd, "-")
	if text, _ := json.Marshal(entries); err != nil || string(text) != `["10.0.0.0/8","!10.0.0.1","::1-::2"]` {
		t.Errorf("%s %v", text, err)
	}
	cmd.SetIn(strings.NewReader("10.0.0.0/8\nfoo\n"))
	if _, err := readEntries(cmd, "-"); err == nil || !strings.Contains(err.Error(), "standard input:2:1") {
		t.Errorf("%v", err)
	}
}
