package node

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/dataplane"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/sync/seal"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// watched is a daemon of which only the watching runs, with the role in role.
func watched(t *testing.T) (d *daemon, role *atomic.Uint32) {
	t.Helper()
	pl := load(t, "fw-a", seal.Key{})
	d = &daemon{name: "fw-a", ports: pl.ports, gateways: pl.gateways}
	d.snapshot.Store(&dataplane.Snapshot{Rules: pl.rules})
	role = &atomic.Uint32{}
	role.Store(uint32(gate.Active))
	d.watching.role = func() gate.Role { return gate.Role(role.Load()) }
	return d, role
}

// begun records the beginning of count connections of a protocol.
func (d *daemon) begun(proto packet.Proto, count int) {
	events := &d.killing.events[0]
	events.Begin()
	for i := range count {
		original := packet.Tuple{Proto: proto, Src: packet.AddrFrom(netip.MustParseAddr("10.0.0.7")), Dst: packet.AddrFrom(netip.MustParseAddr("203.0.113.9")), SrcPort: uint16(i), DstPort: 53}
		events.Packet(&conntrack.Result{Change: conntrack.ChangeNew, State: conntrack.State{
			Incarnation: conntrack.Incarnation(i+1)<<16 | 1, Original: original, Reply: original.Reply(),
			Class: conntrack.Class{Ingress: 0, Egress: 1, Gateway: 1},
		}}, gate.Now())
	}
	events.Pause()
}

// tape is what a watcher was told.
type tape struct {
	cancel context.CancelFunc
	ended  chan error
	events chan api.WatchEvent
	stop   chan struct{} // closed: go on reading
}

