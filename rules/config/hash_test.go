package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The fields of a policy that are no part of what it means, by their ends: what names files,
// what was told, what is written elsewhere in the form, and what a refused policy only has.
var outsideHash = []string{".File", ".Notices", ".Macros", ".Within[].Asks", ".Sections[].rows", ".NAT[].faulty", ".Tables[].faulty", ".NAT[].Targets[].V.Table"}

// The values of which it counts whether they are written.
var writtenInHash = []string{
	".Rules[].Mode", ".Rules[].Sync", ".Rules[].PickUp", ".Rules[].SynProxy", ".Rules[].Log", ".Rules[].OnChange",
	".Rules[].Reject", ".Rules[].Conditions.IPOptions", ".Defaults.Log",
}

// hashWalk visits every field of a policy.
type hashWalk struct {
	t    *testing.T
	seen map[uint64]string // hashes by the paths of what was changed
}

// try changes one thing in a policy, which shall have a hash of its own, or that of before.
func (w *hashWalk) try(path string, root func() *Policy, counts bool, change func(*Policy)) {
	w.t.Helper()
	p := root()
	before := p.Hash()
	change(p)
	hash := p.Hash()
	switch other, known := w.seen[hash]; {
	case !counts && hash != before:
		w.t.Errorf("%s: the hash changes with it", path)
	case counts && hash == before:
		w.t.Errorf("%s: policies that differ in it have one hash", path)
	case counts && known:
		w.t.Errorf("%s and %s, changed alike, have one hash", path, other)
	case counts:
		w.seen[hash] = path
	}
}

// visit changes what stands at a path, and what stands in that.
func (w *hashWalk) visit(root func() *Policy, path string, at func(*Policy) reflect.Value) {
	if slices.ContainsFunc(outsideHash, func(end string) bool { return strings.HasSuffix(path, end) }) {
		if v := at(root()); v.CanSet() {
			w.try(path, root, false, func(p *Policy) { fill(w.t, path, at(p)) })
		}
		return
	}
	switch v := at(root()); {
	case v.Type() == reflect.TypeFor[Position]():
		of := strings.Replace(strings.TrimSuffix(path, ".Pos"), ".Sections[].asks[]", ".Rules[]", 1)
		counts := strings.HasSuffix(path, ".Pos") && slices.Contains(writtenInHash, of)
		w.try(path, root, counts, func(p *Policy) { fill(w.t, path, at(p)) })
	case v.Kind() == reflect.Struct && v.Type().PkgPath() == reflect.TypeFor[Policy]().PkgPath():
		for i := range v.NumField() {
			field := v.Type().Field(i)
			below := func(p *Policy) reflect.Value { return at(p).Field(i) }
			if v.Type() == reflect.TypeFor[Section]() && field.Name == "asks" { // reflection may not set it
				below = func(p *Policy) reflect.Value {
					return reflect.ValueOf(&at(p).Addr().Interface().(*Section).asks).Elem()
				}
			}
			w.visit(root, path+"."+field.Name, below)
		}
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			w.visit(root, fmt.Sprintf("%s[%d]", path, i), func(p *Policy) reflect.Value { return at(p).Index(i) })
		}
	default:
		w.try(path, root, true, func(p *Policy) { fill(w.t, path, at(p)) })
		if v.Kind() == reflect.Slice || v.Kind() == reflect.Pointer {
			grown := func() *Policy {
				p := root()
				fill(w.t, path, at(p))
				return p
			}
			w.visit(grown, path+"[]", func(p *Policy) reflect.Value {
				if v := at(p); v.Kind() == reflect.Slice {
					return v.Index(0)
				}
				return at(p).Elem()
			})
		}
	}
}

// fill gives v, which is zero, another value: a list one element that is zero.
func fill(t *testing.T, path string, v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.MustParseAddr("10.0.0.1")))
	case v.Type() == reflect.TypeFor[netip.AddrPort]():
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("10.0.0.1:80")))
	case v.Type() == reflect.TypeFor[netip.Prefix]():
		v.Set(reflect.ValueOf(netip.MustParsePrefix("10.0.0.1/24")))
	case v.Type() == reflect.TypeFor[Position]():
		v.Set(reflect.ValueOf(Position{File: "p", Line: 1, Column: 1}))
	case v.Type() == reflect.TypeFor[Value[string]]():
		v.Set(reflect.ValueOf(Value[string]{V: "x"}))
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case v.Kind() == reflect.String:
		v.SetString("x")
	case v.CanInt():
		v.SetInt(1)
	case v.CanUint():
		v.SetUint(1)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	default:
		t.Fatalf("%s: a %v", path, v.Type())
	}
}

