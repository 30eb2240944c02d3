package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestInterfaceFiles accepts the two files of the project's description as they stand.
func TestInterfaceFiles(t *testing.T) {
	node, policy, err := Load("testdata/interface/node.toml")
	if err != nil {
		t.Fatal(err)
	}
	if node.Name.V != "fw-a" || node.Device("wan").Name.V != "eth2" || node.PriorityOf("main") != 100 ||
		node.KeyFile.V != "testdata/interface/cluster.key" || node.Socket.V != DefaultSocket ||
		node.Links[0].Peers[0].V != netip.MustParseAddrPort("192.0.2.2:7400") {
		t.Errorf("node is %+v", node)
	}
	if lan, _ := policy.PortID("lan"); lan != 0 {
		t.Errorf("lan has number %d", lan)
	}
	if wan, _ := policy.PortID("wan"); wan != 1 {
		t.Errorf("wan has number %d", wan)
	}
	if _, ok := policy.PortID("dmz"); ok {
		t.Error("dmz has a number")
	}
	c := policy.Cluster
	if c.Heartbeat.V != 10*time.Millisecond || c.DeadAfter.V != 30*time.Millisecond || c.Lease.V != 20*time.Millisecond ||
		c.Alone.V != AloneServe || c.AloneAfter.V != 5*time.Second {
		t.Errorf("cluster is %+v", c)
	}
	r := policy.Rules[0]
	var from, to []string
	for _, a := range r.From {
		from = append(from, a.V.String())
	}
	for _, p := range r.ToPorts {
		to = append(to, p.V.String())
	}
	if diff := cmp.Diff([]string{"10.0.0.0/24", "!10.0.0.66", "<trusted>"}, from); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"80", "443"}, to); diff != "" {
		t.Error(diff)
	}
	// Every value knows its place; that of a macro's is inside the macro.
	if got := r.Sync.Pos.String(); got != "testdata/interface/policy.toml:42:35" {
		t.Errorf("sync stands at %s", got)
	}
	if got := r.ToPorts[1].Pos.String(); got != "testdata/interface/policy.toml:23:12" {
		t.Errorf("443 stands at %s", got)
	}
	var notices []string
	for _, n := range policy.Notices {
		notices = append(notices, n.Text)
	}
	want := []string{
		"table trusted of rule web-out has no [tables.trusted]: it is empty until a command fills it",
	}
	if diff := cmp.Diff(want, notices); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
}

// TestExamples accepts the examples that the repository hands to a newcomer, which promise
// nothing that is not there.
func TestExamples(t *testing.T) {
	_, policy, err := Load("../../examples/node.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(policy.Notices) != 0 {
		t.Errorf("notices: %v", policy.Notices)
	}
	node, alone, err := Load("../../examples/policy.toml")
	if err != nil || node != nil || alone.Hash() != policy.Hash() {
		t.Errorf("the policy alone: node %v, error %v", node, err)
	}
}

const ports = "[ports.lan]\naddresses = [\"10.0.0.1/24\"]\n[ports.wan]\n"

