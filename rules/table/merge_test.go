package table

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// member is the table of one node of several, and its clock's offset.
type member struct {
	*Table
	offset int64
	inbox  []Change
}

func members(t rapid.TB, n int, p Plan) (all []*member) {
	p.Name = "t"
	for i := range n {
		ts, err := New([]Plan{p}, None(uint16(i+1), 0))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &member{Table: ts.ByName("t"), offset: int64(i) * 1e15})
	}
	return all
}

// entries are what a table says that means the same on every node.
func (m *member) entries() (all []string) {
	for c := range m.Changes(0) {
		if c.Kind == Put {
			all = append(all, fmt.Sprintf("%v %v %v", c.Prefix, c.Sense, c.Version))
		}
	}
	slices.Sort(all)
	return all
}

// tell hands a change to everybody else, one is there twice.
func tell(all []*member, from int, c Change) {
	for i, m := range all {
		if i != from {
			m.inbox = append(m.inbox, c, c)
		}
	}
}

// P1, P3: whatever nodes do to their tables, and in whatever order what they tell of it
// arrives, once or twice: when all has come, all hold the same, and their digests say so.
func TestP3_ChangesMeetInOneState(t *testing.T) {
	prefixes := []netip.Prefix{prefix("192.0.2.1"), prefix("192.0.2.2"), prefix("192.0.2.0/24"), prefix("2001:db8::/32")}
	rapid.Check(t, func(rt *rapid.T) {
		all := members(rt, rapid.IntRange(2, 3).Draw(rt, "nodes"), Plan{Max: 100})
		now := int64(1e9)
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			i := rapid.IntRange(0, len(all)-1).Draw(rt, "node")
			m, p := all[i], rapid.SampledFrom(prefixes).Draw(rt, "prefix")
			now += 1e6
			switch rapid.IntRange(0, 9).Draw(rt, "does") {
			case 0, 1, 2:
				m.AddPrefix(p, Sense(rapid.IntRange(0, 1).Draw(rt, "sense")), now+m.offset, rapid.SampledFrom([]int64{Forever, 3600e9}).Draw(rt, "for"), Cause{Kind: Command})
				tellOf(all, i, p, now)
			case 3, 4:
				m.Delete(p)
				tellOf(all, i, p, now)
			case 5:
				m.Flush()
				for c := range m.Changes(now + m.offset) {
					tell(all, i, c)
				}
			case 6:
				m.Replace([]NewEntry{{p, Include}}, now+m.offset, Forever, Cause{Kind: Command})
				for c := range m.Changes(now + m.offset) {
					tell(all, i, c)
				}
			default: // some of what was told arrives, in any order
				deliver(m, rapid.IntRange(0, len(m.inbox)).Draw(rt, "of it"), rapid.Uint64().Draw(rt, "order"), now)
			}
		}
		for _, m := range all {
			deliver(m, len(m.inbox), rapid.Uint64().Draw(rt, "order"), now)
		}
		want := all[0].entries()
		first, _ := all[0].Digest(now + all[0].offset)
		for _, m := range all[1:] {
			if got := m.entries(); !slices.Equal(got, want) {
				rt.Fatalf("node 1 has\n%q\nanother\n%q", want, got)
			}
			if d, _ := m.Digest(now + m.offset); !first.Same(&d) {
				rt.Fatalf("digests %+v and %+v of equal tables", first, d)
			}
		}
	})
}

func tellOf(all []*member, i int, p netip.Prefix, now int64) {
	var c Change
	if all[i].Tell(p, now+all[i].offset, &c) {
		tell(all, i, c)
	}
}

func deliver(m *member, n int, order uint64, now int64) {
	r := rand.New(rand.NewPCG(order, 1))
	r.Shuffle(len(m.inbox), func(i, j int) { m.inbox[i], m.inbox[j] = m.inbox[j], m.inbox[i] })
	for _, c := range m.inbox[:n] {
		m.Merge(&c, now+m.offset)
	}
	m.inbox = m.inbox[n:]
}

