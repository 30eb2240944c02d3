package tracker

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// burst is how many packets take the path together, as in the data plane.
const burst = 64

// sampled is how many connections packets are made for; the others fill the table. Their
// entries, 8 MiB and their index, exceed the caches of a core.
const sampled = 1 << 16

// frameLen is the length of a measured frame, without the FCS: the smallest there is.
const frameLen = 60

type frame [64]byte

// Load is a table full of established TCP connections, masqueraded, and frames of them.
type Load struct {
	Table  *conntrack.Table
	Conns  int
	frames []frame
	of     []int      // whose each frame is
	queues [2][]frame // the same frames, as a NIC with two queues spreads them
	now    int64
}

// Fill makes a table with so many connections and room for as many more.
func Fill(conns, room int) (*Load, error) {
	table, err := conntrack.New(conntrack.Config{Capacity: uint32(conns + room), Node: 1})
	if err != nil {
		return nil, err
	}
	l := &Load{Table: table, Conns: conns, now: int64(time.Hour)}
	for i := range conns {
		if err := l.establish(i); err != nil {
			table.Close()
			return nil, err
		}
	}
	r := rand.New(rand.NewPCG(1, uint64(conns)))
	for i := range sampled {
		conn := r.IntN(conns)
		l.of, l.frames = append(l.of, conn), append(l.frames, frameOf(conn, conntrack.Direction(i%2)))
	}
	for i := range l.frames {
		queue := queueOf(&l.frames[i])
		l.queues[queue] = append(l.queues[queue], l.frames[i])
	}
	for q := range l.queues {
		l.queues[q] = l.queues[q][:len(l.queues[q])/burst*burst]
	}
	return l, nil
}

// queueOf spreads frames as RSS does, by a hash of the addresses and ports that the packet
// itself has: all packets of one direction go to one queue, but where a connection is
// translated, those of the other direction to the same one only half of the time.
func queueOf(f *frame) int {
	h := uint32(2166136261) // FNV-1a
	for _, b := range f[26:38] {
		h = (h ^ uint32(b)) * 16777619
	}
	return int(h >> 16 & 1)
}

// Close frees the table.
func (l *Load) Close() error { return l.Table.Close() }

// tuples returns both of connection i: a client of its own behind a shared address.
func tuples(i int) (original, reply packet.Tuple) {
	client := [4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}
	external := 203<<24 + i/60000
	var e [4]byte
	binary.BigEndian.PutUint32(e[:], uint32(external))
	original = packet.Tuple{
		Src: packet.AddrFrom(netip.AddrFrom4(client)), Dst: packet.AddrFrom(netip.AddrFrom4([4]byte{198, 18, 0, 1})),
		SrcPort: uint16(40000 + i>>24), DstPort: 443, Proto: packet.TCP,
	}
	reply = original.Reply()
	reply.Dst, reply.DstPort = packet.AddrFrom(netip.AddrFrom4(e)), uint16(1024+i%60000)
	return original, reply
}

