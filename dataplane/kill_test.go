package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/internal/race"
	"holdfast/sync/wire"
)

// crowded gives the rig a table with count UDP connections, number i from port 1+i of the
// client by gateway 1 or 2, untranslated.
func (r *rig) crowded(count int) *conntrack.Table {
	r.t.Helper()
	table, err := conntrack.New(conntrack.Config{Capacity: uint32(2 * count), Node: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { table.Close() })
	snapshot := *r.snapshot.Load()
	snapshot.Table = table
	r.snapshot.Store(&snapshot)
	r.w.snapshot = &snapshot
	var p packet.Parsed
	var res conntrack.Result
	frame := fromClient(packetIn{proto: packet.UDP, sport: 1, dport: 53, payload: 8}).frame(r.t)
	for i := range count {
		binary.BigEndian.PutUint16(frame[34:], uint16(1+i))
		frame[40], frame[41] = 0, 0 // no checksum
		if why := packet.Decode(frame, &p); why != drop.Pass {
			r.t.Fatal(why)
		}
		pr := conntrack.Proposal{Original: p.Tuple, Reply: p.Tuple.Reply(), Class: conntrack.Class{Ingress: lan, Egress: wan, Gateway: uint8(1 + i%2)}}
		if got := table.Insert(&pr, &p, r.w.now, &res); got != conntrack.Inserted {
			r.t.Fatal(got, res.Reason)
		}
	}
	return table
}

// TestQ3_KillHalfUnderTraffic kills 20,000 of 40,000 connections by gateway while answers
// to all of them flow: from the moment the kill returns none of a killed connection passes,
// none of a living one is ever lost, the count is exact and the memory comes back.
func TestQ3_KillHalfUnderTraffic(t *testing.T) {
	count := 40_000
	if race.Enabled {
		count = 10_000
	}
	r := newRig(t)
	table := r.crowded(count)
	template := packetIn{from: server, to: client, fromMAC: macServer, toMAC: macWan, proto: packet.UDP, sport: 53, dport: 1, payload: 8}.frame(t)
	template[40], template[41] = 0, 0
	var frames [burstMax][]byte
	for i := range frames {
		frames[i] = slices.Clone(template)
	}

	var killed atomic.Bool
	done := make(chan int)
	begin := make(chan struct{})
	go func() {
		<-begin
		kill := table.Kill(func(c *conntrack.Class) bool { return c.Gateway == 1 }, 0)
		killed.Store(true)
		reaped := make([]conntrack.Reaped, 64)
		for from, more := uint32(0), true; more; more = from != 0 {
			from, _ = table.Reap(from, 1024, 1e12, reaped, nil)
		}
		done <- table.ReapedOf(&kill)
	}()

	rng := rand.New(rand.NewPCG(1, 2))
	passedLate, sent, after, n := 0, 0, 0, -1
	for round := 0; n < 0 || after < 50; round++ {
		if round == 20 {
			close(begin)
		}
		late := killed.Load() // before this burst came in
		living := 0
		for _, f := range frames {
			i := rng.IntN(count)
			living += i % 2
			binary.BigEndian.PutUint16(f[36:], uint16(1+i))
		}
		r.w.now += 1e5
		alive := 0
		for _, o := range r.feed(wan, frames[:]...) {
			if number := int(binary.BigEndian.Uint16(o.frame[36:])) - 1; number%2 == 1 {
				alive++
			} else if late {
				passedLate++
			}
		}
		if alive != living {
			t.Fatalf("round %d: %d of %d packets of living connections passed", round, alive, living)
		}
		r.w.sweep() // it reaps too
		sent += len(frames)
		select {
		case n = <-done:
		default:
		}
		if n >= 0 {
			after++
		}
	}
	if passedLate != 0 {
		t.Errorf("%d packets of killed connections passed", passedLate)
	}
	if n != count/2 || table.Len() != count/2 {
		t.Errorf("%d killed, %d left", n, table.Len())
	}
	t.Logf("%d packets", sent)
	r.lane.Flush()
	if n := r.told(wire.TypeDelete); n != 0 {
		t.Errorf("the worker told the peers of %d ends, and the kill tells of all", n)
	}
}

// told counts the messages of a type that the worker has told the peers.
func (r *rig) told(what wire.Type) (n int) {
	r.t.Helper()
	for number := r.lane.Oldest(); number <= r.lane.Sent(); number++ {
		b, ok := r.lane.Batch(number, nil)
		_, body, err := wire.DecodeHeader(b)
		if !ok || err != nil {
			r.t.Fatal(number, ok, err)
		}
		var f wire.Frame
		for frames := (wire.Frames{Rest: body}); frames.Next(&f); {
			if f.Type == what {
				n++
			}
		}
	}
	return n
}

// aborted returns the resets and errors that leave in one turn, by port.
func (r *rig) aborted() (all []out) {
	r.w.makeAborts()
	return r.take()
}

// TestQ1_AbortsAreExact: each end of a translated connection gets its reset with the
// addresses and numbers that it knows, and two where data is on its way to it.
func TestQ1_AbortsAreExact(t *testing.T) {
	r := newRig(t)
	first := r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 99}).frame(t))
	if len(first) != 1 {
		t.Fatal(r.dropped(lan))
	}
	port := binary.BigEndian.Uint16(first[0].frame[34:])
	r.feed(wan, fromServer(packetIn{sport: 80, dport: port, flags: "SA", seq: 499, ack: 100}).frame(t))
	r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "A", seq: 100, ack: 500}).frame(t))
	r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "PA", seq: 100, ack: 500, payload: 10}).frame(t))
	table := r.w.snapshot.Table
	reaped := make([]conntrack.Reaped, 4)
	table.KillEach(0, 10, r.w.now, table.Latest(), new(conntrack.Choice))
	if _, n := table.Reap(0, 10, r.w.now, reaped, nil); n != 1 {
		t.Fatal(n)
	}
	a, ok := AbortOf(&reaped[0], Reset)
	if !ok || r.w.Abort([]Abort{a}) != 1 {
		t.Fatal("not taken")
	}
	type reset struct {
		port     packet.PortID
		dst      packet.Addr
		from, to uint16
		seq, ack uint32
	}
	var got []reset
	for _, o := range r.aborted() {
		var p packet.Parsed
		if why := packet.Decode(o.frame, &p); why != drop.Pass || p.TCPFlags&packet.FlagRST == 0 {
			t.Fatalf("%v: %+v", why, p)
		}
		got = append(got, reset{o.port, p.Tuple.Dst, p.Tuple.SrcPort, p.Tuple.DstPort, p.Seq, p.Ack})
	}
	want := []reset{
		{lan, client, 80, 4000, 500, 110},
		{wan, server, port, 80, 100, 500}, {wan, server, port, 80, 110, 500}, // ten bytes are on their way
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if a, ok = AbortOf(&reaped[0], Unreachable); !ok || r.w.Abort([]Abort{a}) != 1 {
		t.Fatal("not taken")
	}
	frames := r.aborted()
	if len(frames) != 1 || frames[0].port != lan || frames[0].frame[34] != 3 || frames[0].frame[35] != 13 {
		t.Errorf("%+v", frames)
	}
	udp := reaped[0]
	udp.State.Original.Proto = packet.UDP
	if _, ok := AbortOf(&udp, Reset); ok {
		t.Error("a reset for UDP")
	}
	if _, ok := AbortOf(&reaped[0], Silent); ok {
		t.Error("silent says something")
	}
}

