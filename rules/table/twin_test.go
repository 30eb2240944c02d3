package table

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// twin is a table as a list that is gone through.
type twin struct {
	written, added []Entry
}

func (w *twin) at(p netip.Prefix) int {
	return slices.IndexFunc(w.added, func(e Entry) bool { return e.Prefix == p })
}

func (w *twin) holds(a netip.Addr) bool {
	bits, sense := -1, Exclude
	for _, e := range w.written {
		if e.Prefix.Contains(a) && e.Prefix.Bits() > bits {
			bits, sense = e.Prefix.Bits(), e.Sense
		}
	}
	for _, e := range w.added {
		if e.Prefix.Contains(a) && e.Prefix.Bits() > bits {
			bits, sense = e.Prefix.Bits(), e.Sense
		}
	}
	return sense == Include
}

// TestTwin does at random what can be done to a table, to the twin too, and compares what
// they hold and list.
func TestTwin(t *testing.T) {
	prefixes := []string{"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.128/25", "10.0.0.5", "10.0.0.6/31", "10.1.0.0/16", "10.0.0.129",
		"::/0", "2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::5", "2001:db8:1::4/127"}
	hosts := []string{"10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.128", "10.0.0.129", "10.1.0.1", "10.2.0.1", "8.8.8.8", "::", "2001:db8::1", "2001:db8:1::4", "2001:db8:1::5", "2001:db8:1::6"}
	rapid.Check(t, func(rt *rapid.T) {
		w := &twin{}
		plan := Plan{Max: rapid.IntRange(1, 6).Draw(rt, "max"), Lifetime: int64(rapid.IntRange(0, 20).Draw(rt, "lifetime"))}
		draw := func() netip.Prefix { return prefix(rapid.SampledFrom(prefixes).Draw(rt, "prefix")) }
		sense := func() Sense { return Sense(rapid.IntRange(0, 1).Draw(rt, "sense")) }
		for range rapid.IntRange(0, 4).Draw(rt, "written") {
			e := Entry{Prefix: draw(), Sense: sense()}
			if !slices.ContainsFunc(w.written, func(o Entry) bool { return o.Prefix == e.Prefix }) {
				w.written = append(w.written, e)
				plan.Written = append(plan.Written, WrittenEntry{Prefix: e.Prefix, Sense: e.Sense})
			}
		}
		x := one(rt, plan)
		isWritten := func(p netip.Prefix) bool {
			return slices.ContainsFunc(w.written, func(o Entry) bool { return o.Prefix == p })
		}
		expiry := func(now, lifetime int64) int64 {
			if lifetime == Default {
				lifetime = plan.Lifetime
			}
			if lifetime <= 0 {
				return 0
			}
			return now + lifetime
		}
		now := int64(1000)
		add := func() {
			p, s, life := draw(), sense(), rapid.SampledFrom([]int64{Default, Forever, 5, 30}).Draw(rt, "for")
			want := Added
			switch i := w.at(p); {
			case isWritten(p):
				want = IsWritten
			case i >= 0:
				want = Refreshed
				w.added[i].Sense, w.added[i].Expires = s, expiry(now, life)
			case len(w.added) >= plan.Max:
				want = Full
			default:
				w.added = append(w.added, Entry{Prefix: p, Sense: s, Expires: expiry(now, life)})
			}
			if out := x.AddPrefix(p, s, now, life, Cause{Kind: Command}); out != want {
				rt.Fatalf("add %v: %v, want %v", p, out, want)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(*rapid.T) { add() },
			"delete": func(*rapid.T) {
				p, want := draw(), Absent
				if i := w.at(p); isWritten(p) {
					want = IsWritten
				} else if i >= 0 {
					want, w.added = Deleted, slices.Delete(w.added, i, i+1)
				}
				if out := x.Delete(p); out != want {
					rt.Fatalf("delete %v: %v, want %v", p, out, want)
				}
			},
			"flush": func(*rapid.T) {
				if n := x.Flush(); n != len(w.added) {
					rt.Fatalf("flushed %d of %d", n, len(w.added))
				}
				w.added = nil
			},
			"replace": func(*rapid.T) {
				var list []NewEntry
				var next []Entry
				want, life := Added, rapid.SampledFrom([]int64{Default, 7}).Draw(rt, "for")
				for range rapid.IntRange(0, 5).Draw(rt, "entries") {
					p, s := draw(), sense()
					list = append(list, NewEntry{p, s})
					i := slices.IndexFunc(next, func(e Entry) bool { return e.Prefix == p })
					switch {
					case want != Added:
					case isWritten(p):
						want = IsWritten
					case i >= 0:
						next[i].Sense = s
					case len(next) >= plan.Max:
						want = Full
					default:
						next = append(next, Entry{Prefix: p, Sense: s, Expires: expiry(now, life)})
					}
				}
				if out, _ := x.Replace(list, now, life, Cause{Kind: Command}); out != want {
					rt.Fatalf("replace %v: %v, want %v", list, out, want)
				}
				if want == Added {
					w.added = next
				}
			},
			"time": func(*rapid.T) {
				now += int64(rapid.IntRange(1, 20).Draw(rt, "ns"))
				before := len(w.added)
				w.added = slices.DeleteFunc(w.added, func(e Entry) bool { return e.Expires != 0 && e.Expires <= now })
				if n := x.Expire(now); n != before-len(w.added) {
					rt.Fatalf("%d expired, want %d", n, before-len(w.added))
				}
			},
			"": func(*rapid.T) {
				for _, h := range hosts {
					if got, want := x.Holds(addr(h)), w.holds(netip.MustParseAddr(h)); got != want {
						rt.Fatalf("%s: %v, want %v", h, got, want)
					}
				}
				list := map[string]int64{}
				for e := range x.Entries() {
					list[e.String()] = e.Expires
				}
				if len(list) != len(w.written)+len(w.added) {
					rt.Fatalf("%d entries are listed, want %d", len(list), len(w.written)+len(w.added))
				}
				for _, e := range w.added {
					if at, ok := list[e.String()]; !ok || at != e.Expires {
						rt.Fatalf("%v expires at %d, want %d", e, at, e.Expires)
					}
				}
				x.wellFormed(rt)
			},
		})
	})
}

// wellFormed checks the queue against the tree.
func (t *Table) wellFormed(rt *rapid.T) {
	waiting := 0
	for _, e := range t.added.tree.Load().All() {
		if e.expires.Load() != 0 {
			waiting++
			if t.added.queue[e.place] != e {
				rt.Fatalf("%v is not where it says in the queue", e.prefix)
			}
		}
	}
	if waiting != len(t.added.queue) {
		rt.Fatalf("%d expire, and %d are in the queue", waiting, len(t.added.queue))
	}
	for i := range t.added.queue {
		if i > 0 && t.added.queue.before(i, (i-1)/2) {
			rt.Fatalf("the queue is not in order at %d", i)
		}
	}
}