// watch begins to watch and returns once the role is told. A slow one then waits for stop.
func (d *daemon) watch(t *testing.T, slow bool, words ...string) *tape {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &tape{cancel, make(chan error, 1), make(chan api.WatchEvent, 1<<20), make(chan struct{})}
	if !slow {
		close(w.stop)
	}
	go func() {
		w.ended <- d.Watch(ctx, words, func(events []api.WatchEvent) error {
			for _, e := range events {
				w.events <- e
			}
			<-w.stop
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-w.ended; err != nil {
			t.Error(err)
		}
	})
	if e := w.next(t); e.Event != "role" || e.Role != gate.Role(d.watching.role()).String() || e.SeenBy != "fw-a" || e.Watched != nil {
		t.Fatalf("the first line is %+v", e)
	}
	return w
}

func (w *tape) next(t *testing.T) api.WatchEvent {
	t.Helper()
	select {
	case e := <-w.events:
		return e
	case <-time.After(patience):
		t.Fatal("no event")
	}
	panic("unreachable")
}

// A watcher that keeps up is told everything; one that does not is told as much as its
// queue holds, and exactly how many are missing.
func TestO4_SlowWatcherShedsAndSaysSo(t *testing.T) {
	d, _ := watched(t)
	fast, slow := d.watch(t, false), d.watch(t, true)
	const step, steps = 8000, 10
	for range steps {
		d.begun(packet.UDP, step)
		for range step {
			if e := fast.next(t); e.Event != "new" {
				t.Fatalf("told %+v", e)
			}
		}
	}
	close(slow.stop)
	told, shed := 0, uint64(0)
	for told+int(shed) < step*steps {
		switch e := slow.next(t); e.Event {
		case "new":
			if told++; shed != 0 {
				t.Fatal("shed was told before what came earlier")
			}
		case "shed":
			shed += e.Count
		}
	}
	if told != watchQueue || told+int(shed) != step*steps {
		t.Errorf("%d told and %d shed of %d", told, shed, step*steps)
	}
	d.begun(packet.UDP, 1)
	if e := slow.next(t); e.Event != "new" {
		t.Errorf("after that it is told %+v", e)
	}
}

// An event has the words of a listing, and the selector chooses among them.
func TestWatchSelects(t *testing.T) {
	d, role := watched(t)
	all, tcp, gateway := d.watch(t, false), d.watch(t, false, "proto=tcp", "dport=53"), d.watch(t, false, "gateway=isp1", "proto=udp")
	d.begun(packet.UDP, 1)
	d.begun(packet.TCP, 1)
	before := time.Now().Add(-time.Minute)
	for _, w := range []*tape{all, all, tcp, gateway} {
		e := w.next(t)
		if e.Event != "new" || e.Time.Before(before) || e.Time.After(time.Now().Add(time.Second)) || e.In != "lan" || e.Out != "wan" || e.Gateway != "isp1" ||
			e.Original.String() != "10.0.0.7 > 203.0.113.9:53" || e.ID != "0000000000010001" || e.Node != 1 || e.Reason != "" || e.Was != "" {
			t.Errorf("%+v %+v", e, e.Watched)
		}
		if w == tcp && e.Proto != "tcp" || w == gateway && e.Proto != "udp" {
			t.Errorf("it chose %s", e.Proto)
		}
	}
	role.Store(uint32(gate.Standby))
	for _, w := range []*tape{all, tcp, gateway} {
		if e := w.next(t); e.Event != "role" || e.Role != "standby" {
			t.Errorf("%+v", e)
		}
	}
}

// What a change and an end say.
func TestWatchSaysWhatChanged(t *testing.T) {
	d, _ := watched(t)
	w := d.watch(t, false)
	events := &d.killing.events[1]
	state := conntrack.State{Incarnation: 1<<16 | 1, Original: packet.Tuple{Proto: packet.UDP}, Flags: conntrack.Replied}
	events.Begin()
	events.Packet(&conntrack.Result{Change: conntrack.ChangeUpdate, Flags: conntrack.Replied, State: state}, gate.Now())
	state.Flags |= conntrack.Assured
	events.Packet(&conntrack.Result{Change: conntrack.ChangeUpdate, Flags: state.Flags, WasFlags: conntrack.Replied, State: state}, gate.Now())
	events.Packet(&conntrack.Result{Change: conntrack.ChangeUpdate, Flags: state.Flags, WasFlags: state.Flags, State: state}, gate.Now()) // no change that shows
	events.End(&state, conntrack.EndExpired, gate.Now())
	events.Packet(&conntrack.Result{Change: conntrack.ChangeReopened, WasTCP: conntrack.TimeWait, State: conntrack.State{
		Incarnation: 3<<16 | 1, Original: packet.Tuple{Proto: packet.TCP}}}, gate.Now())
	events.Pause()
	for _, want := range []string{
		"change UNREPLIED>REPLIED false ", "change >REPLIED true ", "end >REPLIED true expired",
		"end >TIME_WAIT false replaced", "new >NONE false ",
	} {
		e := w.next(t)
		got := strings.TrimSpace(e.Event) + " " + e.Was + ">" + e.State + map[bool]string{true: " true ", false: " false "}[e.Assured] + e.Reason
		if got != want && want[:3] != "new" || e.Event == "new" && e.ID != "0000000000030001" {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What cannot be watched is said; the last place is taken and given back.
func TestWatchRefuses(t *testing.T) {
	d, _ := watched(t)
	for words, says := range map[string]string{
		"srx=1": "did you mean src=", "max-age=1m": "max-age= is for listings", "proto=tcp min-idle=1s": "min-idle=", "src=": "src",
	} {
		err := d.Watch(context.Background(), strings.Fields(words), func([]api.WatchEvent) error { return nil })
		if !errors.Is(err, api.ErrUsage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", words, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, watchersMax)
	for range watchersMax {
		begun := make(chan struct{}, 1)
		go func() {
			ended <- d.Watch(ctx, nil, func([]api.WatchEvent) error { begun <- struct{}{}; return nil })
		}()
		<-begun
	}
	if err := d.Watch(ctx, nil, nil); err == nil || errors.Is(err, api.ErrUsage) || !strings.Contains(err.Error(), "8 watch already") {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	for range watchersMax {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if d.watching.watchers != nil || d.watching.gatherer != nil {
		t.Error("it records although nobody watches")
	}
	d.watch(t, false)
}
