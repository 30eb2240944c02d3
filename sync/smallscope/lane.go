package smallscope

import (
	"fmt"
	"slices"

	"holdfast/sync/journal"
	"holdfast/sync/peer"
	"holdfast/sync/wire"
)

// Lane is a scope of one stream: a sender with its backlog, a receiver, and a link that loses,
// overtakes and repeats. Its machines are journal.Journal and peer.Machine; lane.answer does
// what cluster.remote does with a request. What is on its way lies there until it is heard, in
// any order, or never: so every datagram may be lost, late, or overtaken.
//
//	sender   tell 1, tell 2, ...   hello   restart            hears: nack
//	receiver tick: what is missing and due is asked for       hears: hello, batch, lost
type Lane struct {
	Batches  int    // that are told, of all lives together
	Keeps    uint64 // batches of the backlog
	Holds    uint64 // batches past the next that the receiver looks at
	Ticks    int    // units of time, at most
	Flight   int    // datagrams on their way; those that are one too many are lost
	Twice    int    // datagrams that are heard again
	Restarts int    // of the sender
}

// tick is a unit of time of a stream, in ns: two beats of a reader. Each of the bounds in
// peer/wait.go is a whole number of them, or less than one.
const tick = int64(5e6)

// The steps of a stream.
const (
	laneTell uint8 = iota
	laneHello
	laneTick
	laneHear
	laneAgain // hear, and it comes once more
	laneRestart
)

// said is what a datagram says.
type said uint8

const (
	saysHello said = iota // so many were sent
	saysBatch
	saysResent // a batch, on request
	saysNack
	saysLost
)

// flying is a datagram on its way.
type flying struct {
	says        said
	life        uint64 // of the sender
	first, last uint64
}

// String says who hears what.
func (f flying) String() string {
	switch f.says {
	case saysHello:
		return fmt.Sprintf("the receiver hears hello of life %d: %d sent", f.life, f.last)
	case saysNack:
		return fmt.Sprintf("the sender hears that %d to %d of life %d are missing", f.first, f.last, f.life)
	case saysLost:
		return fmt.Sprintf("the receiver hears that before %d of life %d nothing is kept", f.first, f.life)
	case saysResent:
		return fmt.Sprintf("the receiver hears batch %d of life %d, sent again", f.first, f.life)
	}
	return fmt.Sprintf("the receiver hears batch %d of life %d", f.first, f.life)
}

// compare orders datagrams, so that it makes no difference in which order they were sent.
func (f flying) compare(o flying) int {
	for _, d := range [...]int{int(f.says) - int(o.says), int(f.life) - int(o.life), int(f.first) - int(o.first), int(f.last) - int(o.last)} {
		if d != 0 {
			return d
		}
	}
	return 0
}

// lane is a run of a Lane.
type lane struct {
	left Lane // what may still happen
	now  int64
	air  []flying // sorted, no two alike

	sender   *journal.Journal
	life     uint64
	receiver *peer.Machine
	session  uint64 // the newest life that the receiver has heard

	upTo  uint64 // every batch of the life that is followed has been applied to here, or given up
	given bool   // some of it was given up
	hello uint64 // what its first hello said
	err   error
	body  []byte
	nacks []peer.Range
	how   *plan
}

// Scope returns it for Search.
func (l Lane) Scope(name string, depth int) Scope {
	what := fmt.Sprintf("stream of a peer: %d batches, a backlog of %d, a receiver that looks %d ahead, %d units of time, %d datagrams on their way, %d heard twice, %d restarts of the sender",
		l.Batches, l.Keeps, l.Holds, l.Ticks, l.Flight, l.Twice, l.Restarts)
	how := newPlan(manners{
		"Machine": {
			"clock": idle, "known": idle, "time": idle, "free": idle, "made": idle,
			"Delivered": idle, "Duplicate": idle, "Early": idle, "Shed": idle, "Asked": idle, "Gone": idle,
		},
		"lane":     {"progress": absolute},
		"slot":     {"missed": absolute, "known": absolute, "asked": absolute, "overtaken": absolute},
		"lateness": {"begun": idle}, // no epoch ends in a scope
	})
	return Scope{Name: name, What: what, Depth: depth, New: func() World { return newLane(l, how) }}
}

// noLinks is where the journals of small scopes send: what they have told is taken from
// their backlog.
var noLinks = journal.NewOutlet(nil)

