package cluster

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/sync/journal"
)

// traffic is one worker of a node under traffic: it takes packets through the table and
// tells what they change, as dataplane does, a batch a turn.
type traffic struct {
	table   *conntrack.Table
	lane    *journal.Journal
	turning *sync.RWMutex
	number  uint32 // of the worker, so that no two have the same addresses
	rng     *rand.Rand
	open    []*talk
	begun   uint32
	changes int
	sweepAt uint32
	ended   [16]conntrack.Ended
	result  conntrack.Result
}

// talk is a connection that goes on, one packet at a step.
type talk struct {
	tuple       packet.Tuple
	next        [2]uint32 // by direction: the number of the next byte
	step        int
	last        int // step
	index       uint32
	incarnation conntrack.Incarnation
}

// segment is one step of a connection: jump bytes that other packets had, then a packet.
type segment struct {
	dir   conntrack.Direction
	flags packet.TCPFlags
	jump  uint32
	len   uint32
}

// conversation is what a TCP connection says. Windows are of 2 MiB, as are the cells of what is
// exported, so of two packets with data one changes what is told.
var conversation = []segment{
	{conntrack.Original, packet.FlagSYN, 0, 0},
	{conntrack.Reply, packet.FlagSYN | packet.FlagACK, 0, 0},
	{conntrack.Original, packet.FlagACK, 0, 0},
	{conntrack.Reply, packet.FlagACK, 1 << 20, 1000}, // its first with a scaled window
	{conntrack.Original, packet.FlagACK, 1 << 20, 1000},
	{conntrack.Reply, packet.FlagACK, 1 << 20, 1000},
	{conntrack.Original, packet.FlagACK | packet.FlagFIN, 0, 0},
	{conntrack.Reply, packet.FlagACK | packet.FlagFIN, 0, 0},
	{conntrack.Original, packet.FlagACK, 0, 0},
}

// query is what a UDP connection says.
var query = []segment{{dir: conntrack.Original}, {dir: conntrack.Reply}}

const openMax = 500 // connections of a worker that go on at a time

func newTraffic(n *testNode, number int, seed uint64) *traffic {
	return &traffic{table: n.table, lane: n.lanes[number], turning: &n.turning, number: uint32(number), rng: rand.New(rand.NewPCG(seed, uint64(number)))}
}

// turn makes so many changes and sends them.
func (w *traffic) turn(count int) error {
	w.turning.RLock()
	defer w.turning.RUnlock()
	defer w.lane.Flush()
	for range count {
		if err := w.change(); err != nil {
			return err
		}
	}
	w.changes += count
	return nil
}

// change takes connections, chosen by lot, a step on until one has changed.
func (w *traffic) change() error {
	for {
		at := w.rng.IntN(openMax)
		if at >= len(w.open) {
			at = len(w.open)
			w.open = append(w.open, w.begin())
		}
		told, err := w.step(w.open[at])
		if err != nil {
			return err
		}
		if k := w.open[at]; k.step > k.last {
			w.open[at] = w.open[len(w.open)-1]
			w.open = w.open[:len(w.open)-1]
		}
		if told {
			return nil
		}
	}
}

// step takes a connection a step on, and reports whether that was told.
func (w *traffic) step(k *talk) (told bool, err error) {
	script := conversation
	if k.tuple.Proto == packet.UDP {
		script = query
	}
	if k.step < len(script) {
		if told, err = w.packet(k, script[k.step]); !told && k.step == k.last {
			k.last++ // it does not fall silent with what nobody has heard of
		}
		k.step++
		return told, err
	}
	k.step++ // it goes, as by the sweep
	var last conntrack.State
	if !w.table.Remove(k.index, k.incarnation, gate.Now(), &last) {
		return false, fmt.Errorf("connection %v is not there", k.tuple)
	}
	w.lane.Delete(&last, conntrack.EndExpired)
	return true, nil
}

