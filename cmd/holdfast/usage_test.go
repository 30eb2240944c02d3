package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane/xsk"
)

// Wrong usage is exit 2 with one line that says where help is, and starts nothing.
func TestWrongUsage(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.sock")
	for _, row := range []struct {
		args  []string
		words []string
	}{
		{[]string{"frob"}, []string{`"frob"`, "holdfast --help"}},
		{[]string{"--frob"}, []string{"--frob", "holdfast --help"}},
		{[]string{"status", "--nope"}, []string{"--nope", "holdfast status --help"}},
		{[]string{"status", "extra"}, []string{`"extra"`}},
		{[]string{"run", "--confg", "x"}, []string{"--confg", "holdfast run --help"}},
		{[]string{"run", "node.toml"}, []string{`"node.toml"`, "holdfast run --help"}},
		{[]string{"run", "--config"}, []string{"--config"}},
		{[]string{"check"}, []string{"holdfast check --help"}},
		{[]string{"check", "a", "b"}, []string{"holdfast check --help"}},
		{[]string{"kill"}, []string{"holdfast kill --help"}},
		{[]string{"kill", "all", "--manner", "loud"}, []string{"--manner loud", "silent, reset or unreachable"}},
		{[]string{"conns", "--format", "xml"}, []string{"--format xml", "conntrack"}},
		{[]string{"promote", "a", "b"}, []string{"holdfast promote --help"}},
		{[]string{"demote", "--force"}, []string{"--force"}},
		{[]string{"tables", "brutes"}, []string{`"brutes"`, "holdfast tables --help"}},
		{[]string{"tables", "add", "brutes"}, []string{"holdfast tables add --help"}},
		{[]string{"tables", "test", "brutes"}, []string{"holdfast tables test --help"}},
		{[]string{"tables", "flush"}, []string{"holdfast tables flush --help"}},
		{[]string{"tables", "flush", "a", "b"}, []string{"holdfast tables flush --help"}},
		{[]string{"tables", "add", "brutes", "10.0.0.1", "--timeout", "-1h"}, []string{"--timeout -1h"}},
		{[]string{"key", "old"}, []string{`"old"`}},
		{[]string{"key", "new", "x"}, []string{`"x"`}},
		{[]string{"demo", "--trials", "0"}, []string{"--trials 0", "at least one"}},
		{[]string{"demo", "--trials", "many"}, []string{"many"}},
		{[]string{"version", "x"}, []string{`"x"`}},
		{[]string{"detach", "--all"}, []string{"--all"}},
		{[]string{"witness"}, []string{"--key-file", "holdfast witness --help"}},
		{[]string{"witness", "--key-file", "k", "--address", "here"}, []string{"--address", "here"}},
		{[]string{"witness", "--key-file", "k", "--address", "192.0.2.9:1", "--node", "192.0.2.1:1"}, []string{"--node once for each"}},
	} {
		t.Run(strings.Join(row.args, " "), func(t *testing.T) {
			holdfast(t, append([]string{"--socket", none}, row.args...)...).refused(t, exitUsage, append(row.words, "wrong usage")...)
		})
	}
}

// Every command that asks a daemon ends with exit 3 where there is none, and says where
// it looked and what to do.
func TestDaemonNotReachable(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"status"}, {"status", "--json"}, {"conns"}, {"conns", "count"}, {"kill", "all"}, {"watch"}, {"watch", "--json", "proto=tcp"}, {"drops"}, {"drops", "--follow"}, {"tables"}, {"tables", "show", "a"},
		{"tables", "test", "a", "::1"}, {"tables", "add", "a", "::1"}, {"tables", "delete", "a", "::1"}, {"tables", "flush", "a"}, {"tables", "replace", "a", os.DevNull}, {"promote"}, {"demote"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			socket := filepath.Join(dir, "none.sock")
			holdfast(t, append(args, "--socket", socket)...).refused(t, exitUnreachable, socket, "holdfast run")
		})
	}
}