func newLane(l Lane, how *plan) *lane {
	// The machine's own time, which stops where its driver does, is that of the world.
	w := &lane{left: l, now: 2 * tick, life: 1, sender: journal.NewKeeping(l.Keeps, 0, noLinks), how: how}
	w.receiver = peer.NewHolding(l.Holds, w.apply, tick)
	w.receiver.Nacks(w.now, nil)
	return w
}

// Close is part of World.
func (w *lane) Close() {}

// Steps is part of World.
func (w *lane) Steps(dst []Step) []Step {
	if w.left.Ticks == 0 {
		return dst
	}
	dst = append(dst, Step{Act: laneTick})
	if w.left.Batches > 0 {
		dst = append(dst, Step{Act: laneTell})
	}
	if _, there := slices.BinarySearchFunc(w.air, w.greeting(), flying.compare); !there {
		dst = append(dst, Step{Act: laneHello})
	}
	for i := range w.air {
		dst = append(dst, Step{Act: laneHear, A: uint8(i)})
		if w.left.Twice > 0 {
			dst = append(dst, Step{Act: laneAgain, A: uint8(i)})
		}
	}
	if w.left.Restarts > 0 {
		dst = append(dst, Step{Act: laneRestart})
	}
	return dst
}

// Take is part of World.
func (w *lane) Take(s Step) error {
	w.err = nil
	switch s.Act {
	case laneTell:
		w.left.Batches--
		w.tell()
	case laneHello:
		w.send(w.greeting())
	case laneTick:
		w.left.Ticks--
		w.now += tick
		w.ask()
	case laneAgain:
		w.left.Twice--
		w.hear(w.air[s.A])
	case laneHear:
		f := w.air[s.A]
		w.air = slices.Delete(w.air, int(s.A), int(s.A)+1)
		w.hear(f)
	case laneRestart:
		w.left.Restarts--
		w.life++
		w.sender = journal.NewKeeping(w.left.Keeps, 0, noLinks)
	}
	w.watch()
	return w.err
}

// law notes that one does not hold.
func (w *lane) law(name, format string, args ...any) {
	if w.err == nil {
		w.err = broken(name, format, args...)
	}
}

func (w *lane) greeting() flying { return flying{says: saysHello, life: w.life, last: w.sender.Sent()} }

// send puts a datagram on its way, if there is room for it.
func (w *lane) send(f flying) {
	at, there := slices.BinarySearchFunc(w.air, f, flying.compare)
	if !there && len(w.air) < w.left.Flight {
		w.air = slices.Insert(w.air, at, f)
	}
}

// tell makes the next batch. It says its number, so that it can be told what is applied.
func (w *lane) tell() {
	w.sender.TransferEnd(&wire.TransferEnd{ID: uint32(w.life<<16 | (w.sender.Sent() + 1)), Cut: 1})
	w.sender.Flush()
	w.send(flying{says: saysBatch, life: w.life, first: w.sender.Sent()})
}

// hear takes in a datagram at its far end.
func (w *lane) hear(f flying) {
	if f.says == saysNack {
		if f.life == w.life { // else it does not open
			w.answer(f.first, f.last)
		}
		return
	}
	if f.life < w.session {
		return // cluster.remote.datagram
	}
	w.session = f.life
	switch f.says {
	case saysHello:
		if m := w.receiver; m.Phase() != peer.Stream || m.Boot() != f.life {
			w.upTo, w.given, w.hello = 0, false, f.last
		}
		if err := w.receiver.Hello(f.life, []uint64{f.last}); err != nil {
			w.law("HELLO", "%v", err)
		}
	case saysBatch, saysResent:
		w.batch(f)
	case saysLost:
		if w.receiver.Boot() == f.life && f.first > w.upTo+1 {
			w.upTo, w.given = f.first-1, true
		}
		w.receiver.Lost(0, f.first)
	}
	w.ask()
}

// batch takes in a batch as it left its sender, which may have forgotten it since.
func (w *lane) batch(f flying) {
	if w.receiver.Phase() != peer.Stream || w.receiver.Boot() != f.life {
		return // of a life whose hello has not come yet
	}
	end := wire.TransferEnd{ID: uint32(f.life<<16 | f.first), Cut: 1}
	how := peer.First
	if f.says == saysResent {
		how = peer.Again
	}
	if err := w.receiver.Batch(w.now, 0, f.first, how, end.Append(nil)); err != nil {
		w.law("BATCH", "%v", err)
	}
}

