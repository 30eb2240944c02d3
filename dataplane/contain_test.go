package dataplane

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
	"holdfast/nat"
	"holdfast/sync/journal"
	"holdfast/sync/wire"
)

// tripwire panics where the path asks for the neighbour that stands for a defect.
type tripwire struct {
	fakeResolver
	marked packet.Addr
}

func (t *tripwire) Resolve(port packet.PortID, a packet.Addr) {
	if a == t.marked {
		panic(fmt.Sprintf("asked for %v", a))
	}
	t.fakeResolver.Resolve(port, a)
}

// poisoned returns a rig whose path panics at packets to a host, and such a packet.
func poisoned(t *testing.T) (r *rig, poison packetIn) {
	t.Helper()
	r = newRig(t)
	trip := &tripwire{marked: ip("203.0.113.66")}
	r.w.config.Resolver = trip
	poison = fromClient(packetIn{sport: 4000, dport: 666, flags: "S", seq: 1})
	poison.to = trip.marked
	return r, poison
}

// allFree reports whether nobody holds a frame, by taking all.
func (r *rig) allFree() bool {
	all := make([]xsk.Desc, r.w.umem.Frames())
	n := r.w.umem.Alloc(all)
	r.w.umem.Free(all[:n])
	return n == len(all)
}

// TestREL24_PoisonCostsItself: of a burst with a packet that makes the path panic all others
// go on, those before it and those behind; the packet is kept with its stack, and dropped
// undecoded when it comes again, whoever is its next hop.
func TestREL24_PoisonCostsItself(t *testing.T) {
	r, poison := poisoned(t)
	frames := make([][]byte, 9)
	for i := range frames {
		frames[i] = fromClient(packetIn{sport: uint16(5000 + i), dport: 80, flags: "S", seq: 9}).frame(t)
	}
	frames[4] = poison.frame(t)
	if out := r.feed(lan, frames...); len(out) != 8 {
		t.Errorf("%d of 8 good packets went on", len(out))
	}
	if why := r.dropped(lan); !slices.Equal(why, []drop.Reason{drop.WorkerPanic}) {
		t.Errorf("dropped: %v", why)
	}
	crashes, count := r.w.config.Crashes.Since(0)
	if count != 1 || len(crashes) != 1 {
		t.Fatalf("%d crashes", count)
	}
	c := crashes[0]
	if c.What != "asked for 203.0.113.66" || !bytes.Contains(c.Stack, []byte("tripwire")) || !bytes.Equal(c.Frame, frames[4]) || c.Port != lan || c.Own {
		t.Errorf("kept: %s at port %d, own %v, %d bytes\n%s", c.What, c.Port, c.Own, len(c.Frame), c.Stack)
	}
	for range 3 {
		if out := r.feed(lan, frames[4], frames[0]); len(out) != 1 {
			t.Errorf("%d packets went on beside the one that is known", len(out))
		}
		if why := r.dropped(lan); !slices.Equal(why, []drop.Reason{drop.Quarantined}) {
			t.Errorf("again: %v", why)
		}
	}
	if _, count := r.w.config.Crashes.Since(0); count != 1 {
		t.Errorf("%d panics at one packet", count)
	}
	r.w.now += int64(QuarantineFor)
	r.feed(lan, frames[4])
	if why := r.dropped(lan); !slices.Equal(why, []drop.Reason{drop.WorkerPanic}) {
		t.Errorf("after its time: %v", why)
	}
	if !r.allFree() {
		t.Error("a frame was lost")
	}
}

