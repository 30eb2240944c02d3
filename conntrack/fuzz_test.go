package conntrack

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/dataplane/packet"
)

// FuzzTable does what TestTwin does, led by the input instead of a seed.
func FuzzTable(f *testing.F) {
	f.Add([]byte("a table and its twin"))
	f.Fuzz(func(t *testing.T, data []byte) {
		source := byteSource{data: data}
		r := rand.New(&source)
		table := newTable(t, Config{Capacity: 200, Node: 3})
		w := &twin{byTuple: map[packet.Tuple]*twinConn{}, conns: map[uint32]*twinConn{}}
		now := int64(time.Hour)
		for len(source.data) > 0 {
			now += r.Int64N(int64(100 * time.Millisecond))
			twinStep(t, r, table, w, now)
		}
		if table.Len() != len(w.conns) {
			t.Fatalf("%d connections, the twin has %d", table.Len(), len(w.conns))
		}
	})
}

// byteSource is a source of random numbers that are not: two bytes of the input each,
// spread over the word. It counts on, since rand draws again what does not suit it.
type byteSource struct {
	data  []byte
	drawn uint64
}

func (s *byteSource) Uint64() uint64 {
	var b [2]byte
	s.data = s.data[copy(b[:], s.data):]
	s.drawn++
	return (uint64(binary.LittleEndian.Uint16(b[:]))<<8 + s.drawn) * 0x9e3779b97f4a7c15
}

// FuzzTrack leads two tables through a life: packets of a few connections, time, kills,
// evictions, sweeps, and failovers. Each operation takes six bytes.
//
//	0         1          2       3          4          5
//	+---------+----------+-------+----------+----------+----------+
//	| what    | which    | flags | sequence | acknowl. | window   |
//	+---------+----------+-------+----------+----------+----------+
//
// What holds: no panic; a connection is there exactly when it must be; what a packet did
// not make due did not change in the exported form; every exported form is one that a peer
// accepts, and gives the same again there.
func FuzzTrack(f *testing.F) {
	op := func(b ...byte) []byte { return append(b, make([]byte, 6-len(b))...) }
	join := func(ops ...[]byte) (all []byte) {
		for _, o := range ops {
			all = append(all, o...)
		}
		return all
	}
	syn, synAck, ack, fin, rst := op(0, 0, 0), op(0, 1, 1), op(0, 0, 2), op(0, 0, 3), op(0, 0, 5)
	f.Add(join(syn, synAck, ack, op(0, 1, 2, 100), op(4, 0), op(5, 40), fin, op(0, 1, 3), op(4, 0)))
	f.Add(join(syn, op(4, 0), synAck, op(4, 0), ack, rst, syn, op(6, 0), op(6, 1), op(6, 2), op(6, 3)))
	f.Add(join(op(0, 4), op(0, 5), op(5, 60), op(0, 4), op(4), op(0, 8), op(0, 9), op(0, 12), op(6, 2)))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLife(t)
		for len(data) >= 6 {
			l.step([6]byte(data))
			data = data[6:]
		}
		l.check()
	})
}

// lives is two tables, of which one is in use, and what the obvious table would hold.
type lives struct {
	t       *testing.T
	tables  [2]*Table
	use     int
	now     int64
	byTuple map[packet.Tuple]*livesConn
	next    [lifeConns][2]uint32 // sequence numbers of the TCP connections
	result  Result
	applied Applied
}

type livesConn struct {
	tuple [2]packet.Tuple
	class Class
	dead  bool
}

// The connections: TCP, TCP translated, UDP, ICMP, SCTP, UDP over IPv6.
const lifeConns = 6

func newLife(t *testing.T) *lives {
	l := &lives{t: t, now: int64(time.Hour), byTuple: map[packet.Tuple]*livesConn{}}
	for i := range l.tables {
		l.tables[i] = newTable(t, Config{Capacity: 4, Node: uint16(i + 1)})
	}
	return l
}

// proposal returns how a connection would begin.
func (l *lives) proposal(k int) Proposal {
	var pr Proposal
	switch k {
	case 0:
		pr = proposalFor(tuple(packet.TCP, "10.0.0.2", 40000, "198.51.100.7", 80))
	case 1:
		pr = proposalFor(tuple(packet.TCP, "10.0.0.2", 40001, "198.51.100.7", 80))
		pr.Reply = tuple(packet.TCP, "198.51.100.7", 80, "203.0.113.2", 50001)
	case 2:
		pr = proposalFor(tuple(packet.UDP, "10.0.0.2", 40002, "198.51.100.7", 53))
	case 3:
		pr = proposalFor(tuple(packet.ICMP, "10.0.0.2", 7, "198.51.100.7", 8<<8))
		pr.Reply = tuple(packet.ICMP, "198.51.100.7", 7, "10.0.0.2", 0)
	case 4:
		pr = proposalFor(tuple(packet.SCTP, "10.0.0.2", 40004, "198.51.100.7", 38412))
	default:
		pr = proposalFor(tuple(packet.UDP, "2001:db8::2", 40005, "2001:db8:9::7", 53))
	}
	pr.Rule, pr.Mode = uint32(k), Mode(k%2)*ModeLiberal
	return pr
}

