package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
	"holdfast/sync/journal"
)

// table gives the rig an empty table of another capacity.
func (r *rig) table(capacity uint32) *conntrack.Table {
	r.t.Helper()
	table, err := conntrack.New(conntrack.Config{Capacity: capacity, Node: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { table.Close() })
	snapshot := *r.snapshot.Load()
	snapshot.Table = table
	r.snapshot.Store(&snapshot)
	r.w.snapshot = &snapshot
	return table
}

// colleague makes another worker beside the rig's, on the same table.
func (r *rig) colleague(id int) *rig {
	r.t.Helper()
	umem, err := xsk.NewUmem(1024)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { umem.Close() })
	c := &rig{t: r.t, kernel: r.kernel, lane: journal.New(uint16(id), journal.NewOutlet(nil))}
	config := r.w.config
	config.ID, config.Journal, config.Resolver = id, c.lane, &c.resolver
	c.w = &Worker{config: config, umem: umem, wake: -1, active: true, now: r.w.now, snapshot: r.w.snapshot}
	var ports []*Port
	for _, s := range r.w.shares {
		ports = append(ports, s.Port)
	}
	c.w.addPorts(ports)
	return c
}

// turnWith takes frames through the path as one turn does.
func (r *rig) turnWith(port packet.PortID, frames ...[]byte) {
	r.w.recorder.Begin()
	r.feed(port, frames...)
	r.lane.Flush()
	r.w.recorder.Pause()
}

// biography follows the events of one tuple: what the connection is after the last one.
type biography struct {
	alive       bool
	incarnation conntrack.Incarnation
	tcp         conntrack.TCPState
	flags       conntrack.Flags
}

// account follows all tuples, and says of every event what does not follow from those
// before it: that something is missing, is told twice, or out of order.
type account struct {
	t              *testing.T
	lives          map[packet.Tuple]*biography
	begun, changed int
	ended          map[conntrack.EndReason]int
}

func newAccount(t *testing.T) *account {
	return &account{t: t, lives: map[packet.Tuple]*biography{}, ended: map[conntrack.EndReason]int{}}
}

func (a *account) take(events []Event) {
	for i := range events {
		e := &events[i]
		b := a.lives[e.Original]
		if b == nil {
			b = &biography{}
			a.lives[e.Original] = b
		}
		wrong := ""
		switch e.Kind {
		case EventNew:
			a.begun++
			if b.alive {
				wrong = "began twice"
			}
			*b = biography{true, e.Incarnation, e.TCP, e.Flags}
		case EventChange:
			a.changed++
			if !b.alive || b.incarnation != e.Incarnation || b.tcp != e.WasTCP || b.flags != e.WasFlags {
				wrong = "does not follow"
			}
			if e.TCP == e.WasTCP && e.Flags == e.WasFlags {
				wrong = "no change"
			}
			b.tcp, b.flags = e.TCP, e.Flags
		case EventEnd:
			a.ended[e.Why]++
			if !b.alive || b.tcp != e.TCP || b.flags != e.Flags || e.Incarnation != b.incarnation && e.Incarnation != 0 {
				wrong = "end of another"
			}
			b.alive = false
		default:
			wrong = "no kind"
		}
		if wrong != "" {
			a.t.Errorf("%s: %+v after %+v", wrong, *e, *b)
		}
	}
}

func (a *account) ends() (n int) {
	for _, k := range a.ended {
		n += k
	}
	return n
}

// script is what is sent for a connection: TCP segments that open it, close it and open
// it again, by the client's port.
func script(t *testing.T) (opening, closing, again [][2]any) {
	c := func(flags string, seq, ack uint32) [2]any {
		return [2]any{lan, fromClient(packetIn{dport: 80, flags: flags, seq: seq, ack: ack}).frame(t)}
	}
	s := func(flags string, seq, ack uint32) [2]any {
		return [2]any{wan, fromServer(packetIn{sport: 80, flags: flags, seq: seq, ack: ack}).frame(t)}
	}
	opening = [][2]any{c("S", 100, 0), s("SA", 500, 101), c("A", 101, 501)}
	closing = [][2]any{c("FA", 101, 501), s("FA", 501, 102), c("A", 102, 502)}
	again = [][2]any{c("S", 900_000, 0), s("SA", 1_700_000, 900_001), c("A", 900_001, 1_700_001)}
	return opening, closing, again
}