// answer is cluster.remote.onNack.
func (w *lane) answer(first, last uint64) {
	if oldest := w.sender.Oldest(); first < oldest {
		w.send(flying{says: saysLost, life: w.life, first: oldest})
		return
	}
	for seq := first; seq <= min(last, w.sender.Sent()); seq++ {
		body, kept := w.sender.Batch(seq, w.body[:0])
		w.body = body
		if h, _, err := wire.DecodeHeader(body); !kept || err != nil || h.Sequence != seq {
			w.law("BACKLOG", "batch %d of %d is to be there and is not", seq, w.sender.Sent())
			return
		}
		w.send(flying{says: saysResent, life: w.life, first: seq})
	}
}

// ask sends what the receiver asks for now.
func (w *lane) ask() {
	w.nacks = w.receiver.Nacks(w.now, w.nacks[:0])
	for _, r := range w.nacks {
		if r.First <= w.upTo || r.Last < r.First {
			w.law("ASK", "batches %d to %d are asked for, and %d is applied", r.First, r.Last, w.upTo)
		}
		w.send(flying{says: saysNack, life: w.receiver.Boot(), first: r.First, last: r.Last})
	}
}

// apply is peer.Deliver.
func (w *lane) apply(_ uint16, body []byte) {
	var f wire.Frame
	var e wire.TransferEnd
	frames := wire.Frames{Rest: body}
	if !frames.Next(&f) || e.Decode(&f) != nil {
		w.law("ORDER", "what is applied was never told")
		return
	}
	w.upTo++
	if seq := w.receiver.Next(0); seq != w.upTo || e.ID != uint32(w.receiver.Boot()<<16|seq) {
		w.law("ORDER", "batch %d of life %d is applied as %d, and %d is next", e.ID&0xffff, e.ID>>16, seq, w.upTo)
	}
}

// watch checks what the receiver says of itself.
func (w *lane) watch() {
	var acks [1]uint64
	if w.receiver.Acks(acks[:]) == 1 && acks[0] > w.upTo {
		w.law("ACK", "batch %d is acknowledged, and only %d is applied", acks[0], w.upTo)
	}
	if whole, _ := w.receiver.Complete(); whole && (w.given || w.upTo < w.hello) {
		w.law("WHOLE", "the stream counts as whole with %d of the %d batches of its hello, some given up: %v", w.upTo, w.hello, w.given)
	}
}

// Fingerprint is part of World.
func (w *lane) Fingerprint() uint64 {
	p := print{now: w.now, old: int64(1e12)}
	l := &w.left
	for _, n := range []int{l.Batches, l.Ticks, l.Twice, l.Restarts} {
		p.number(n)
	}
	p.of(w.how, w.receiver)
	for _, n := range []uint64{w.sender.Sent(), w.life, w.session, w.upTo, w.hello} {
		p.word(n)
	}
	p.flag(w.given)
	for _, f := range w.air {
		p.number(int(f.says))
		p.word(f.life)
		p.word(f.first)
		p.word(f.last)
	}
	return p.sum
}

// settleTicks is how long a stream may take until everything is there: one wait for an answer
// that does not come at all (half a second), and one more.
const settleTicks = int(1100e6 / tick)

// Settle is part of World: what is on its way is lost, and nothing is lost any more. Then all
// comes, or is given up with a word.
func (w *lane) Settle() error {
	w.air, w.left.Flight = nil, 1<<10
	w.err = nil
	for range settleTicks {
		w.now += tick
		w.hear(w.greeting())
		for len(w.air) > 0 && w.err == nil {
			f := w.air[0]
			w.air = slices.Delete(w.air, 0, 1)
			w.hear(f)
		}
		if w.watch(); w.err != nil {
			return w.err
		}
		if w.upTo == w.sender.Sent() {
			break
		}
	}
	if w.upTo != w.sender.Sent() || w.receiver.Behind() != 0 {
		return broken("LIV3", "%d of %d batches have come, and the receiver knows of %d more", w.upTo, w.sender.Sent(), w.receiver.Behind())
	}
	if whole, why := w.receiver.Complete(); whole == w.given {
		return broken("LIV2", "whole: %v (%s), and some was given up: %v", whole, why, w.given)
	}
	return nil
}

// Say is part of World.
func (w *lane) Say(s Step) string {
	at := fmt.Sprintf("%d ms: ", w.now/1e6)
	switch s.Act {
	case laneTell:
		return at + fmt.Sprintf("batch %d of life %d is told", w.sender.Sent()+1, w.life)
	case laneHello:
		return at + fmt.Sprintf("the sender says hello: %d sent", w.sender.Sent())
	case laneTick:
		return at + "time passes"
	case laneRestart:
		return at + "the sender is started again"
	}
	f := w.air[s.A]
	again := ""
	if s.Act == laneAgain {
		again = ", which comes once more"
	}
	return at + f.String() + again
}