var lifeFlags = []packet.TCPFlags{
	packet.FlagSYN, packet.FlagSYN | packet.FlagACK, packet.FlagACK, packet.FlagFIN | packet.FlagACK,
	packet.FlagPSH | packet.FlagACK, packet.FlagRST, packet.FlagRST | packet.FlagACK,
}

// step does one operation.
func (l *lives) step(op [6]byte) {
	table := l.tables[l.use]
	switch op[0] % 8 {
	default:
		l.packet(op)
	case 4:
		l.failover()
	case 5:
		l.now += int64(time.Millisecond) << (op[1] % 32)
	case 6:
		l.end(op[1])
	case 7:
		class := uint32(op[1]) % lifeConns
		match := func(c *Class) bool { return c.Rule == class }
		table.Kill(match, 0)
		for _, c := range l.byTuple {
			c.dead = c.dead || match(&c.class)
		}
	}
}

// packet sends one, and begins a connection with it where there is none.
func (l *lives) packet(op [6]byte) {
	t, table := l.t, l.tables[l.use]
	k, dir := int(op[1]>>1)%lifeConns, Direction(op[1]&1)
	pr := l.proposal(k)
	p := parsed([]packet.Tuple{pr.Original, pr.Reply}[dir], 0)
	if p.Tuple.Proto == packet.TCP {
		l.segment(&p, k, dir, op)
	} else if p.Tuple.Proto == packet.SCTP {
		p.Chunks, p.Seq, p.Ack = packet.SCTPChunks(1)<<(op[2]%15), uint32(op[3]), uint32(op[4])
	}
	if dir == Reply { // if it opens one it is of the other side
		pr.Original, pr.Reply = pr.Reply, pr.Original
	}
	hits := make([]Hit, 1)
	table.Lookup([]packet.Parsed{p}, hits)
	have := l.byTuple[p.Tuple]
	var before, after State
	known := have != nil && !have.dead && hits[0].Found && table.Export(hits[0].Index, l.now, &before)
	switch out := table.Track(&p, &hits[0], l.now, &l.result); out {
	case OutcomeMiss:
		if l.result.Change == ChangeEnded {
			l.forget(&l.result.State)
		}
		if l.byTuple[p.Tuple] != nil {
			t.Fatalf("%v is not found", p.Tuple)
		}
		l.insert(&pr, &p)
	default:
		if have == nil || have.dead {
			t.Fatalf("%v: %v, and it is no connection", p.Tuple, out)
		}
		if out == OutcomeDrop && l.result.Change != ChangeNone {
			t.Fatalf("a dropped packet made change %v due", l.result.Change)
		}
		if !table.Export(hits[0].Index, l.now, &after) {
			t.Fatalf("%v cannot be exported", p.Tuple)
		}
		for d := range after.Dir { // a sender that overran its window counts as heard, and is not told (C11)
			if b, a := &before.Dir[d], &after.Dir[d]; a.End > b.End {
				b.End, b.MaxEnd, b.MaxAck = a.End, a.MaxEnd, a.MaxAck
			}
		}
		if before.Idle, after.Idle = 0, 0; known && l.result.Change == ChangeNone && before != after {
			t.Fatalf("%v flags %v seq %d ack %d len %d: %v, not due, and\n%+v became\n%+v", p.Tuple, p.TCPFlags, p.Seq, p.Ack, p.SegmentLen(), out, before, after)
		}
	}
}

// segment fills in a TCP segment: what would come next, moved by the bytes of the input.
func (l *lives) segment(p *packet.Parsed, k int, dir Direction, op [6]byte) {
	move := func(b byte) uint32 { // small, or far, to either side
		if b < 128 {
			return uint32(b)
		}
		return uint32(int32(int8(b))) << (b & 24)
	}
	p.TCPFlags = lifeFlags[int(op[2])%len(lifeFlags)]
	p.Seq, p.Ack = l.next[k][dir], l.next[k][dir^1]
	if op[3] > 128 {
		p.Seq += move(op[3])
	} else if p.TCPFlags&packet.FlagSYN == 0 {
		p.End += uint32(op[3]) * 10
	}
	p.Ack += move(op[4])
	p.SACKRight = p.Ack
	if op[5]&1 != 0 {
		p.SACKRight += uint32(op[5])
	}
	p.Window = uint16(op[5]) << 8
	if p.TCPFlags&packet.FlagSYN != 0 && op[5]&2 != 0 {
		p.TCPOptions, p.WScale = packet.HasWScale|packet.HasSACKPermitted, op[5]%15
	}
	if op[3] <= 128 || p.TCPFlags&packet.FlagSYN != 0 {
		l.next[k][dir] = p.Seq + p.SegmentLen()
	}
}