// say sends one segment of the script for the connection from a client's port. Its
// checksum is wrong and stays so (A4).
func (r *rig) say(segment [2]any, port uint16) {
	frame := slices.Clone(segment[1].([]byte))
	if segment[0] == lan {
		binary.BigEndian.PutUint16(frame[34:], port)
	} else {
		binary.BigEndian.PutUint16(frame[36:], port)
	}
	r.turnWith(segment[0].(packet.PortID), frame)
}

// TestO4_EventsExactlyOnce: three workers, each of which sees any segment of any connection,
// create, change, re-open and end connections, and a kill runs beside the sweep. Every
// event follows from the one before it, none is missing and none told twice.
func TestO4_EventsExactlyOnce(t *testing.T) {
	const conns, first = 600, 10_000
	r := newRig(t)
	table := r.table(2 * conns)
	r.w.config.Workers = 3
	workers := []*rig{r, r.colleague(1), r.colleague(2)}
	var kill Recorder
	producers := []*Recorder{&kill}
	for _, w := range workers {
		producers = append(producers, w.w.Events())
	}
	g := NewGatherer(producers)
	a := newAccount(t)
	gather := func() {
		events, shed := g.Gather()
		if a.take(events); shed != 0 {
			t.Errorf("%d events shed", shed)
		}
	}
	// beside runs every part in a goroutine of its own, and gathers meanwhile.
	beside := func(parts ...func()) {
		done := make(chan struct{})
		var all sync.WaitGroup
		for _, p := range parts {
			all.Go(p)
		}
		go func() { all.Wait(); close(done) }()
		for running := true; running; {
			select {
			case <-done:
				running = false
			case <-time.After(200 * time.Microsecond):
			}
			gather()
		}
		gather() // the cut lies behind everything now
		gather()
	}
	// played sends the segments of every connection by all workers, each in its own order
	// of connections, three times: what comes too early is dropped and comes again.
	played := func(segments [][2]any, chosen func(i int) bool) {
		parts := []func(){}
		for k, w := range workers {
			parts = append(parts, func() {
				rng := rand.New(rand.NewPCG(uint64(k), 7))
				for range 3 {
					for _, i := range rng.Perm(conns) {
						if chosen(i) {
							for _, s := range segments {
								w.say(s, uint16(first+i))
							}
						}
					}
				}
			})
		}
		beside(parts...)
	}
	opening, closing, again := script(t)
	played(opening, func(int) bool { return true })
	// Segments that come again may open a connection again: one life ends, another begins.
	if table.Len() != conns || a.begun-a.ends() != conns || a.changed < 2*conns {
		t.Errorf("%d connections: %d told as new, %d changes, %d ends", table.Len(), a.begun, a.changed, a.ends())
	}
	played(closing, func(i int) bool { return i%2 == 0 })
	replaced := a.ended[conntrack.EndReplaced]
	played(again, func(i int) bool { return i%4 == 0 })
	if a.ended[conntrack.EndReplaced] < replaced+conns/4 || a.begun-a.ends() != table.Len() {
		t.Errorf("%d in the table, %d told as new, ended: %v", table.Len(), a.begun, a.ended)
	}

	killed, now := 0, r.w.now
	choice := conntrack.Choice{Conn: func(v *conntrack.View) bool { return v.Original.SrcPort%3 == 0 }}
	table.KillEach(0, 1<<31, now, table.Latest(), &choice)
	sweeps := []func(){func() {
		reaped := make([]conntrack.Reaped, 64)
		for from, more := uint32(0), true; more; {
			kill.Begin()
			next, n := table.Reap(from, 64, now, reaped, nil)
			for i := range reaped[:n] {
				kill.End(&reaped[i].State, conntrack.EndKilled, now)
			}
			kill.Pause()
			killed += n
			from, more = next, next != 0
		}
	}}
	for _, w := range workers {
		sweeps = append(sweeps, func() {
			for range 200 {
				w.w.recorder.Begin()
				w.w.now += int64(time.Hour)
				w.w.sweep()
				w.w.recorder.Pause()
			}
		})
	}
	beside(sweeps...)
	expired := 0
	for _, w := range workers {
		expired += int(w.w.Ends(conntrack.EndExpired))
	}
	if table.Len() != 0 || a.begun != a.ends() || killed == 0 || a.ended[conntrack.EndKilled] != killed ||
		expired == 0 || a.ended[conntrack.EndExpired] != expired {
		t.Errorf("%d in the table, %d told as new, %d killed, %d expired, told as ended: %v", table.Len(), a.begun, killed, expired, a.ended)
	}
	if len(g.held) != 0 {
		t.Errorf("%d events were never told", len(g.held))
	}
	g.Stop()
	r.say(opening[0], first)
	if gather(); a.begun != a.ends() {
		t.Error("told after the end")
	}
}