// TestREL24_PeersLearnThePoison: the digest leaves with the batch of the turn, and a peer that
// takes it in drops the packet at first sight, whatever the MAC addresses.
func TestREL24_PeersLearnThePoison(t *testing.T) {
	r, poison := poisoned(t)
	r.feed(lan, poison.frame(t))
	r.lane.Flush()
	sent, ok := r.lane.Batch(r.lane.Sent(), nil)
	if !ok {
		t.Fatal("nothing was told")
	}
	peer, _ := poisoned(t)
	a := journal.NewApplier(peer.w.snapshot.Table, nat.NewPool(), journal.NewShared(journal.New(1, journal.NewOutlet(nil))), func(*wire.Neighbor) {})
	a.OnPoison(func(p *wire.Poison) {
		peer.w.config.Quarantine.Add(Poison{p.Digest, int(p.Length), peer.w.now + int64(p.Remaining)*1e6}, peer.w.now)
	})
	_, rest, err := wire.DecodeHeader(sent)
	if err != nil {
		t.Fatal(err)
	}
	a.Apply(rest, peer.w.now)
	poison.fromMAC, poison.toMAC, poison.ttl = packet.MAC{2, 9}, macLan, 63
	peer.feed(lan, poison.frame(t))
	if why := peer.dropped(lan); !slices.Equal(why, []drop.Reason{drop.Quarantined}) {
		t.Errorf("at the peer: %v", why)
	}
	if peer.w.config.Quarantine.Spree(peer.w.now) {
		t.Error("what a peer tells counts as this node's own panics")
	}
}

// TestREL24_WaitingPacketsAreNotLost: a packet that panics when it is taken out of the parking
// leaves the others there, and in their order.
func TestREL24_WaitingPacketsAreNotLost(t *testing.T) {
	r, poison := poisoned(t)
	trip := r.w.config.Resolver.(*tripwire)
	marked := trip.marked
	trip.marked = packet.Addr{}
	later := fromClient(packetIn{sport: 4001, dport: 80, flags: "S", seq: 1})
	later.to = ip("203.0.113.77")
	r.feed(lan, poison.frame(t), later.frame(t))
	if r.w.parked.n != 2 {
		t.Fatalf("%d packets wait", r.w.parked.n)
	}
	trip.marked = marked
	r.w.snapshot.Routes = fib.NewTable(rigRoutes, append(slices.Clone(rigNeighbors), fib.Neighbor{Port: wan, Addr: ip("203.0.113.88"), MAC: macServer}))
	r.w.retryParked()
	if r.w.parked.n != 1 || r.w.parked.via[0] != ip("203.0.113.77") {
		t.Errorf("%d packets wait, for %v", r.w.parked.n, r.w.parked.via[0])
	}
	if _, count := r.w.config.Crashes.Since(0); count != 1 {
		t.Errorf("%d crashes", count)
	}
	r.w.dropParked()
	if !r.allFree() {
		t.Error("a frame was lost")
	}
}

// TestREL24_LostFramesComeBack: frames that a panic leaves without a holder are found.
func TestREL24_LostFramesComeBack(t *testing.T) {
	r, poison := poisoned(t)
	trip := r.w.config.Resolver.(*tripwire)
	var lost [3]xsk.Desc
	r.w.config.Resolver = taker{trip, func() { r.w.umem.Alloc(lost[:]) }}
	r.feed(lan, poison.frame(t))
	if lost[0].Addr == 0 || !r.allFree() {
		t.Errorf("frames taken by a packet that panicked are not free: %v", lost)
	}
}

// taker takes something before it asks.
type taker struct {
	*tripwire
	take func()
}

func (t taker) Resolve(port packet.PortID, a packet.Addr) {
	t.take()
	t.tripwire.Resolve(port, a)
}

// TestREL24_OwnPackets: what the node's kernel sends is contained as well.
func TestREL24_OwnPackets(t *testing.T) {
	r, _ := poisoned(t)
	b := &r.w.burst
	b.in, b.origin, b.n = r.w.shares[wan], fromNode, r.w.umem.Alloc(b.desc[:2])
	for i := range b.n {
		b.desc[i].Len = 60
	}
	r.w.shares[wan].Kernel = nil
	b.start()
	b.stage, b.at = stageJudge, 1
	b.fate[0] = fate{why: drop.Multicast}
	func() {
		defer r.w.contain(b)
		panic("as it may be")
	}()
	if b.at != 2 || b.fate[1].why != drop.WorkerPanic || b.fate[0].why != drop.Multicast {
		t.Errorf("at %d, fates %v", b.at, b.fate[:2])
	}
	if c, _ := r.w.config.Crashes.Since(0); len(c) != 1 || !c[0].Own {
		t.Errorf("crashes: %+v", c)
	}
	b.origin = fromWire
	r.w.umem.Free(b.desc[:2])
}