func (l *lives) insert(pr *Proposal, p *packet.Parsed) {
	t, table := l.t, l.tables[l.use]
	rival := l.byTuple[pr.Reply]
	switch out := table.Insert(pr, p, l.now, &l.result); out {
	case Inserted:
		if rival != nil {
			t.Fatalf("%v was inserted, its reply is taken", pr.Original)
		}
		c := &livesConn{tuple: [2]packet.Tuple{pr.Original, pr.Reply}, class: pr.Class}
		l.byTuple[pr.Original], l.byTuple[pr.Reply] = c, c
	case Refused:
		if why := MayOpen(p); why == l.result.Reason {
			return
		}
		t.Fatalf("refused: %v", l.result.Reason)
	case Full:
		if table.Len() != table.Capacity() {
			t.Fatalf("full with %d", table.Len())
		}
	case Clash:
		if rival == nil {
			t.Fatalf("%v clashes with nothing", pr.Reply)
		}
	default:
		t.Fatalf("insert of %v: %v", pr.Original, out)
	}
}

// forget notes that a connection has ended.
func (l *lives) forget(s *State) {
	c := l.byTuple[s.Original]
	if c == nil || c.tuple[Original] != s.Original || c.tuple[Reply] != s.Reply {
		l.t.Fatalf("%v ended, and was not there", s.Original)
	}
	delete(l.byTuple, s.Original)
	delete(l.byTuple, s.Reply)
}

// end ends something: what has expired or was killed, or what is worth least.
func (l *lives) end(how byte) {
	table := l.tables[l.use]
	var ended [8]Ended
	if how&1 != 0 {
		if table.Evict(l.now, &ended[0]) {
			l.forget(&ended[0].State)
		}
		return
	}
	_, n := table.Sweep(0, 100, l.now, []Grace{GraceOwner, GraceShadow}[how>>1&1], ended[:])
	for i := range ended[:n] {
		l.forget(&ended[i].State)
	}
	for _, c := range l.byTuple {
		if c.dead {
			l.t.Fatalf("%v is dead and was not swept", c.tuple[Original])
		}
	}
}

// failover tells the other table of everything, and goes on there.
func (l *lives) failover() {
	t, from, to := l.t, l.tables[l.use], l.tables[l.use^1]
	var old [8]Ended // the other table's memory of before is gone
	to.Kill(func(*Class) bool { return true }, 0)
	to.Sweep(0, 100, l.now, GraceOwner, old[:])
	to = newTable(t, Config{Capacity: 4, Node: uint16(l.use ^ 1 + 1)})
	l.tables[l.use^1] = to
	for _, c := range l.byTuple { // the dead are not told
		if c.dead {
			delete(l.byTuple, c.tuple[Original])
			delete(l.byTuple, c.tuple[Reply])
		}
	}
	var s, again State
	for i := range from.High() {
		if !from.Export(i, l.now, &s) {
			continue
		}
		if out := to.Apply(&s, l.now, &l.applied); out != AppliedNew {
			t.Fatalf("%+v is exported, and the peer says %v", s, out)
		}
		if !to.Export(l.applied.Index, l.now, &again) {
			t.Fatal("applied, and not there")
		}
		if again.Index = s.Index; again != s {
			t.Fatalf("%+v became\n%+v", s, again)
		}
		if out := to.Apply(&s, l.now, &l.applied); out != AppliedMerged {
			t.Fatalf("the same again: %v", out)
		}
	}
	l.use ^= 1
	l.check()
}

// check compares what can be seen with what must be there.
func (l *lives) check() {
	t, table := l.t, l.tables[l.use]
	var v View
	var s State
	alive := 0
	for i := range table.High() {
		seen, exported := table.View(i, l.now, &v), table.Export(i, l.now, &s)
		if seen != exported {
			t.Fatalf("view %v, export %v", seen, exported)
		}
		if !seen {
			continue
		}
		alive++
		c := l.byTuple[v.Original]
		if c == nil || c.dead || c.tuple != [2]packet.Tuple{v.Original, v.Reply} || v.Class != c.class {
			t.Fatalf("%+v, want %+v", v, c)
		}
		if v.Original.Proto == packet.TCP && v.TCP != s.TCP() || v.Incarnation != s.Incarnation || v.Flags != s.Flags || v.Class != s.Class {
			t.Fatalf("seen as %+v, exported as %+v", v, s)
		}
	}
	want := 0
	for tuple, c := range l.byTuple {
		if !c.dead && tuple == c.tuple[Original] {
			want++
		}
	}
	if alive != want {
		t.Fatalf("%d connections, want %d", alive, want)
	}
}
