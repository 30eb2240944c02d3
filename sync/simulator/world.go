package simulator

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"holdfast/sync/seal"
)

// World is one run of a schedule.
type World struct {
	schedule Schedule
	shape    Shape
	rng      *rand.Rand // of the nodes and their workers; every link has its own
	keys     []seal.Key

	now    int64 // ns since the world's begin
	order  uint64
	events events
	trace  uint64 // hash of everything that was sent and delivered
	err    error  // the first broken invariant

	nodes []*node
	links [][]*link   // [from][to]
	more  [][][]*link // [path-1][from][to]
	flows []*flow
	third *third // the witness; nil: there is none

	burst     bool // more packets come in the turn that a worker takes now
	datagrams uint64
	steps     uint64
	tap       *tap                        // nil: nobody listens
	tell      func(at int64, line string) // nil: nobody listens
	opened    map[uint64]bool             // numbers of sealed datagrams that were believed
	counters  map[recordKey]sealing
	law       law
}

// Result is what became of a schedule.
type Result struct {
	Err       error  // the first invariant that did not hold, nil: all did
	Trace     uint64 // the same for every run of one schedule
	Events    uint64
	Datagrams uint64
	Took      int64 // virtual ns
	Compared  bool  // the tables had to be equal at the end: every node was ready
	Split     bool  // two nodes served at once
	Passed    int   // packets that went through
	Failovers int
}

// Broken is an invariant that did not hold.
type Broken struct {
	Invariant string // as docs/simulator.md names it
	At        int64  // virtual ns
	What      string
}

// Error returns one line.
func (b *Broken) Error() string {
	return fmt.Sprintf("%s broken at %.3f ms: %s", b.Invariant, float64(b.At)/1e6, b.What)
}

// broken notes that an invariant does not hold. Only the first counts: it is the cause.
func (w *World) broken(invariant, format string, args ...any) {
	if w.err == nil {
		w.err = &Broken{Invariant: invariant, At: w.now, What: fmt.Sprintf(format, args...)}
	}
}

// event is something that happens at a time. Among those of one instant the order in which
// they were planned holds.
type event struct {
	at    int64
	order uint64
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return x
}

// at plans an event.
func (w *World) at(t int64, do func()) {
	w.order++
	heap.Push(&w.events, event{max(t, w.now), w.order, do})
}

// note puts something into the trace.
func (w *World) note(kind byte, who int, bytes []byte) {
	h := fnv.New64a()
	var b [26]byte
	for i := range 8 {
		b[i], b[8+i] = byte(w.trace>>(8*i)), byte(w.now>>(8*i))
	}
	b[16], b[17] = kind, byte(who)
	h.Write(b[:])
	h.Write(bytes)
	w.trace = h.Sum64()
}

// link returns the network between two nodes.
func (w *World) link(from, to int) *link { return w.links[from][to] }

// say tells a listener what happens.
func (w *World) say(format string, args ...any) {
	if w.tell != nil {
		w.tell(w.now, fmt.Sprintf(format, args...))
	}
}

// Run runs a schedule to its end, or to the first invariant that does not hold. tell, if
// not nil, hears what happens. It returns an error only where the world could not be made.
func Run(s Schedule, tell func(at int64, line string)) (Result, error) {
	w := newWorld(s)
	defer w.end()
	w.tell = tell
	return w.play()
}

// end gives back the memory of the nodes.
func (w *World) end() {
	for _, n := range w.nodes {
		n.bury()
	}
}

// play starts the nodes and takes the schedule's steps.
func (w *World) play() (Result, error) {
	if w.third != nil {
		if err := w.third.start(); err != nil {
			return Result{}, err
		}
	}
	for _, n := range w.nodes {
		if err := n.start(); err != nil {
			return Result{}, err
		}
	}
	for _, x := range w.schedule.Steps {
		w.at(x.At, func() { w.begin(x) })
	}
	w.run()
	return Result{
		Err: w.err, Trace: w.trace, Events: w.steps, Datagrams: w.datagrams, Took: w.now, Compared: w.law.compared,
		Split: w.law.split, Passed: w.law.passed, Failovers: max(0, w.law.promotions-1),
	}, nil
}

// newWorld makes a world whose nodes have not been started.
func newWorld(s Schedule) *World {
	w := &World{
		schedule: s, shape: s.Shape, rng: rand.New(rand.NewPCG(s.Seed, 1)),
		opened: map[uint64]bool{}, counters: map[recordKey]sealing{},
	}
	w.law.begin(w)
	w.keys = []seal.Key{{0: 1, 31: byte(s.Seed)}}
	for from := range s.Shape.Nodes {
		row := make([]*link, s.Shape.Nodes)
		for to := range row {
			row[to] = &link{world: w, from: from, to: to, rng: rand.New(rand.NewPCG(s.Seed, uint64(100+10*from+to)))}
		}
		w.links = append(w.links, row)
	}
	w.lay()
	for i := range s.Shape.Nodes {
		w.nodes = append(w.nodes, &node{world: w, id: i, drift: w.rng.Int64N(1001) - 500, base: 1000*second + w.rng.Int64N(1000*second)})
	}
	if s.Shape.Witness {
		w.third = newThird(w)
	}
	for i := range s.Shape.Flows {
		w.flows = append(w.flows, newFlow(w, i))
	}
	return w
}

// calm is how long the nodes have to come right once the faults have stopped.
const calm = 5 * second

// run takes the events in order until the world has come right or its time is over.
func (w *World) run() {
	look := w.shape.End + 200*ms
	for w.err == nil && len(w.events) > 0 {
		e := heap.Pop(&w.events).(event)
		if e.at >= look {
			w.now = look
			verdict := w.law.alive(w)
			if verdict == nil || w.err != nil {
				return
			}
			if look-w.shape.End > calm {
				w.broken(verdict.Invariant, "%v after the last fault: %s", calm/second, verdict.What)
				return
			}
			look += 100 * ms
			heap.Push(&w.events, e)
			continue
		}
		w.now = e.at
		w.steps++
		e.do()
		w.law.hold(w)
	}
}