// TestQ3_AbortsArePaced: the orders have a bound, a turn makes few of them and a second
// abortsRate, and a node that has lost the role makes none, and counts them.
func TestQ3_AbortsArePaced(t *testing.T) {
	r := newRig(t)
	tuple := packet.Tuple{Src: client, Dst: server, SrcPort: 1, DstPort: 2, Proto: packet.TCP}
	order := Abort{Manner: Reset, Original: tuple, Reply: tuple.Reply()}
	orders := slices.Repeat([]Abort{order}, abortsMax+10)
	if got := r.w.Abort(orders); got != abortsMax {
		t.Fatalf("%d taken", got)
	}
	if got := r.w.Abort(orders[:1]); got != 0 {
		t.Fatalf("%d taken by a full worker", got)
	}
	told, turns := 0, 0
	from := r.w.now
	for more := true; more && turns < 1e6; turns++ {
		more = r.w.makeAborts()
		n := r.discard()
		if told += n / 2; n > 2*abortsTurn {
			t.Fatalf("%d frames in one turn", n)
		}
		r.w.now += 1e5
	}
	if told != abortsMax || r.w.AbortsShed() != 0 {
		t.Errorf("%d told, %d shed", told, r.w.AbortsShed())
	}
	if took := time.Duration(r.w.now - from); took < time.Second*(abortsMax-abortsTurn)/abortsRate {
		t.Errorf("told in %v", took)
	}
	r.w.active = false
	r.w.Abort(orders[:5])
	for range 100 {
		r.w.now += 1e9
		r.w.makeAborts()
	}
	if r.discard() != 0 || r.w.AbortsShed() != 5 {
		t.Errorf("%d shed by a mute worker", r.w.AbortsShed())
	}
}