func TestVersion(t *testing.T) {
	if got := holdfast(t, "version").said(t); got != "holdfast v1.2.3-test\n" {
		t.Errorf("%q", got)
	}
	var v struct{ Version string }
	if strict(t, holdfast(t, "version", "--json").said(t), &v); v.Version != "v1.2.3-test" {
		t.Errorf("%+v", v)
	}
}

// `key new` makes a file that a node takes, another one each time.
func TestKeyNew(t *testing.T) {
	a, b := holdfast(t, "key", "new").said(t), holdfast(t, "key", "new").said(t)
	if a == b {
		t.Error("the same key twice")
	}
	f := newFiles(t)
	f.write("cluster.key", a, 0o600)
	if got := holdfast(t, "check", f.node).said(t); !strings.Contains(got, "good") {
		t.Error(got)
	}
}

// Help is no error.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"help"}, {"--help"}, {"run", "--help"}, {"key"}} {
		if got := holdfast(t, args...).said(t); !strings.Contains(got, "Usage:") {
			t.Errorf("%v: %s", args, got)
		}
	}
}

// The exit code follows the sentinel however deep it is wrapped. A kernel without AF_XDP
// cannot be produced here: that error is covered by its sentinel, which package xsk makes
// of EAFNOSUPPORT, and what a start that fails at this step leaves by
// TestRefusedStartLeavesNothing/"queue taken", which fails at the same step.
func TestExitCodes(t *testing.T) {
	for _, row := range []struct {
		err  error
		code int
	}{
		{nil, exitDone},
		{errSilent, exitRefused},
		{errors.New("anything"), exitRefused},
		{fmt.Errorf("kill %w: no", api.ErrRefused), exitRefused},
		{fmt.Errorf("%w and holds it", api.ErrRunning), exitRefused},
		{errors.Join(fmt.Errorf("port lan: %w", xsk.ErrNoAFXDP), nil), exitRefused},
		{fmt.Errorf("x: %w", api.ErrUsage), exitUsage},
		{fmt.Errorf("x: %w", api.ErrUnreachable), exitUnreachable},
	} {
		if got := exitCode(row.err); got != row.code {
			t.Errorf("%v: exit %d, want %d", row.err, got, row.code)
		}
	}
	if text := xsk.ErrNoAFXDP.Error(); !strings.Contains(text, "no AF_XDP") || !strings.Contains(text, "CONFIG_XDP_SOCKETS=y") {
		t.Errorf("%q does not say what to do", text)
	}
}

// TestCheckExamples: the examples are good; what they lack as they lie in the repository,
// the key, is said with its place.
func TestCheckExamples(t *testing.T) {
	for folder, nodes := range map[string][]string{
		"../../examples":        {"node.toml"},
		"../../examples/office": {"node-a.toml", "node-b.toml"},
	} {
		f := newFiles(t)
		f.take(folder)
		good := func(file string) {
			t.Helper()
			got := holdfast(t, "check", file).said(t)
			lines := strings.Split(strings.TrimSpace(got), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, file+": good: ") {
				t.Errorf("%s: %s", file, got)
			}
			for _, line := range lines[:len(lines)-1] {
				if !strings.Contains(line, "the health of gateway") {
					t.Errorf("an example should need no excuse: %s", line)
				}
			}
		}
		good(f.policy)
		good(filepath.Join(folder, "policy.toml"))
		for _, node := range nodes {
			good(filepath.Join(f.dir, node))
			text, err := os.ReadFile(filepath.Join(folder, node))
			f.check(err)
			before, _, _ := strings.Cut(string(text), "key_file = ")
			place := fmt.Sprintf("%s:%d:12: key file", node, 1+strings.Count(before, "\n"))
			holdfast(t, "check", filepath.Join(folder, node)).refused(t, exitRefused, place, "holdfast key new")
		}
	}
}

