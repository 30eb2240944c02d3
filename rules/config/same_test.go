package config

import (
	"bytes"
	"reflect"
	"testing"
)

// TestSame_EveryField: two rules that differ in any one field, or in a field of what they
// hold, do not mean the same. A field that is added and not compared fails here.
func TestSame_EveryField(t *testing.T) {
	alike := func(a, b *Rule) bool { return a.meansAs(b) && a.wordsAs(b) }
	seen := 0
	var visit func(root func() *Rule, path string, at func(*Rule) reflect.Value)
	visit = func(root func() *Rule, path string, at func(*Rule) reflect.Value) {
		switch v := at(root()); v.Kind() {
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[Position]() || path == ".OnChange" { // Policy.OnChangeOf compares that
				return
			}
			if v.Type().PkgPath() != reflect.TypeFor[Rule]().PkgPath() { // netip.Addr is one value
				return
			}
			for i := range v.NumField() {
				visit(root, path+"."+v.Type().Field(i).Name, func(r *Rule) reflect.Value { return at(r).Field(i) })
			}
		case reflect.Slice, reflect.Pointer:
			// One element more, and then each of its fields.
			grown := func() *Rule {
				r := root()
				v := at(r)
				if v.Kind() == reflect.Slice {
					v.Set(reflect.MakeSlice(v.Type(), 1, 1))
				} else {
					v.Set(reflect.New(v.Type().Elem()))
				}
				return r
			}
			if v.Kind() == reflect.Slice || path == ".OwnLimit" {
				if seen++; alike(root(), grown()) {
					t.Errorf("%s: one that has it means the same as one without", path)
				}
			}
			if path != ".Within[].Asks" { // asksAs compares it, which the other fields have shown
				visit(grown, path+"[]", func(r *Rule) reflect.Value {
					if v := at(r); v.Kind() == reflect.Slice {
						return v.Index(0)
					}
					return at(r).Elem()
				})
			}
		default:
			changed := root()
			switch v := at(changed); {
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
			if seen++; alike(root(), changed) {
				t.Errorf("%s: rules that differ in it mean the same", path)
			}
		}
	}
	visit(func() *Rule { return &Rule{} }, "", func(r *Rule) reflect.Value { return reflect.ValueOf(r).Elem() })
	if seen < 40 {
		t.Errorf("%d fields only", seen)
	}
}

// TestSame_Canonical: rules that mean the same have one canonical form, and those of other
// forms do not mean the same.
func TestSame_Canonical(t *testing.T) {
	texts := []string{"", `proto = "tcp"`, "proto = [\"tcp\"]\n", `proto = ["udp", "tcp"]`, "ttl = 5", `ttl = ["5-6"]`, `from = "10.0.0.0/24"`, `from = "10.0.0.0-10.0.0.255"`,
		`from = "!10.0.0.0/24"`, `from = "10.0.1.0/24"`, `from = "10.0.0.0/23"`, `to = "<t>"`, `limit = { connections = 5 }`, `limit = { connections = 6 }`, `limit = { connections = 5, mask4 = 32 }`,
		`state = { mode = "sloppy" }`, `state = { timeouts = { udp = "5s" } }`, `state = { timeouts = { udp = "6s" } }`, `dscp = "ef"`, `dscp = 46`, `dscp = 0`}
	rules := make([]*Rule, len(texts))
	for i, text := range texts {
		p, err := ParsePolicy("p", []byte("[ports.lan]\naddresses = [\"10.0.0.1/24\"]\n[tables.t]\n"+rulesText("a|"+text)))
		if err != nil {
			t.Fatal(text, err)
		}
		rules[i] = &p.Rules[0]
	}
	for i, a := range rules {
		for j, b := range rules {
			if got, want := a.meansAs(b), bytes.Equal(canonical(a), canonical(b)); got != want {
				t.Errorf("%q and %q mean the same: %v, by their form %v", texts[i], texts[j], got, want)
			}
		}
	}
}