// begin draws a connection: of eight one falls silent in the middle, and stays; of three
// one is UDP.
func (w *traffic) begin() *talk {
	w.begun++
	addr := [4]byte{10 + byte(w.number)}
	binary.BigEndian.PutUint32(addr[:], uint32(addr[0])<<24|w.begun>>12)
	k := &talk{tuple: packet.Tuple{
		Src: packet.AddrFrom(netip.AddrFrom4(addr)), Dst: packet.AddrFrom(netip.MustParseAddr("198.51.100.9")),
		SrcPort: uint16(1024 + w.begun&(1<<12-1)), DstPort: 443, Proto: packet.TCP,
	}}
	k.next = [2]uint32{w.rng.Uint32(), w.rng.Uint32()}
	k.last = len(conversation)
	if w.rng.IntN(3) == 0 {
		k.tuple.Proto, k.tuple.DstPort, k.last = packet.UDP, 53, len(query)
	}
	if w.rng.IntN(8) == 0 {
		k.last = w.rng.IntN(k.last)
	}
	return k
}

// packet takes a packet through the table, tells what it changes, and reports whether it did.
func (w *traffic) packet(k *talk, g segment) (told bool, err error) {
	p := packet.Parsed{Tuple: k.tuple, L3: 14, L4: 34, Payload: 54, End: 54 + g.len, Version: 4, Kind: packet.KindIP, TTL: 64}
	if g.dir == conntrack.Reply {
		p.Tuple = k.tuple.Reply()
	}
	if k.tuple.Proto == packet.TCP {
		k.next[g.dir] += g.jump
		p.TCPFlags, p.Seq, p.Window = g.flags, k.next[g.dir], 65535
		if g.flags&packet.FlagACK != 0 {
			p.Ack = k.next[g.dir^1]
		}
		p.SACKRight = p.Ack
		if g.flags&packet.FlagSYN != 0 {
			p.TCPOptions, p.WScale = packet.HasWScale, 5
		}
		k.next[g.dir] += p.SegmentLen()
	}
	now, r := gate.Now(), &w.result
	if k.step == 0 {
		proposal := conntrack.Proposal{Original: k.tuple, Reply: k.tuple.Reply(), Class: conntrack.Class{Rule: 1, Egress: 1}}
		if got := w.table.Insert(&proposal, &p, now, r); got != conntrack.Inserted {
			return false, fmt.Errorf("connection %v is not inserted: %d, %v", k.tuple, got, r.Reason)
		}
		k.index, k.incarnation = r.Index, r.Incarnation
	} else {
		keys, hits := [1]packet.Parsed{p}, [1]conntrack.Hit{}
		w.table.Lookup(keys[:], hits[:])
		if got := w.table.Track(&p, &hits[0], now, r); got != conntrack.OutcomePass {
			return false, fmt.Errorf("packet %d of %v: outcome %d, %v", k.step, k.tuple, got, r.Reason)
		}
	}
	switch r.Change {
	case conntrack.ChangeNew, conntrack.ChangeReopened:
		w.lane.Insert(&r.State)
	case conntrack.ChangeUpdate:
		w.lane.Update(&r.State)
	default:
		return false, nil
	}
	return true, nil
}

// sweep looks at a part of the table, ends what has expired, and tells of it.
func (w *traffic) sweep() {
	w.turning.RLock()
	defer w.turning.RUnlock()
	next, count := w.table.Sweep(w.sweepAt, 4096, gate.Now(), conntrack.GraceOwner, w.ended[:])
	for i := range count {
		w.lane.Delete(&w.ended[i].State, w.ended[i].Why)
	}
	w.sweepAt = next
	w.lane.Flush()
}

// run makes changes at a rate, in turns of some changes, and waits where the peer lags by
// nearly all that the lane keeps: held says how often.
func (w *traffic) run(n *testNode, perSecond, total, each int) (held int, err error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	for w.changes < total {
		due := min(int(time.Since(begin).Seconds()*float64(perSecond)), total)
		if lag := w.lane.Sent() - n.node.Confirmed(0, int(w.lane.Lane())); lag > 3500 {
			held++
			due = 0
		}
		for i := 0; w.changes < due && i < 16; i++ {
			if err := w.turn(min(each, due-w.changes)); err != nil {
				return held, err
			}
		}
		w.sweep()
		<-tick.C
	}
	return held, nil
}