// The events of a connection come in their order although its workers record them in
// another one; what may still be preceded by something waits for the workers to pause.
func TestO4_EventsInOrderAcrossWorkers(t *testing.T) {
	var a, b Recorder
	g := NewGatherer([]*Recorder{&a, &b})
	state := conntrack.State{Incarnation: 7<<16 | 1, Original: packet.Tuple{Proto: packet.UDP, SrcPort: 1}}
	res := func(change conntrack.Change, was, is conntrack.Flags) *conntrack.Result {
		s := state
		s.Flags = is
		return &conntrack.Result{Change: change, WasFlags: was, Flags: is, State: s}
	}
	a.Begin() // a has inserted it, and is about to say so
	b.Begin()
	b.Packet(res(conntrack.ChangeUpdate, 0, conntrack.Replied), 2)
	b.Pause()
	for range 3 {
		if got, _ := g.Gather(); len(got) != 0 {
			t.Fatalf("told %+v while its beginning was not recorded", got)
		}
	}
	b.Begin()
	last := res(conntrack.ChangeNone, 0, conntrack.Replied|conntrack.Assured)
	b.End(&last.State, conntrack.EndExpired, 4)
	b.Packet(res(conntrack.ChangeUpdate, conntrack.Replied, conntrack.Replied), 3) // seen by the peers only
	a.Packet(res(conntrack.ChangeUpdate, conntrack.Replied, conntrack.Replied|conntrack.Assured), 3)
	a.Packet(res(conntrack.ChangeNew, 0, 0), 1)
	a.Pause()
	b.Pause()
	var kinds []EventKind
	for range 3 {
		got, _ := g.Gather()
		for _, e := range got {
			kinds = append(kinds, e.Kind)
			if e.At != int64(len(kinds)) {
				t.Errorf("event %d is of %d", len(kinds), e.At)
			}
		}
	}
	if !slices.Equal(kinds, []EventKind{EventNew, EventChange, EventChange, EventEnd}) {
		t.Errorf("told %v", kinds)
	}
}

// A gatherer that does not keep up loses events, and knows exactly how many.
func TestO4_EventsShedAreCounted(t *testing.T) {
	const conns = eventsMax + 1000
	r := newRig(t)
	r.table(2 * conns)
	g := NewGatherer([]*Recorder{r.w.Events()})
	frame := fromClient(packetIn{proto: packet.UDP, dport: 53, payload: 8}).frame(t)
	frame[40], frame[41] = 0, 0 // no checksum
	burst := make([][]byte, 50)
	for i := 0; i < conns; i += len(burst) {
		for k := range burst {
			burst[k] = slices.Clone(frame)
			binary.BigEndian.PutUint16(burst[k][34:], uint16(1024+i+k))
		}
		r.turnWith(lan, burst...)
	}
	inserted := r.w.snapshot.Table.Len()
	events, shed := g.Gather()
	delivered := len(events)
	events, more := g.Gather()
	delivered += len(events)
	if delivered != eventsMax || more != 0 || delivered+int(shed) != inserted || inserted < conns {
		t.Errorf("%d delivered and %d shed of %d", delivered, shed, inserted)
	}
}

// Nothing is allocated on the path while somebody watches, either.
func TestWatchedPathAllocatesNothing(t *testing.T) {
	r := newRig(t)
	g := NewGatherer([]*Recorder{r.w.Events()})
	syn, sport := fromClient(packetIn{dport: 80, flags: "S"}).frame(t), uint16(5000)
	b := &r.w.burst
	first := func() {
		r.w.recorder.Begin()
		b.in, b.n = r.w.shares[lan], r.w.umem.Alloc(b.desc[:4])
		for i := range b.n {
			buf := r.w.umem.Bytes(b.desc[i])
			b.desc[i].Len = uint32(copy(buf[:cap(buf)], syn))
			sport++
			binary.BigEndian.PutUint16(buf[34:36], sport)
		}
		r.w.forward(b)
		r.lane.Flush()
		r.discard()
		r.w.recorder.Pause()
	}
	first()
	if n := testing.AllocsPerRun(100, first); n != 0 {
		t.Errorf("%v allocations per burst of new connections", n)
	}
	g.Gather()
	if events, _ := g.Gather(); len(events) != r.w.snapshot.Table.Len() {
		t.Errorf("%d events of %d connections", len(events), r.w.snapshot.Table.Len())
	}
}