// TestP3_LifetimeTravelsAsWhatIsLeft: clocks of nodes have nothing to do with each other, what
// was told late does not live longer, and an entry whose time is over does not come back.
func TestP3_LifetimeTravelsAsWhatIsLeft(t *testing.T) {
	all := members(t, 2, Plan{Max: 10, Lifetime: int64(time.Minute)})
	a, b := all[0], all[1]
	p := prefix("192.0.2.1")
	a.AddPrefix(p, Include, 1e9, Default, Cause{Kind: Overload, Rule: 7})
	var early, late Change
	a.Tell(p, 1e9, &early)
	a.Tell(p, 41e9, &late)
	if early.Left != 60e9 || late.Left != 20e9 || late.Age != 40e9 || late.Cause != (Cause{Overload, 7}) {
		t.Fatalf("%+v\n%+v", early, late)
	}
	at := 41e9 + b.offset
	b.Merge(&early, at) // from a backlog, 40 s old
	x, _ := a.Digest(41e9)
	y, _ := b.Digest(at)
	if x.Same(&y) {
		t.Error("a lifetime that is 40 s longer counts as the same")
	}
	if out := b.Merge(&late, at); out != Refreshed {
		t.Error(out)
	}
	if y, _ = b.Digest(at); !x.Same(&y) {
		t.Errorf("%+v and %+v", x, y)
	}
	b.Merge(&early, at) // again: it does not live longer by that
	if e, ok := b.Get(p); !ok || e.Expires != at+20e9 || e.Added != at-40e9 || e.Cause != late.Cause {
		t.Errorf("%+v", e)
	}
	if b.Expire(at + 20e9); b.Holds(addr("192.0.2.1")) {
		t.Error("it is there after its time")
	}
	if out := b.Merge(&early, at+21e9); out != Outdated || b.Holds(addr("192.0.2.1")) {
		t.Errorf("it came back: %v", out)
	}
}

// TestP3_HostileTeller: a peer that tells of entries without end, or deletes them, fills
// neither the table nor what is remembered beyond their bounds.
func TestP3_HostileTeller(t *testing.T) {
	x := members(t, 1, Plan{Max: 10})[0]
	for i := range 3 * gravesMax {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		x.Merge(&Change{Kind: Put, Version: Version(i+1)<<16 | 2, Prefix: p, Cause: Cause{Kind: Command}}, int64(i))
		x.Merge(&Change{Kind: Drop, Version: Version(i+1)<<16 | 3, Prefix: prefix("2001:db8::1")}, int64(i))
		x.Merge(&Change{Kind: Drop, Version: Version(i+1)<<16 | 3, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}, int64(i))
	}
	if _, added := x.Sizes(); added != mergeRoom*10 || x.Refused() != 3*gravesMax-mergeRoom*10 {
		t.Errorf("%d entries, %d refused", added, x.Refused())
	}
	g := &x.added.graves
	if len(g.of) > gravesMax || len(g.order) > 3*gravesMax {
		t.Errorf("%d graves, %d in order", len(g.of), len(g.order))
	}
	if x.Expire(graveFor + 3*gravesMax); len(g.of) != 0 {
		t.Errorf("%d graves after an hour", len(g.of))
	}
	if out := x.Merge(&Change{Kind: Clear, Version: 1<<62 | 1}, 1); out != Deleted {
		t.Error(out)
	}
	if _, added := x.Sizes(); added != 0 {
		t.Errorf("%d after a clear", added)
	}
	if x.AddPrefix(prefix("192.0.2.1"), Include, 1, Forever, Cause{Kind: Command}) != Added {
		t.Error("nothing can be added")
	}
	if e := x.entries(); len(e) != 1 {
		t.Errorf("an entry that was added after the clear is not told: %v", e)
	}
}
