package table

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

func prefix(s string) netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p
	}
	a := netip.MustParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen())
}

func addr(s string) *packet.Addr {
	a := packet.AddrFrom(netip.MustParseAddr(s))
	return &a
}

// written is the entries of a policy; "!" excludes.
func written(entries ...string) (all []WrittenEntry) {
	for i, s := range entries {
		sense := Include
		if s[0] == '!' {
			s, sense = s[1:], Exclude
		}
		all = append(all, WrittenEntry{prefix(s), sense, config.Position{File: "p.toml", Line: int32(i + 1), Column: 1}})
	}
	return all
}

// one makes a table.
func one(t rapid.TB, p Plan) *Table {
	t.Helper()
	p.Name = "t"
	ts, err := New([]Plan{p}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ts.ByName("t")
}

// TestLongestPrefix: the narrowest entry decides, in either sense, whichever half it is in,
// and the written one where both have it.
func TestLongestPrefix(t *testing.T) {
	x := one(t, Plan{Max: 10, Written: written("10.0.0.0/8", "!10.0.0.5", "10.1.0.0/16", "!10.1.2.0/24", "2001:db8::/32", "!2001:db8:1::/48", "!192.0.2.1")})
	x.AddPrefix(prefix("10.1.2.3"), Include, 1, Default, Cause{Kind: Command})
	x.AddPrefix(prefix("10.7.0.0/16"), Exclude, 1, Default, Cause{Kind: Command})
	for _, row := range []struct {
		a    string
		want bool
	}{
		{"10.0.0.4", true}, {"10.0.0.5", false}, {"10.1.2.4", false}, {"10.1.2.3", true}, {"10.1.3.3", true}, {"10.7.1.1", false},
		{"11.0.0.0", false}, {"192.0.2.1", false}, {"2001:db8::1", true}, {"2001:db8:1::1", false}, {"::a00:4", false},
	} {
		if got := x.Holds(addr(row.a)); got != row.want {
			t.Errorf("%s: %v", row.a, got)
		}
	}
	if out := x.Add(addr("10.0.0.5"), 1, Default, Cause{Kind: Overload}); out != IsWritten || x.Holds(addr("10.0.0.5")) {
		t.Errorf("what the policy keeps out was added: %v", out)
	}
	e, ok := x.Find(netip.MustParseAddr("10.0.0.5"))
	if !ok || e.String() != "!10.0.0.5" || e.Written.Line != 2 || e.Cause.Kind != Written {
		t.Errorf("10.0.0.5 is decided by %+v", e)
	}
	if _, ok := x.Find(netip.MustParseAddr("8.8.8.8")); ok {
		t.Error("something decides about 8.8.8.8")
	}
}

// TestLifetimes: an entry leaves with the first sweep after its time, one that is added
// again begins anew, and an overload cuts short nothing that somebody said.
func TestLifetimes(t *testing.T) {
	x := one(t, Plan{Max: 10, Lifetime: 100})
	a, b, c := addr("192.0.2.1"), addr("192.0.2.2"), addr("192.0.2.3")
	x.Add(a, 1000, Default, Cause{Kind: Overload})
	x.Add(b, 1000, 50, Cause{Kind: Command})
	x.Add(c, 1000, Forever, Cause{Kind: Command})
	if n := x.Expire(1049); n != 0 || !x.Holds(b) {
		t.Errorf("%d left early", n)
	}
	if n := x.Expire(1050); n != 1 || x.Holds(b) || !x.Holds(a) {
		t.Errorf("%d left at 1050", n)
	}
	if out := x.Add(a, 1090, Default, Cause{Kind: Overload}); out != Refreshed {
		t.Error(out)
	}
	if out := x.Add(c, 1090, 10, Cause{Kind: Overload}); out != Refreshed {
		t.Error(out)
	}
	if n := x.Expire(1189); n != 0 {
		t.Errorf("%d left that began anew, or were to stay", n)
	}
	x.Add(a, 1189, 1, Cause{Kind: Command}) // somebody said so: now it is short
	if n := x.Expire(1190); n != 1 || x.Holds(a) || !x.Holds(c) {
		t.Errorf("%d left", n)
	}
	if out := x.Delete(prefix("192.0.2.3")); out != Deleted || x.Holds(c) {
		t.Error(out)
	}
	if out := x.Delete(prefix("192.0.2.3")); out != Absent {
		t.Error(out)
	}
}

// TestRoom: a full table refuses and counts, and has room again when an entry leaves.
func TestRoom(t *testing.T) {
	x := one(t, Plan{Max: 2, Lifetime: 100, Written: written("10.0.0.0/8")})
	x.Add(addr("192.0.2.1"), 1, Default, Cause{Kind: Overload})
	x.Add(addr("192.0.2.2"), 2, Default, Cause{Kind: Overload})
	if out := x.Add(addr("192.0.2.3"), 3, Default, Cause{Kind: Overload}); out != Full || x.Refused() != 1 {
		t.Errorf("%v, %d refused", out, x.Refused())
	}
	if out := x.Add(addr("192.0.2.2"), 3, Default, Cause{Kind: Overload}); out != Refreshed {
		t.Errorf("one that is there: %v", out)
	}
	if out, at := x.Replace([]NewEntry{{prefix("192.0.2.7"), Include}, {prefix("192.0.2.8"), Include}, {prefix("192.0.2.9"), Include}}, 4, Default, Cause{Kind: Command}); out != Full || at != 2 || !x.Holds(addr("192.0.2.1")) {
		t.Errorf("%v at %d", out, at)
	}
	x.Expire(101)
	if out := x.Add(addr("192.0.2.3"), 102, Default, Cause{Kind: Overload}); out != Added {
		t.Error(out)
	}
	c := one(t, Plan{Const: true, Written: written("10.0.0.0/8")})
	if out := c.Add(addr("192.0.2.1"), 1, Default, Cause{}); out != IsConst {
		t.Error(out)
	}
	if out := c.Delete(prefix("10.0.0.0/8")); out != IsConst {
		t.Error(out)
	}
	if out, _ := c.Replace(nil, 1, Default, Cause{}); out != IsConst || c.Flush() != 0 || c.Expire(9) != 0 {
		t.Error(out)
	}
}

// TestReload: what was added goes over to the table of the same name, with its counts and
// lifetimes; what is written is each policy's own; and going back loses nothing.
func TestReload(t *testing.T) {
	first, err := New([]Plan{{Name: "a", Max: 9, Written: written("10.0.0.0/8", "10.9.0.0/16")}, {Name: "b", Max: 9}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := first.ByName("a")
	a.Add(addr("192.0.2.1"), 1, 100, Cause{Overload, 7})
	a.Count(addr("192.0.2.1"), 2)
	a.Count(addr("10.1.1.1"), 3)
	first.ByName("b").Add(addr("192.0.2.5"), 1, Forever, Cause{Kind: Command})
	second, err := New([]Plan{{Name: "c", Max: 9}, {Name: "a", Max: 9, Written: written("10.0.0.0/8", "!10.9.0.0/16")}}, first)
	if err != nil {
		t.Fatal(err)
	}
	moved := second.At(1)
	if moved.Name() != "a" || !moved.Holds(addr("192.0.2.1")) || moved.Holds(addr("10.9.0.1")) || !a.Holds(addr("10.9.0.1")) {
		t.Error("the table did not go over whole")
	}
	var got []string
	for e := range moved.Entries() {
		got = append(got, fmt.Sprintf("%v %d %d %v", e, e.Matches, e.Expires, e.Cause.Kind))
	}
	if want := []string{"10.0.0.0/8 1 0 written", "!10.9.0.0/16 0 0 written", "192.0.2.1 1 101 overload"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	moved.Add(addr("192.0.2.2"), 1, Default, Cause{Kind: Command})
	if !a.Holds(addr("192.0.2.2")) {
		t.Error("who still judges by the old tables does not see what is added")
	}
	third, err := New([]Plan{{Name: "a", Max: 9, Written: written("!192.0.2.1")}}, second)
	if err != nil || third.At(0).Holds(addr("192.0.2.1")) || !moved.Holds(addr("192.0.2.1")) {
		t.Error("what was added before holds against what the policy says now")
	}
	back, err := New([]Plan{{Name: "b", Max: 9}}, first)
	if err != nil || !back.At(0).Holds(addr("192.0.2.5")) {
		t.Error("going back lost an entry")
	}
	if second.ByName("b") != nil || second.At(2) != nil || (*Tables)(nil).At(0).Holds(addr("10.0.0.1")) {
		t.Error("a table that is not there holds something")
	}
	for _, bad := range [][]Plan{{{Name: "a"}, {Name: "a"}}, {{Name: "a", Written: written("10.0.0.1", "!10.0.0.1")}}, make([]Plan, Max+1)} {
		if _, err := New(bad, nil); err == nil {
			t.Error("accepted")
		}
	}
}

// TestReadersAndWriters: readers see what stays in the table throughout, whatever writers do
// to it, and never an address that was not there.
func TestReadersAndWriters(t *testing.T) {
	x := one(t, Plan{Max: 500, Lifetime: 50, Written: written("10.0.0.0/24", "!10.0.0.9")})
	stays := []*packet.Addr{addr("10.0.0.1"), addr("192.0.2.1")}
	never := []*packet.Addr{addr("10.0.0.9"), addr("192.0.2.2"), addr("2001:db8::1")}
	kept := NewEntry{prefix("192.0.2.1"), Include}
	x.AddPrefix(kept.Prefix, Include, 0, Forever, Cause{Kind: Command})
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, a := range stays {
					if !x.Holds(a) {
						t.Errorf("%v was out for a moment", a)
						return
					}
					x.Count(a, 7)
				}
				for _, a := range never {
					if x.Holds(a) {
						t.Errorf("%v was in for a moment", a)
						return
					}
				}
				for e := range x.Entries() {
					_ = e.String()
				}
			}
		})
	}
	for w := range 3 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 0))
			for i := range int64(400) {
				a := packet.AddrFrom(netip.AddrFrom4([4]byte{198, 51, byte(r.IntN(4)), byte(r.IntN(256))}))
				x.Add(&a, i, Default, Cause{Kind: Overload})
				x.Expire(i)
				switch r.IntN(20) {
				case 0:
					x.Replace([]NewEntry{kept}, i, Forever, Cause{Kind: Command})
				case 1:
					x.Delete(netip.PrefixFrom(a.Netip(), 32))
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if n := x.Flush(); n < 1 || x.Holds(stays[1]) {
		t.Errorf("flushed %d", n)
	}
}

// TestLookupAllocatesNothing: the path asks.
func TestLookupAllocatesNothing(t *testing.T) {
	x := one(t, Plan{Max: 1000, Written: written("10.0.0.0/8", "!10.0.0.5")})
	for i := range 1000 {
		a := packet.AddrFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}))
		x.Add(&a, 1, Default, Cause{Kind: Overload})
	}
	in, out := addr("192.0.2.7"), addr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() {
		if !x.Holds(in) || x.Holds(out) {
			t.Fatal("wrong")
		}
		x.Count(in, 5)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkTable: asking and adding, with few and with many entries.
func BenchmarkTable(b *testing.B) {
	for _, size := range []int{100, 200_000} {
		x := one(b, Plan{Max: size + 1, Lifetime: 1e9})
		r := rand.New(rand.NewPCG(1, 2))
		all := make([]packet.Addr, size)
		for i := range all {
			n := r.Uint32()
			all[i] = packet.AddrFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}))
			x.Add(&all[i], int64(i), Default, Cause{Kind: Overload})
		}
		b.Run(fmt.Sprintf("holds/%d", size), func(b *testing.B) {
			i := 0
			for b.Loop() {
				x.Holds(&all[i%size])
				i++
			}
		})
		b.Run(fmt.Sprintf("add and delete/%d", size), func(b *testing.B) {
			a := packet.AddrFrom(netip.MustParseAddr("198.51.100.7"))
			p := prefix("198.51.100.7")
			x.Delete(p)
			for b.Loop() {
				x.Add(&a, 1, Default, Cause{Kind: Overload})
				x.Delete(p)
			}
		})
	}
}

