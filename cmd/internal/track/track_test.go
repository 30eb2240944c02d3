package track

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/dataplane/gateway"
)

// scene is a Tracker in virtual time, with what it told.
type scene struct {
	*Tracker
	mu   sync.Mutex
	told []string
	sums []Sum
}

// play runs a test in virtual time: build adds the items, then acts.
func play(t *testing.T, build func(*scene), act func(*scene)) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := &scene{}
		s.Tracker = New(Config{
			Now:     func() int64 { return int64(time.Since(begin)) + 1 },
			Changed: func(one State) { s.mu.Lock(); s.told = append(s.told, one.Name+" "+one.Health.String()); s.mu.Unlock() },
			Judged:  func(sum Sum) { s.mu.Lock(); s.sums = append(s.sums, sum); s.mu.Unlock() },
		})
		build(s)
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { s.Run(ctx) })
		synctest.Wait()
		act(s)
		cancel()
		done.Wait()
	})
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *scene) state(name string) State {
	for _, one := range s.States() {
		if one.Name == name {
			return one
		}
	}
	return State{}
}

// expect compares what was told since the last time.
func (s *scene) expect(t *testing.T, told ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.told)+len(told) > 0 && !reflect.DeepEqual(s.told, told) {
		t.Errorf("told %q, want %q", s.told, told)
	}
	s.told = nil
}

func carrier(s *scene, name string, say Say) *Level {
	return s.AddLevel(Item{Name: name, What: "port " + name, Say: say}, 10*time.Millisecond, 2*time.Second, [2]string{"carrier", "no carrier"})
}

// TestTrack_Carrier: a carrier that bounces is no fault, one that is lost is, and one that is
// back must stay.
func TestTrack_Carrier(t *testing.T) {
	var lan *Level
	play(t, func(s *scene) { lan = carrier(s, "lan", Say{Fault: true}) }, func(s *scene) {
		if got := s.state("lan").Health; got != gateway.Unknown {
			t.Errorf("before anything was told: %v", got)
		}
		lan.Tell(false)
		pass(0)
		s.expect(t, "lan up")
		lan.Tell(true)
		pass(9 * time.Millisecond)
		lan.Tell(false)
		pass(time.Second)
		s.expect(t)
		lan.Tell(true)
		pass(9 * time.Millisecond)
		s.expect(t)
		pass(time.Millisecond)
		s.expect(t, "lan down")
		lan.Tell(false)
		pass(1900 * time.Millisecond)
		lan.Tell(true)
		lan.Tell(false)
		pass(1900 * time.Millisecond)
		s.expect(t)
		pass(100 * time.Millisecond)
		s.expect(t, "lan up")
		want := []Sum{{Fault: "lan is down (port lan)"}, {}}
		if !reflect.DeepEqual(s.sums, want) {
			t.Errorf("judged %v", s.sums)
		}
	})
	play(t, func(s *scene) { lan = carrier(s, "lan", Say{Fault: true}) }, func(s *scene) {
		lan.Tell(true) // from the start
		pass(0)
		s.expect(t, "lan down")
		pass(time.Second)
		lan.Tell(false) // what has never been up does not bounce
		pass(0)
		s.expect(t, "lan up")
	})
}

// TestTrack_Sum: weights add up, faults are named, and what says nothing says nothing.
func TestTrack_Sum(t *testing.T) {
	all := map[string]*Level{}
	play(t, func(s *scene) {
		for name, say := range map[string]Say{"a": {Weight: 30}, "b": {Weight: 20}, "c": {Fault: true}, "d": {}} {
			all[name] = carrier(s, name, say)
		}
	}, func(s *scene) {
		for _, row := range []struct {
			down string
			want Sum
		}{{"a", Sum{30, ""}}, {"b", Sum{50, ""}}, {"d", Sum{50, ""}}, {"c", Sum{50, "c is down (port c)"}}} {
			all[row.down].Tell(true)
			pass(0)
			if got := s.sums[len(s.sums)-1]; got != row.want {
				t.Errorf("with %s down: %+v, want %+v", row.down, got, row.want)
			}
		}
	})
}

// target is something that is asked.
type target struct {
	mu   sync.Mutex
	dead bool
	asks int
}

func (g *target) set(dead bool) { g.mu.Lock(); g.dead = dead; g.mu.Unlock() }

func (g *target) asked() int { g.mu.Lock(); defer g.mu.Unlock(); return g.asks }

func (g *target) ask(ctx context.Context) error {
	g.mu.Lock()
	g.asks++
	dead := g.dead
	g.mu.Unlock()
	if dead {
		<-ctx.Done()
		return errSilent
	}
	time.Sleep(time.Millisecond)
	return nil
}

func (g *target) item(name string, reach Reach) Asked {
	return Asked{
		Item:     Item{Name: name, What: "192.0.2.1", Say: Say{Fault: true}},
		Interval: time.Second, Timeout: 500 * time.Millisecond, Patience: gateway.Patience{Lost: 3, Answered: 2},
		Reach: reach, Hold: time.Minute, Ask: g.ask,
	}
}