// TestHash_EveryField: policies that differ in any one field, or in a field of what they
// hold, have hashes of their own; where a value stands does not count, and whether it is
// written only where that means something. A field that is added and not hashed fails here.
func TestHash_EveryField(t *testing.T) {
	w := hashWalk{t: t, seen: map[uint64]string{}}
	w.visit(func() *Policy { return &Policy{} }, "", func(p *Policy) reflect.Value { return reflect.ValueOf(p).Elem() })
	if len(w.seen) < 200 {
		t.Errorf("%d fields only", len(w.seen))
	}
}

// TestHash_Canonical: policies have one hash where they have one form as JSON, and say the
// same where they say what they would have by default.
func TestHash_Canonical(t *testing.T) {
	texts := []string{"", `proto = "tcp"`, "proto = [\"tcp\"]\n", `proto = ["udp", "tcp"]`, "ttl = 5", `ttl = ["5-6"]`, `from = "10.0.0.0/24"`, `from = "10.0.0.0-10.0.0.255"`,
		`from = "!10.0.0.0/24"`, `to = "10.0.0.0/24"`, `from = "10.0.0.0/23"`, `from = "::/0"`, `from = "any"`, `to = "<t>"`, `limit = { connections = 5 }`, `limit = { connections = 5, mask4 = 32 }`,
		`state = { mode = "sloppy" }`, `state = { mode = "strict" }`, `state = { timeouts = { udp = "5s" } }`, `dscp = "ef"`, `dscp = 46`, `dscp = 0`, `label = ["a", "b"]`, `label = "ab"`,
		"[defaults]\nlog = false", "[defaults]\non_change = \"keep\"", "[gateways.g]\nport = \"lan\"\naddress = \"10.0.0.9\"", "[timeouts]\nudp = \"9s\"", "[limits.l]\nconnections = 7"}
	byJSON, byHash := make([][]byte, len(texts)), make([]uint64, len(texts))
	for i, text := range texts {
		p := parsed(t, ports+"[tables.t]\n"+rulesText("a|"+text))
		form, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		byJSON[i] = append(form, p.Rules[0].overrides(), bit(p.Defaults.Log.Written()))
		if byHash[i] = p.Hash(); byHash[i] != parsed(t, ports+"[tables.t]\n"+rulesText("a|"+text)).Hash() {
			t.Errorf("%q, read twice, has two hashes", text)
		}
	}
	for i := range texts {
		for j := range texts {
			if got, want := byHash[i] == byHash[j], bytes.Equal(byJSON[i], byJSON[j]); got != want {
				t.Errorf("%q and %q have one hash: %v, by their JSON %v", texts[i], texts[j], got, want)
			}
		}
	}
}

// TestHash_Bytes: the form is the same bytes on every machine.
func TestHash_Bytes(t *testing.T) {
	f := newForm()
	f.number(300)
	f.duration(time.Microsecond)
	f.text("ab")
	f.ports(PortRange{80, 443})
	f.address(netip.MustParseAddr("10.0.0.1"))
	f.address(netip.MustParseAddr("fe80::1%x"))
	f.prefix(netip.Prefix{})
	list(f, []Value[string]{{V: "c"}}, (*form).text)
	f.has(true)
	want := []byte{0xac, 2, 0xe8, 7, 2, 'a', 'b', 0, 80, 1, 187, 4, 10, 0, 0, 1,
		16, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 'x', 0, 255, 1, 1, 'c', 1}
	if diff := cmp.Diff(want, f.buf); diff != "" {
		t.Error(diff)
	}
	if got := f.sum(); got != 0xd15fd1ea46576c3c {
		t.Errorf("hash %#x", got)
	}
}

// TestHash_Allocations: a hash takes its buffer, however many rules there are.
func TestHash_Allocations(t *testing.T) {
	ids := make([]string, 3000)
	for i := range ids {
		ids[i] = fmt.Sprintf("r%d|proto = \"tcp\"\nfrom = [\"10.0.0.0/24\", \"<t>\"]\nto_port = [80, 443]", i)
	}
	p := parsed(t, ports+"[tables.t]\n"+rulesText(ids...))
	if n := testing.AllocsPerRun(10, func() { p.Hash() }); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkHash is the hash of 100,000 rules.
func BenchmarkHash(b *testing.B) {
	var text strings.Builder
	text.WriteString(ports)
	for i := range 100_000 {
		fmt.Fprintf(&text, "[[rules]]\nid = \"r%d\"\naction = \"pass\"\nin = \"lan\"\nproto = \"tcp\"\nfrom = \"10.%d.%d.0/24\"\nto_port = 80\n", i, i>>8&255, i&255)
	}
	p, err := ParsePolicy("p", []byte(text.String()))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Hash()
	}
}