// TestREL24_LookupLosesTheBurst: where no single packet can be blamed, the burst dies, and
// nothing is remembered.
func TestREL24_LookupLosesTheBurst(t *testing.T) {
	r := newRig(t)
	b := &r.w.burst
	b.in, b.n = r.w.shares[lan], r.w.umem.Alloc(b.desc[:3])
	b.stage, b.at = stageLookup, 0
	func() {
		defer r.w.contain(b)
		panic("hash")
	}()
	for i := range b.n {
		if b.fate[i].why != drop.WorkerPanic || b.fate[i].kept {
			t.Errorf("packet %d: %+v", i, b.fate[i])
		}
	}
	if b.at != b.n || len(r.w.config.Quarantine.Poisons(r.w.now)) != 0 {
		t.Errorf("at %d, %d remembered", b.at, len(r.w.config.Quarantine.Poisons(r.w.now)))
	}
	r.w.umem.Free(b.desc[:3])
}

// TestREL24_LockedTableEndsTheProcess: a panic that leaves a lock behind is not contained, and
// the peers are told first.
func TestREL24_LockedTableEndsTheProcess(t *testing.T) {
	r, poison := poisoned(t)
	r.feed(lan, fromClient(packetIn{sport: 1, dport: 80, flags: "S", seq: 9}).frame(t))
	held, release, released := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(released)
		table := r.w.snapshot.Table
		table.KillEach(0, table.High(), r.w.now, table.Latest(), &conntrack.Choice{Conn: func(*conntrack.View) bool {
			close(held)
			<-release
			return false
		}})
	}()
	<-held
	before := r.lane.Sent()
	said := func() (said any) {
		defer func() { said = recover() }()
		r.feed(lan, poison.frame(t))
		return nil
	}()
	close(release)
	<-released
	if text, ok := said.(string); !ok || !strings.Contains(text, "left locked") || !strings.Contains(text, "asked for 203.0.113.66") {
		t.Errorf("the process would not end, or not say why: %v", said)
	}
	if r.lane.Sent() == before {
		t.Error("the peers were not told")
	}
}

// TestREL24_SpreeIsTheNodesOwnFault: three different packets in ten seconds are, one packet
// three times is not, nor are three in a longer time.
func TestREL24_SpreeIsTheNodesOwnFault(t *testing.T) {
	at := func(n byte) Poison { return Poison{Digest: PacketDigest{n}, Length: 60, Until: 1e15} }
	var same, slow, spree Quarantine
	for i := range byte(3) {
		same.commit(at(1), 1e12+int64(i))
		slow.commit(at(i), 1e12+int64(i)*6e9)
		spree.commit(at(i), 1e12+int64(i)*4e9)
	}
	now := int64(1e12 + 8e9)
	if same.Spree(now) || slow.Spree(1e12+12e9) || !spree.Spree(now) || spree.Spree(now+3e9) {
		t.Errorf("one packet %v, slowly %v, three in 8 s %v, later %v", same.Spree(now), slow.Spree(1e12+12e9), spree.Spree(now), spree.Spree(now+3e9))
	}
}

// TestREL24_QuarantineIsBounded: the latest are remembered, in the places there are.
func TestREL24_QuarantineIsBounded(t *testing.T) {
	var q Quarantine
	for i := range 3 * quarantineMax {
		q.Add(Poison{Digest: PacketDigest{byte(i), byte(i >> 8)}, Length: i, Until: 1000}, 1)
	}
	all := q.Poisons(1)
	if len(all) != quarantineMax || all[len(all)-1].Length != 3*quarantineMax-1 {
		t.Errorf("%d remembered, the last of %d bytes", len(all), all[len(all)-1].Length)
	}
	if len(q.Poisons(1000)) != 0 {
		t.Error("remembered beyond its time")
	}
	var c Crashes
	for i := range 3 * crashesMax {
		c.add(Crash{Worker: i})
	}
	if kept, count := c.Since(0); len(kept) != crashesMax || count != 3*crashesMax || kept[0].Worker != 2*crashesMax {
		t.Errorf("%d kept of %d, the first is %d", len(kept), count, kept[0].Worker)
	}
	if kept, _ := c.Since(3*crashesMax - 2); len(kept) != 2 || kept[1].Worker != 3*crashesMax-1 {
		t.Errorf("the last two: %d", len(kept))
	}
}
