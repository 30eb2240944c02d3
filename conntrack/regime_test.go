package conntrack

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// only returns the normal table with one timer, plain, set to so many seconds.
func only(timer Timer, seconds int) *Timeouts {
	t := DefaultTimeouts()
	t.Plain[timer] = time.Duration(seconds) * time.Second
	return t
}

const second = int64(time.Second)

// ends returns how long after its last refresh, in s, a connection of this set and timer
// ends that was refreshed at refreshed and is looked at every second from now on.
func (r *regimes) ends(set uint8, timer Timer, refreshed, now int64, g Grace) int {
	for ; ; now += second {
		j := r.at(now, g)
		if j.expired(set, 0, timer, uint32((now-refreshed)/1e6)) {
			return int((now - refreshed) / second)
		}
	}
}

// TestE10_ChangedAtRunTime: what is refreshed after a change has the new limit, what was
// refreshed before it the longest that has held since.
func TestE10_ChangedAtRunTime(t *testing.T) {
	var r regimes
	if err := r.begin(only(TimerUDP, 600)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		at, seconds int
		want        map[int]int // by the second of the last refresh, how many seconds it lives
	}{
		{0, 600, map[int]int{10: 601, 50: 601}},
		{100, 60, map[int]int{10: 601, 99: 601, 100: 61, 150: 61}},                      // lowered
		{200, 300, map[int]int{10: 601, 99: 601, 190: 301, 200: 301}},                   // raised: also for those there
		{300, 20, map[int]int{10: 601, 99: 601, 150: 301, 250: 301, 299: 301, 300: 21}}, // lowered again
	} {
		now := int64(step.at) * second
		if err := r.change([]*Timeouts{only(TimerUDP, step.seconds)}, Adaptive{}, now); err != nil {
			t.Fatal(err)
		}
		for refreshed, want := range step.want {
			from := max(now, int64(refreshed)*second)
			if got := r.ends(0, TimerUDP, int64(refreshed)*second, from, GraceOwner); got != want {
				t.Errorf("at %d, %d s: refreshed at %d lives %d s, want %d", step.at, step.seconds, refreshed, got, want)
			}
		}
	}
}

// TestE10_LoweringSparesShadows: a peer whose stamps are as old as the old timeout's export
// period keeps a connection that lives at its owner.
func TestE10_LoweringSparesShadows(t *testing.T) {
	var r regimes
	if err := r.begin(only(TimerUDP, 600)); err != nil {
		t.Fatal(err)
	}
	period := int64(1) << r.period(0, 0, TimerUDP) * 1e6
	now := 1000 * second
	if err := r.change([]*Timeouts{only(TimerUDP, 6)}, Adaptive{}, now); err != nil {
		t.Fatal(err)
	}
	for _, j := range []judge{r.at(now, GraceShadow), r.at(now+second, GraceShadow)} {
		if j.expired(0, 0, TimerUDP, uint32(period/1e6)) {
			t.Errorf("a shadow refreshed %v ago is gone", time.Duration(period))
		}
	}
	if got := r.ends(0, TimerUDP, now, now, GraceShadow); got != 10 {
		t.Errorf("a shadow refreshed since lives %d s, want the first look after 9", got)
	}
}

// TestSetsOfRules: each number has its own set, and one without a set means the default.
func TestSetsOfRules(t *testing.T) {
	var r regimes
	sets := make([]*Timeouts, TimeoutSetsMax-1)
	for i := range sets {
		sets[i] = only(TimerUDP, 10+i)
	}
	if err := r.change(sets, Adaptive{}, 0); err != nil {
		t.Fatal(err)
	}
	j := r.at(0, GraceOwner)
	for set := range uint8(TimeoutSetsMax) {
		want := uint32(10+set) * 1000
		if int(set) >= len(sets) {
			want = 10000
		}
		if got := j.limit(set, 0, TimerUDP, 0); got != want {
			t.Errorf("set %d: %d ms, want %d", set, got, want)
		}
		if got := j.limit(set, SourceNAT, TimerUDP, 0); got != 120000 {
			t.Errorf("set %d, translated: %d ms", set, got)
		}
		if got, want := r.period(set, 0, TimerUDP), uint8(11); want > got || got > 13 {
			t.Errorf("set %d: period 2^%d ms", set, got)
		}
	}
}