// TestOverload_Excepted: what the narrowest entry keeps out no overload takes in, whoever said
// so; a narrower entry inside a prefix that is taken in goes on keeping out.
func TestOverload_Excepted(t *testing.T) {
	x := one(t, Plan{Name: "x", Max: 10, Written: written("!10.0.0.0/8", "10.1.0.0/16")})
	x.AddPrefix(prefix("192.0.2.0/24"), Exclude, 1, Forever, Cause{Kind: Command})
	for _, row := range []struct {
		entry string
		want  Outcome
	}{
		{"10.2.0.1", Excepted},
		{"10.2.0.0/16", Excepted},
		{"10.1.0.1", Added},
		{"10.0.0.0/8", IsWritten},
		{"192.0.2.1", Excepted},
		{"192.0.2.0/24", Excepted},
		{"192.0.0.0/16", Added},
		{"2001:db8::/64", Added},
	} {
		if got := x.AddPrefix(prefix(row.entry), Include, 2, Default, Cause{Kind: Overload}); got != row.want {
			t.Errorf("%s: %v, want %v", row.entry, got, row.want)
		}
	}
	if x.Holds(addr("192.0.2.1")) || !x.Holds(addr("192.0.3.1")) {
		t.Error("the narrower entry does not decide")
	}
	if got := x.AddPrefix(prefix("192.0.2.0/24"), Include, 2, Default, Cause{Kind: Command}); got != Refreshed {
		t.Errorf("a command: %v", got)
	}
}