// TestTrack_Asked: three misses in a row make a target down, two answers up, on any node.
func TestTrack_Asked(t *testing.T) {
	g := &target{}
	play(t, func(s *scene) { s.AddAsked(g.item("core", Everywhere)) }, func(s *scene) {
		pass(10 * time.Second)
		s.expect(t, "core up")
		if n := g.asked(); n != 11 {
			t.Errorf("asked %d times in ten seconds", n)
		}
		g.set(true)
		pass(2900 * time.Millisecond)
		s.expect(t)
		pass(700 * time.Millisecond)
		s.expect(t, "core down")
		if one := s.state("core"); one.Why != "no answer to the last 3: no answer in time" || one.Held || one.Latency != 1e6 {
			t.Errorf("%+v", one)
		}
		g.set(false)
		pass(1400 * time.Millisecond)
		s.expect(t)
		pass(time.Second)
		s.expect(t, "core up")
	})
}

// TestTrack_StandbyIsMute: what only the active node can ask, a standby does not ask, and
// does not hold against itself; but what was dead when it gave the role up it remembers, longer
// each time, until the target has answered for as long.
func TestTrack_StandbyIsMute(t *testing.T) {
	g := &target{}
	play(t, func(s *scene) { s.AddAsked(g.item("isp", WhileActive)) }, func(s *scene) {
		pass(time.Hour)
		if n := g.asked(); n != 0 || s.state("isp").Health != gateway.Unknown {
			t.Fatalf("a standby asked %d times, %v", n, s.state("isp"))
		}
		s.expect(t)
		fail := func() {
			s.Serve(true)
			pass(time.Second)
			g.set(true)
			pass(10 * time.Second)
			s.Serve(false)
			pass(0)
		}
		for i, hold := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
			fail()
			s.expect(t, "isp up", "isp down")
			before := g.asked()
			pass(hold - time.Second)
			if one := s.state("isp"); one.Health != gateway.Dead || !one.Held || !strings.Contains(one.Why, "held down") {
				t.Errorf("round %d: %+v", i, one)
			}
			s.expect(t)
			pass(2 * time.Second)
			s.expect(t, "isp unknown")
			if n := g.asked() - before; n != 0 {
				t.Errorf("round %d: it asked %d times", i, n)
			}
			g.set(false)
		}
		s.Serve(true)
		pass(10 * time.Minute) // alive for longer than it was held
		s.expect(t, "isp up")
		fail()
		pass(61 * time.Second)
		s.expect(t, "isp down", "isp unknown")
		g.set(false)
		s.Serve(true)
		pass(1500 * time.Millisecond)
		s.Serve(false)
		pass(0)
		s.expect(t, "isp up", "isp unknown")
	})
}

// TestTrack_LongAttempts: an attempt that takes its time does not overlap the next, and
// none is made up for.
func TestTrack_LongAttempts(t *testing.T) {
	var mu sync.Mutex
	running, most, all := 0, 0, 0
	play(t, func(s *scene) {
		s.AddAsked(Asked{Item: Item{Name: "p"}, Interval: 100 * time.Millisecond, Timeout: time.Second, Patience: gateway.Patience{Lost: 1, Answered: 1},
			Ask: func(context.Context) error {
				mu.Lock()
				running++
				most, all = max(most, running), all+1
				mu.Unlock()
				time.Sleep(250 * time.Millisecond)
				mu.Lock()
				running--
				mu.Unlock()
				return errors.New("no")
			}})
	}, func(s *scene) {
		pass(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if most != 1 || all < 30 || all > 41 {
			t.Errorf("%d attempts, %d at once", all, most)
		}
		s.expect(t, "p down")
	})
}

// TestTrack_Self: what is wrong once is not yet a fault, what stays is, and is over when it was
// not seen for a while.
func TestTrack_Self(t *testing.T) {
	var mu sync.Mutex
	wrong := ""
	set := func(w string) { mu.Lock(); wrong = w; mu.Unlock() }
	play(t, func(s *scene) {
		s.AddSelf(Item{Name: "self", What: "this daemon", Say: Say{Fault: true}}, 100*time.Millisecond, time.Second,
			func() string { mu.Lock(); defer mu.Unlock(); return wrong })
	}, func(s *scene) {
		pass(350 * time.Millisecond)
		s.expect(t, "self up")
		set("worker 1 stands still")
		pass(100 * time.Millisecond)
		set("")
		pass(time.Second)
		s.expect(t)
		set("the table is full")
		pass(250 * time.Millisecond)
		s.expect(t, "self down")
		if one := s.state("self"); one.Why != "the table is full" {
			t.Errorf("%+v", one)
		}
		set("")
		pass(900 * time.Millisecond)
		s.expect(t)
		pass(300 * time.Millisecond)
		s.expect(t, "self up")
	})
}

// TestHeldIsBounded: however often it fails, the hold is not longer than heldMost times.
func TestHeldIsBounded(t *testing.T) {
	h := held{hold: 10}
	var got []int64
	for range 8 {
		h.begin(0)
		got = append(got, h.until)
	}
	if fmt.Sprint(got) != "[10 20 40 80 160 320 320 320]" {
		t.Errorf("held %v", got)
	}
}