func TestChangeRefuses(t *testing.T) {
	var r regimes
	if err := r.begin(DefaultTimeouts()); err != nil {
		t.Fatal(err)
	}
	held := r.current.Load()
	short := only(TimerUDP, 0)
	for _, row := range []struct {
		sets []*Timeouts
		a    Adaptive
		want string
	}{
		{nil, Adaptive{}, "0 sets"},
		{make([]*Timeouts, TimeoutSetsMax+1), Adaptive{}, "17 sets"},
		{[]*Timeouts{DefaultTimeouts(), short}, Adaptive{}, "set 1 of timeouts: conntrack: timeout udp = 0s"},
		{[]*Timeouts{DefaultTimeouts()}, Adaptive{Start: 600, End: 600}, "the end must lie above"},
		{[]*Timeouts{DefaultTimeouts()}, Adaptive{Start: 600}, "the end must lie above"},
	} {
		if err := r.change(row.sets, row.a, 0); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("want %q, got %v", row.want, err)
		}
	}
	if r.current.Load() != held {
		t.Error("a refused change changed something")
	}
}

// TestErasAreBounded: the same sets again make no era, and old eras are given up.
func TestErasAreBounded(t *testing.T) {
	var r regimes
	if err := r.begin(only(TimerUDP, 1000)); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * erasMax {
		now := int64(i+1) * second
		for range 2 {
			if err := r.change([]*Timeouts{only(TimerUDP, 999-i)}, Adaptive{}, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := r.current.Load().before
	if len(before) != erasMax || before[0].since != 3*erasMax*1000-1000 {
		t.Fatalf("%d eras, the last from %d", len(before), before[0].since)
	}
	j := r.at(100*second, GraceOwner)
	if got := j.limit(0, 0, TimerUDP, 100000); got != before[erasMax-1].sets[0].idle[0][TimerUDP] {
		t.Errorf("refreshed in an era given up: %d ms, want that of the oldest known", got)
	}
}

// TestAdaptiveFactor spells out the line that pf.conf(5) describes, per mille.
func TestAdaptiveFactor(t *testing.T) {
	for _, row := range []struct {
		a              Adaptive
		live, capacity int
		want           uint32
	}{
		{Adaptive{}, 1000, 1000, 1000},
		{Adaptive{600, 1200}, 0, 1000, 1000},
		{Adaptive{600, 1200}, 600, 1000, 1000},
		{Adaptive{600, 1200}, 601, 1000, 999}, // 599 of 600, rounded up
		{Adaptive{600, 1200}, 900, 1000, 500},
		{Adaptive{600, 1200}, 1000, 1000, 334},
		{Adaptive{500, 1000}, 1000, 1000, 1}, // never nothing
		{Adaptive{500, 900}, 950, 1000, 1},
		{Adaptive{0, 1000}, 1, 1000, 999},
		{Adaptive{600, 1200}, 1<<31 - 2, 1<<31 - 2, 334},
		{Adaptive{600, 1200}, 1, 1, 334},
	} {
		if got := row.a.factor(row.live, row.capacity); got != row.want {
			t.Errorf("%+v, %d of %d: %d, want %d", row.a, row.live, row.capacity, got, row.want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		a := Adaptive{Start: rapid.Uint32Range(0, 2000).Draw(rt, "start")}
		a.End = a.Start + rapid.Uint32Range(1, 9000).Draw(rt, "span")
		capacity := rapid.IntRange(1, CapacityMax).Draw(rt, "capacity")
		n := rapid.IntRange(0, capacity).Draw(rt, "n")
		fewer := rapid.IntRange(0, n).Draw(rt, "fewer")
		if f, g := a.factor(n, capacity), a.factor(fewer, capacity); f < 1 || f > 1000 || g < f {
			rt.Fatalf("%+v of %d: %d at %d, %d at %d", a, capacity, f, n, g, fewer)
		}
	})
}

// TestAdaptiveShortens: the owner's limits shrink with the pressure of the sweep's last
// turn, shadows keep theirs, and it ends with the pressure.
func TestAdaptiveShortens(t *testing.T) {
	var r regimes
	if err := r.change([]*Timeouts{only(TimerUDP, 100)}, Adaptive{Start: 600, End: 1200}, 0); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ live, owner, shadow int }{{0, 100, 150}, {600, 100, 150}, {900, 50, 150}, {1000, 33, 150}, {10, 100, 150}} {
		if !r.adapts() {
			t.Error("nobody counts")
		}
		r.press(row.live, 1000)
		owner, shadow := r.at(0, GraceOwner), r.at(0, GraceShadow)
		if got := owner.limit(0, 0, TimerUDP, 0) / 1000; int(got) != row.owner {
			t.Errorf("%d of 1000: %d s, want %d", row.live, got, row.owner)
		}
		if got := shadow.limit(0, 0, TimerUDP, 0) / 1000; int(got) != row.shadow {
			t.Errorf("%d of 1000: a shadow lives %d s, want %d", row.live, got, row.shadow)
		}
	}
	eternal := r.at(0, GraceEternal)
	if eternal.expired(0, 0, TimerUDP, 1<<31) {
		t.Error("what is eternal expired")
	}
	if longest := uint32(timeoutMax.Milliseconds()); scale(1, 1) != 1 || scale(longest, 1000) != longest {
		t.Error("scaling loses the shortest or the longest")
	}
}
