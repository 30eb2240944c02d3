package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTables reads tables of every kind; the file's path is relative to the file that says it,
// and what it holds belongs to the policy.
func TestTables(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("policy.toml", `include = ["lists/more.toml"]
[ports.lan]
addresses = ["10.0.0.1/24"]
[macros]
homes = ["172.16.0.0/12", "!172.16.9.9"]
[tables.mixed]
addresses = ["10.0.0.0/8", "$homes"]
timeout = "1h"
max = 7
[tables.plain]
[[rules]]
id = "a"
action = "block"
from = ["<mixed>", "<zebra>", "!<apple>", "<bogons>"]
`)
	write("lists/more.toml", "[tables.bogons]\nfile = \"bogons.txt\"\nconst = true\n")
	write("lists/bogons.txt", "# bogons\r\n\r\n192.0.2.0/24\r\n\t!192.0.2.7 # but one\n198.51.100.1-198.51.100.3")
	p, err := LoadPolicy(filepath.Join(dir, "policy.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, x := range p.Tables {
		got = append(got, fmt.Sprint(x.Name.V, " ", x.Timeout.V, x.Max.V, x.Const.V))
		for _, a := range x.Addresses {
			got = append(got, fmt.Sprintf("  %v %s:%d:%d", a.V, filepath.Base(a.Pos.File), a.Pos.Line, a.Pos.Column))
		}
		if n, ok := p.TableNumber(x.Name.V); !ok || n != i {
			t.Errorf("%s is number %d", x.Name.V, n)
		}
	}
	want := []string{
		"bogons 0s 200000 true", "  192.0.2.0/24 bogons.txt:3:1", "  !192.0.2.7 bogons.txt:4:2", "  198.51.100.1-198.51.100.3 bogons.txt:5:1",
		"mixed 1h0m0s 7 false", "  10.0.0.0/8 policy.toml:7:14", "  172.16.0.0/12 policy.toml:5:10", "  !172.16.9.9 policy.toml:5:27",
		"plain 0s 200000 false", "apple 0s 200000 false", "zebra 0s 200000 false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if n := len(p.Notices); n != 2 {
		t.Errorf("%d notices: %v", n, p.Notices)
	}
	before := p.Hash()
	write("lists/bogons.txt", "192.0.2.0/24\n!192.0.2.7\n198.51.100.1-198.51.100.4")
	if p, err = LoadPolicy(filepath.Join(dir, "policy.toml")); err != nil || p.Hash() == before {
		t.Errorf("nodes with other files have one hash (%v)", err)
	}
	if _, err := ParsePolicy("p.toml", []byte("[ports.lan]\naddresses=\"10.0.0.1/24\"\n[tables.x]\nfile = \"y\"\n")); err == nil || !strings.Contains(err.Error(), "must be one piece") {
		t.Errorf("a policy without its files: %v", err)
	}
}

// FuzzTable: whatever a file holds, each entry that is read is written as one that reads the same.
func FuzzTable(f *testing.F) {
	f.Add([]byte("10.0.0.0/8\n!10.0.0.5 # no\n\n2001:db8::1-2001:db8::9\n"))
	f.Add([]byte("\xff\x00\n<x>\nany\n$y"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseTable("f", data)
		if err != nil {
			return
		}
		for _, a := range all {
			again, err := ParseTable("f", []byte(a.V.String()))
			if err != nil || len(again) != 1 || again[0].V != a.V {
				t.Fatalf("%v reads as %v: %v", a.V, again, err)
			}
		}
	})
}

// TestPrefixOf holds the prefix of a range against trying all lengths.
func TestPrefixOf(t *testing.T) {
	for _, s := range []string{"0.0.0.0/0", "::/0", "10.0.0.0/8", "10.0.0.7/32", "2001:db8::/33", "::1/128", "128.0.0.0/1"} {
		a, errs := parseTable("t", []byte(s))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if p, ok := prefixOf(a[0].V.First, a[0].V.Last); !ok || p.String() != s {
			t.Errorf("%s: %v %v", s, p, ok)
		}
	}
	for _, s := range []string{"10.0.0.0-10.0.0.2", "10.0.0.1-10.0.0.2", "0.0.0.1-255.255.255.255", "::-::2"} {
		a, errs := parseTable("t", []byte(s))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if p, ok := prefixOf(a[0].V.First, a[0].V.Last); ok {
			t.Errorf("%s: %v", s, p)
		}
	}
}