func parsed(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := ParsePolicy("p.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestHash: the hash speaks of what a policy means.
func TestHash(t *testing.T) {
	rule := "[[rules]]\nid = \"a\"\naction = \"pass\"\nproto = \"tcp\"\nto_port = "
	base := parsed(t, ports+rule+"[80, 443]").Hash()
	same := map[string]string{
		"comment and layout": "# x\n" + ports + "\n" + strings.ReplaceAll(rule, " = ", "=") + "[ 80,443 ]",
		"macro":              ports + "[macros]\nweb = [80, 443]\n" + rule + "\"$web\"",
		"string for number":  ports + rule + `["80", 443]`,
		"default written":    "[cluster]\nlease = \"20ms\"\n" + ports + rule + "[80, 443]",
		"other order":        "[ports.wan]\n[ports.lan]\naddresses = [\"10.0.0.1/24\"]\n" + rule + "[80, 443]",
		"dotted keys":        "ports.wan = {}\nports.lan.addresses = [\"10.0.0.1/24\"]\n" + rule + "[80, 443]",
	}
	for name, text := range same {
		if parsed(t, text).Hash() != base {
			t.Errorf("%s changes the hash", name)
		}
	}
	for name, text := range map[string]string{
		"port":   ports + rule + "[80, 444]",
		"rule":   ports + rule + "[80, 443]\n[[rules]]\nid = \"b\"\naction = \"block\"",
		"timing": "[cluster]\nlease = \"21ms\"\n" + ports + rule + "[80, 443]",
	} {
		if parsed(t, text).Hash() == base {
			t.Errorf("another %s has the same hash", name)
		}
	}
}

// TestHashOfDefaultsWritten: a rule that says what it would have by default overrides what
// others say, and is another.
func TestHashOfDefaultsWritten(t *testing.T) {
	const rule = "[[rules]]\nid = \"a\"\naction = \"pass\"\nproto = \"tcp\"\n"
	const place = "[sections.s]\nrules = [{ id = \"b\", action = \"pass\" }]\n[[rules]]\nsection = \"s\"\n"
	seen := map[uint64]string{}
	for _, text := range []string{
		rule, rule + `state = { mode = "strict" }`, rule + `state = { sync = "async" }`, rule + "state = { pick-up = false }",
		rule + `syn_proxy = "never"`, rule + "log = false", rule + `on_change = "keep"`, rule + "ip_options = false",
		strings.ReplaceAll(rule, "pass", "reject"), strings.ReplaceAll(rule, "pass", "reject") + `reject = "reset"`,
		"[defaults]\nlog = false\n" + rule, place, place + "ip_options = false",
	} {
		hash := parsed(t, ports+text).Hash()
		if other, ok := seen[hash]; ok {
			t.Errorf("%q and %q have one hash", text, other)
		}
		seen[hash] = text
	}
}

// TestInclude reads included files in the place of their name, each adding to the same
// tables; positions name the file that says a thing.
func TestInclude(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rule := func(id string) string { return fmt.Sprintf("[[rules]]\nid = %q\naction = \"block\"\n", id) }
	main := write("main.toml", "include = [\"first.toml\", \"second.toml\"]\n[macros]\na = 1\n"+ports+rule("last"))
	write("first.toml", "[macros]\nb = 2\n"+rule("first"))
	write("second.toml", "include = \"third.toml\"\n"+rule("second"))
	write("third.toml", rule("third"))
	p, err := LoadPolicy(main)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range p.Rules {
		ids = append(ids, r.ID.V)
	}
	if diff := cmp.Diff([]string{"first", "third", "second", "last"}, ids); diff != "" {
		t.Error(diff)
	}
	if got := p.Rules[1].ID.Pos.String(); got != filepath.Join(dir, "third.toml")+":2:6" {
		t.Errorf("third stands at %s", got)
	}
	if len(p.Macros) != 2 {
		t.Errorf("macros: %v", p.Macros)
	}

	write("third.toml", rule("last"))
	if _, err := LoadPolicy(main); err == nil || !strings.Contains(err.Error(), `rule id "last" is used twice, first at `+filepath.Join(dir, "third.toml")) {
		t.Errorf("one id in two files: %v", err)
	}
	if _, err := ParsePolicy("p.toml", []byte("include = [\"/dev/zero\"]")); err == nil || !strings.Contains(err.Error(), "one piece") {
		t.Errorf("include from memory: %v", err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "zero.toml")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPolicy(filepath.Join(dir, "zero.toml")); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a device: %v", err)
	}
}

// TestMacrosMultiply bounds macros that name macros.
func TestMacrosMultiply(t *testing.T) {
	text := ports + "[macros]\nm0 = [1, 2]\n"
	for i := 1; i < 8; i++ {
		text += fmt.Sprintf("m%d = [%s]\n", i, strings.Repeat(fmt.Sprintf("\"$m%d\",", i-1), 64))
	}
	_, err := ParsePolicy("p.toml", []byte(text+"[[rules]]\nid = \"a\"\naction = \"pass\"\nproto = \"tcp\"\nto_port = \"$m7\""))
	if err == nil || !strings.Contains(err.Error(), "more than 65536 values") {
		t.Errorf("got %v", err)
	}
}

// TestManyRules: what is written out is no macro, however much it is.
func TestManyRules(t *testing.T) {
	var b strings.Builder
	b.WriteString(ports)
	for i := range 20_000 {
		fmt.Fprintf(&b, "[[rules]]\nid = \"r%d\"\naction = \"pass\"\nproto = \"tcp\"\nto_port = [80, 443, 8080]\n", i)
	}
	if p := parsed(t, b.String()); len(p.Rules) != 20_000 {
		t.Errorf("%d rules", len(p.Rules))
	}
}

// TestDefaultGroup puts all ports into one group where the policy names none.
func TestDefaultGroup(t *testing.T) {
	p := parsed(t, ports)
	if len(p.Groups) != 1 || p.Groups[0].Name.V != "main" || len(p.Groups[0].Ports) != 2 {
		t.Errorf("groups: %+v", p.Groups)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"addresses", "mac", "lease", "heartbeat"}
	for word, want := range map[string]string{
		"adresses": "addresses", "address": "addresses", "leese": "lease", "leaes": "lease", "Mac": "mac",
		"zebra": "", "": "", "heartbaet": "heartbeat",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// TestPrefixes: the prefixes of a range cover it, in order, without gap or overlap, and
// no two neighbours could be one.
func TestPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.Uint32().Draw(t, "a")
		b := a + rapid.OneOf(rapid.Uint32Range(0, 300), rapid.Uint32()).Draw(t, "size")
		if b < a {
			a, b = b, a
		}
		first, last := v4(a), v4(b)
		next := first
		all := Prefixes(first, last)
		for i, p := range all {
			low, high := prefixBounds(p)
			if low != next {
				t.Fatalf("%v begins at %v, want %v", p, low, next)
			}
			if i > 0 && p.Bits() > 0 && p.Bits() == all[i-1].Bits() && netip.PrefixFrom(low, p.Bits()-1).Masked().Contains(all[i-1].Addr()) {
				t.Fatalf("%v and %v are one", all[i-1], p)
			}
			next = high.Next()
		}
		if next != last.Next() {
			t.Fatalf("ends before %v, want after %v", next, last)
		}
	})
	whole := Prefixes(netip.IPv6Unspecified(), netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
	if !slices.Equal(whole, []netip.Prefix{netip.MustParsePrefix("::/0")}) {
		t.Errorf("all of IPv6 is %v", whole)
	}
}

func v4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// FuzzPolicy: no text makes the reader panic or hang; every refusal has places in it; what
// is accepted is accepted again and means the same.
func FuzzPolicy(f *testing.F) {
	for _, pattern := range []string{"testdata/interface/*.toml", "testdata/bad/*.toml", "../../examples/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		checkErrors(t, func() error {
			p, err := ParsePolicy("p.toml", slices.Clone(text))
			if err == nil {
				again, err := ParsePolicy("p.toml", text)
				if err != nil || again.Hash() != p.Hash() {
					t.Errorf("read twice: %v", err)
				}
			}
			return err
		}())
		_, errs := build("n.toml", text, files{}).node()
		checkErrors(t, errs.orNil())
	})
}

func checkErrors(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	all, ok := err.(Errors)
	if !ok || len(all) == 0 {
		t.Fatalf("%T: %v", err, err)
	}
	for _, e := range all {
		if e.Pos.Line < 1 || e.Pos.Column < 1 || e.What == "" || e.Mend == "" {
			t.Fatalf("%#v", e)
		}
	}
}