// Each fault of the files is said with its place and what to do, by `check` and by `run`
// alike, and `run` touches nothing.
func TestBadFiles(t *testing.T) {
	for name, c := range map[string]struct {
		edit  func(f *files)
		words []string
	}{
		"unknown key in the node file": {
			func(f *files) { f.replace("node.toml", "priority =", "prority =") },
			[]string{"node.toml:14:1: ", "prority", "priority"},
		},
		"unknown key in the policy": {
			func(f *files) { f.replace("policy.toml", "alone_after", "alone_aftr") },
			[]string{"policy.toml:16:1: ", "alone_aftr", "alone_after"},
		},
		"bad prefix in the policy": {
			func(f *files) { f.replace("policy.toml", `"10.0.0.1/24"`, `"10.0.0.1/33"`) },
			[]string{"policy.toml:2:14: ", "10.0.0.1/33"},
		},
		"bad prefix in a rule": {
			func(f *files) {
				f.replace("policy.toml", `from = ["10.0.0.0/24"]`+"\nstate", `from = ["10.0.0/24"]`+"\nstate")
			},
			[]string{"policy.toml:29:9: ", "10.0.0/24"},
		},
		"bad address in the node file": {
			func(f *files) { f.replace("node.toml", "192.0.2.1:7400", "192.0.2.1") },
			[]string{"node.toml:13:", "192.0.2.1"},
		},
		"lease not below dead_after": {
			func(f *files) { f.replace("policy.toml", `lease = "1s"`, `lease = "1500ms"`) },
			[]string{"policy.toml:14:9: ", "lease", "dead_after"},
		},
		"no policy": {
			func(f *files) { f.remove("policy.toml") },
			[]string{"node.toml:1:10: ", "policy.toml"},
		},
		"no key": {
			func(f *files) { f.remove("cluster.key") },
			[]string{"node.toml:12:12: ", "cluster.key", "holdfast key new"},
		},
		"key that others may read": {
			func(f *files) { f.chmod("cluster.key", 0o644) },
			[]string{"node.toml:12:12: ", "0644", "chmod 600"},
		},
		"key that is none": {
			func(f *files) { f.write("cluster.key", "secret", 0o600) },
			[]string{"node.toml:12:12: ", "cluster.key"},
		},
		"two groups": {
			func(f *files) {
				f.replace("policy.toml", `ports = ["lan", "wan"]`, "ports = [\"lan\"]\n[groups.other]\nports = [\"wan\"]")
			},
			[]string{"policy.toml:", "group"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			c.edit(f)
			holdfast(t, "check", f.node).refused(t, exitRefused, c.words...)
			report := checkJSON(t, f.node)
			if len(report.Errors) != 1 || !strings.Contains(report.Errors[0], c.words[0]) {
				t.Errorf("--json: %+v", report)
			}
			if os.Geteuid() != 0 {
				t.Skip("skipped the half with `run`, which needs root")
			}
			holdfast(t, "run", "--config", f.node).refused(t, exitRefused, c.words...)
			f.untouched()
		})
	}
}

// All faults of both files are said at once, in their order.
func TestCheckSaysEverything(t *testing.T) {
	f := newFiles(t)
	f.replace("node.toml", "[node]\nname", "[node]\nnmae")
	f.replace("policy.toml", `"10.0.0.1/24"`, `"10.0.0.1/33"`)
	f.replace("policy.toml", `action = "pass"`, `action = "let"`)
	o := holdfast(t, "check", f.node)
	lines := strings.Split(strings.TrimSpace(o.errors), "\n")
	if o.code != exitRefused || o.out != "" || len(lines) < 3 {
		t.Fatalf("exit %d, %s%s", o.code, o.out, o.errors)
	}
	for _, word := range []string{"node.toml:5:1: ", "policy.toml:2:14: ", "policy.toml:26:10: "} {
		if !strings.Contains(o.errors, word) {
			t.Errorf("%q is not there: %s", word, o.errors)
		}
	}
}

// `run` says what it wants where it is given a policy.
func TestRunRefusesAPolicy(t *testing.T) {
	f := newFiles(t)
	holdfast(t, "run", "--config", f.policy).refused(t, exitRefused, "policy.toml", "is a policy", "node file")
	holdfast(t, "run", "--config", filepath.Join(f.dir, "none.toml")).refused(t, exitRefused, "none.toml:1:1: ", "cannot be read")
	f.untouched()
}