// establish takes connection i through its handshake.
func (l *Load) establish(i int) error {
	original, reply := tuples(i)
	pr := conntrack.Proposal{Original: original, Reply: reply, Class: conntrack.Class{Rule: 1, Egress: 1, Gateway: gateway(i)}}
	var r conntrack.Result
	syn := segment(original, packet.FlagSYN, 99, 0)
	if got := l.Table.Insert(&pr, &syn, l.now, &r); got != conntrack.Inserted {
		return fmt.Errorf("connection %d: insert: outcome %d, %v", i, got, r.Reason)
	}
	for _, p := range []packet.Parsed{
		segment(reply, packet.FlagSYN|packet.FlagACK, 199, 100), segment(original, packet.FlagACK, 100, 200),
	} {
		if err := l.track(&p, &r); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return nil
}

func (l *Load) track(p *packet.Parsed, r *conntrack.Result) error {
	hits := [1]conntrack.Hit{}
	l.Table.Lookup([]packet.Parsed{*p}, hits[:])
	if l.Table.Track(p, &hits[0], l.now, r) != conntrack.OutcomePass {
		return fmt.Errorf("%v dropped: %v", p.Tuple, r.Reason)
	}
	return nil
}

// segment is what the decoder finds in a segment without payload.
func segment(t packet.Tuple, f packet.TCPFlags, seq, ack uint32) packet.Parsed {
	return packet.Parsed{
		Tuple: t, Seq: seq, Ack: ack, SACKRight: ack, L3: 14, L4: 34, Payload: 54, End: 54, Window: 65535,
		TCPFlags: f, Version: 4, Kind: packet.KindIP, TTL: 64,
	}
}

// frameOf is an acknowledgement of connection i, as it comes in.
func frameOf(i int, dir conntrack.Direction) (f frame) {
	t, reply := tuples(i)
	seq, ack := uint32(100), uint32(200)
	if dir == conntrack.Reply {
		t, seq, ack = reply, ack, seq
	}
	be := binary.BigEndian
	copy(f[0:], []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6})
	copy(f[26:], t.Src[12:])
	copy(f[30:], t.Dst[12:])
	var sum uint32
	for at := 14; at < 34; at += 2 {
		sum += uint32(be.Uint16(f[at:]))
	}
	sum = sum&0xffff + sum>>16
	be.PutUint16(f[24:], ^uint16(sum&0xffff+sum>>16))
	be.PutUint16(f[34:], t.SrcPort)
	be.PutUint16(f[36:], t.DstPort)
	be.PutUint32(f[38:], seq)
	be.PutUint32(f[42:], ack)
	f[46], f[47] = 5<<4, byte(packet.FlagACK)
	be.PutUint16(f[48:], 65535)
	return f
}

// Worker is what one core needs to take packets of a Load through the tracker.
type Worker struct {
	load   *Load
	frames []frame
	at     int
	bytes  [burst]frame
	parsed [burst]packet.Parsed
	hits   [burst]conntrack.Hit
	result conntrack.Result
}

// Worker returns the one worker of a Load.
func (l *Load) Worker() *Worker { return &Worker{load: l, frames: l.frames} }

// Packets takes at least n packets of established connections through decode, lookup,
// tracking with the window test, translation, stamp and counters, and returns how many it
// were and how long they took, without what it took to lay the frames ready.
func (w *Worker) Packets(n int) (done int, took time.Duration, err error) {
	for done < n {
		copy(w.bytes[:], w.frames[w.at:])
		w.at = (w.at + burst) % len(w.frames)
		begin := time.Now()
		for i := range w.bytes {
			if why := packet.Decode(w.bytes[i][:frameLen], &w.parsed[i]); why != drop.Pass {
				return done, took, fmt.Errorf("frame %d: %v", w.at+i, why)
			}
		}
		w.load.Table.Lookup(w.parsed[:], w.hits[:])
		for i := range w.bytes {
			if w.load.Table.Track(&w.parsed[i], &w.hits[i], w.load.now, &w.result) != conntrack.OutcomePass {
				return done, took, fmt.Errorf("%v: %v", w.parsed[i].Tuple, w.result.Reason)
			}
			w.result.Rewrite.Apply(w.bytes[i][:frameLen], &w.parsed[i])
		}
		took += time.Since(begin)
		done += burst
	}
	return done, took, nil
}

// Both measures n packets on each of so many cores at once, one or two, and returns the
// packets of all and the time it took. Two take the frames of one queue each.
func (l *Load) Both(cores, n int) (done int, took time.Duration, err error) {
	type outcome struct {
		done int
		err  error
	}
	ready, start, outcomes := make(chan struct{}), make(chan struct{}), make(chan outcome)
	for core := range cores {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			w := l.Worker()
			if cores == 2 {
				w.frames = l.queues[core]
			}
			_, _, err := w.Packets(sampled / 2) // warm
			ready <- struct{}{}
			<-start
			if err == nil {
				var done int
				done, _, err = w.Packets(n)
				outcomes <- outcome{done, err}
				return
			}
			outcomes <- outcome{0, err}
		}()
	}
	for range cores {
		<-ready
	}
	begin := time.Now()
	close(start)
	for range cores {
		o := <-outcomes
		done += o.done
		if o.err != nil {
			err = o.err
		}
	}
	return done, time.Since(begin), err
}
