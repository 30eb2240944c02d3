package seal

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// hostile makes datagrams that a node must refuse, as somebody on the link could: it has a
// recording of everything, knows the ids of the sessions in use and a key that is no longer
// valid, and can write whatever it likes.
type hostile struct {
	rng      *rand.Rand
	victim   *Peer
	datagram []byte   // that is being made
	recorded [][]byte // sealed datagrams that the victim has opened
	own      [][]byte // what the victim has sealed itself
	earlier  [][]byte // sealed datagrams of a session before, long gone
	oldKey   *Session // of somebody who has the old key: the far end of a session with the victim's old life
	question []byte   // a handshake1 under the old key
	answered []byte   // the handshake1 that the victim has answered
	answer   []byte   // a handshake2 that answers nothing
}

// newHostile sets the scene, and returns the end that the victim speaks with.
func newHostile(t testing.TB, seed uint64) (h *hostile, friend *Peer) {
	t.Helper()
	peer := func(key Key, part Part) *Peer {
		p, err := NewPeer(Config{Keys: []Key{key}, Part: part})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	const plain = 300
	old, key := NewKey(), NewKey()
	h = &hostile{rng: rand.New(rand.NewPCG(seed, 25)), victim: peer(key, Responder), datagram: make([]byte, 0, 2048)}
	friend = peer(key, Initiator)
	meet := func(now int64) {
		h.answered = friend.Tick(now, nil)
		h.answer = h.victim.Receive(now, bytes.Clone(h.answered), nil).Reply
		confirm := friend.Receive(now, bytes.Clone(h.answer), nil).Reply
		friend.Receive(now, h.victim.Receive(now, confirm, nil).Reply, nil)
	}
	record := func(n int) (all [][]byte) {
		for i := range n {
			d := friend.Session().Seal(Lane(i%8), nil, make([]byte, plain+i%1000))
			all = append(all, bytes.Clone(d))
			if r := h.victim.Receive(1, d, nil); r.Outcome != Opened {
				t.Fatalf("a true datagram: %v", r.Reject)
			}
		}
		return all
	}
	meet(0)
	h.earlier = record(100)
	friend.Renew()
	meet(1)
	h.victim.Tick(linger+2, nil) // the session before is gone
	h.recorded = record(1000)
	for range 100 {
		h.own = append(h.own, h.victim.Session().Seal(0, nil, make([]byte, plain)))
	}
	a, b := peer(old, Initiator), peer(old, Responder)
	h.question = a.Tick(0, nil)
	a.Receive(0, b.Receive(0, bytes.Clone(h.question), nil).Reply, nil)
	h.oldKey = a.next
	if h.victim.Session() == nil || h.victim.find(binary.BigEndian.Uint32(h.earlier[0][4:])) != nil {
		t.Fatal("the scene is not set")
	}
	return h, friend
}

// attack is one way of theirs.
type attack struct {
	name  string
	rare  bool // costs the one who makes it, and the test, much more than the others
	make  func(h *hostile) []byte
	meets []Reject // the reasons it may be refused for
}

// drawn returns one of all.
func drawn[T any](r *rand.Rand, all []T) T { return all[r.IntN(len(all))] }

// put lays a copy of d ready to be changed.
func (h *hostile) put(d []byte) []byte {
	h.datagram = append(h.datagram[:0], d...)
	return h.datagram
}

// named puts the id of the victim's session into d, and a counter that is fresh.
func (h *hostile) named(d []byte) []byte {
	binary.BigEndian.PutUint32(d[4:], h.victim.Session().id)
	binary.BigEndian.PutUint64(d[8:], uint64(h.rng.IntN(Lanes))<<48|1<<40|h.rng.Uint64N(1<<40))
	return d
}

// forged is a sealed datagram as far as one without a key can make it.
func (h *hostile) forged(size int) []byte {
	d := appendHeader(h.datagram[:0], Header{Kind: KindSealed})
	for len(d) < size {
		d = binary.LittleEndian.AppendUint64(d, h.rng.Uint64())
	}
	return d[:size]
}

var attacks = []attack{
	{"noise", false, func(h *hostile) []byte {
		d := h.forged(Overhead + h.rng.IntN(1400))
		binary.LittleEndian.PutUint64(d, h.rng.Uint64())
		return d
	}, []Reject{RejectBadMagic, RejectBadVersion, RejectUnknownKind}},
	{"forged", false, func(h *hostile) []byte { return h.named(h.forged(Overhead + h.rng.IntN(1400))) }, []Reject{RejectUnauthentic}},
	{"forged, of no session", false, func(h *hostile) []byte {
		d := h.named(h.forged(Overhead + h.rng.IntN(1400)))
		d[4] ^= byte(1 + h.rng.IntN(255))
		return d
	}, []Reject{RejectUnknownSession}},
	{"replayed", false, func(h *hostile) []byte { return h.put(drawn(h.rng, h.recorded)) }, []Reject{RejectReplayed}},
	{"replayed, of a session before", false, func(h *hostile) []byte { return h.put(drawn(h.rng, h.earlier)) }, []Reject{RejectUnknownSession}},
	{"reflected", false, func(h *hostile) []byte { return h.named(h.put(drawn(h.rng, h.own))) }, []Reject{RejectUnauthentic}},
	{"truncated", false, func(h *hostile) []byte {
		d := h.put(drawn(h.rng, h.recorded))
		binary.BigEndian.PutUint64(d[8:], binary.BigEndian.Uint64(d[8:])+1<<40) // or the replay window has it
		return d[:h.rng.IntN(len(d))]
	}, []Reject{RejectTruncated, RejectUnauthentic}},
	{"a bit flipped", false, func(h *hostile) []byte {
		d := h.put(drawn(h.rng, h.recorded))
		bit := h.rng.IntN(8 * len(d))
		d[bit/8] ^= 1 << (bit % 8)
		return d
	}, []Reject{RejectBadMagic, RejectBadVersion, RejectUnknownKind, RejectUnknownSession, RejectLaneOutOfRange, RejectReplayed, RejectUnauthentic}},
	{"a bit flipped, fresh counter", false, func(h *hostile) []byte {
		d := h.named(h.put(drawn(h.rng, h.recorded)))
		bit := 8*HeaderSize + h.rng.IntN(8*(len(d)-HeaderSize))
		d[bit/8] ^= 1 << (bit % 8)
		return d
	}, []Reject{RejectUnauthentic}},
	{"old key", false, func(h *hostile) []byte {
		d := h.oldKey.Seal(Lane(h.rng.IntN(Lanes)), h.datagram[:0], h.recorded[0][HeaderSize:])
		return h.named(d)
	}, []Reject{RejectUnauthentic}},
	{"handshake, old key", true, func(h *hostile) []byte { return h.put(h.question) }, []Reject{RejectUnauthentic}},
	{"handshake, replayed", false, func(h *hostile) []byte { return h.put(h.answered) }, []Reject{RejectHandshakeReplayed}},
	{"handshake, unasked answer", false, func(h *hostile) []byte { return h.put(h.answer) }, []Reject{RejectHandshakeUnasked}},
	{"handshake, truncated", false, func(h *hostile) []byte { return h.put(h.question)[:HeaderSize+h.rng.IntN(handshakeMinSize-HeaderSize)] }, []Reject{RejectTruncated}},
	{"knock", false, func(h *hostile) []byte {
		return appendHeader(h.datagram[:0], Header{Kind: KindKnock, Session: h.rng.Uint32()})
	}, []Reject{RejectKnockIgnored}},
}

// total is how many datagrams were counted, and how many of them were not refused.
func total(c *Counters) (all, accepted uint64) {
	for r := RejectUnset; r < rejectsCount; r++ {
		all += c.Count(r)
	}
	return all, c.Count(Accepted)
}

// REL25: whatever somebody without the key sends, nothing is accepted, everything is counted
// for its reason, and the session goes on. 10,000,000 with HOLDFAST_SOAK set.
func TestREL25_HostileDatagrams(t *testing.T) {
	count := 200_000
	if os.Getenv("HOLDFAST_SOAK") != "" {
		count = 10_000_000
	}
	h, friend := newHostile(t, 1)
	session := h.victim.Session()
	before, acceptedBefore := total(h.victim.Rejects())
	var want, had [rejectsCount]uint64
	for r := range want {
		had[r] = h.victim.Rejects().Count(Reject(r))
	}
	reply := make([]byte, 0, 2048)
	knocks, made := 0, map[string]int{}
	now := linger + 2
	for i := range count {
		a := &attacks[i%len(attacks)]
		if a.rare && h.rng.IntN(20) != 0 {
			a = &attacks[1]
		}
		now += 5000 // 200,000 a second
		r := h.victim.Receive(now, a.make(h), reply[:0])
		if r.Outcome != Rejected || r.Plaintext != nil || r.Established != nil {
			t.Fatalf("datagram %d, %s: outcome %d", i, a.name, r.Outcome)
		}
		if !slices.Contains(a.meets, r.Reject) {
			t.Fatalf("datagram %d, %s: %v", i, a.name, r.Reject)
		}
		if len(r.Reply) > 0 {
			knocks++
		}
		want[r.Reject]++
		made[a.name]++
	}
	for r := range want {
		if got := h.victim.Rejects().Count(Reject(r)) - had[r]; got != want[r] {
			t.Errorf("%v: %d counted, %d refused", Reject(r), got, want[r])
		}
	}
	if all, accepted := total(h.victim.Rejects()); all-before != uint64(count) || accepted != acceptedBefore {
		t.Errorf("%d of %d counted, %d accepted", all-before, count, accepted-acceptedBefore)
	}
	if seconds := int(now / 1e9); knocks > 10*(seconds+1) {
		t.Errorf("%d replies in %d s: it can be made to send", knocks, seconds)
	}
	if h.victim.Session() != session || h.victim.pending != nil || h.victim.next != nil {
		t.Error("the sessions have changed")
	}
	for lane := range Lane(8) {
		if r := h.victim.Receive(now, friend.Session().Seal(lane, nil, []byte("on")), nil); string(r.Plaintext) != "on" {
			t.Errorf("afterwards, lane %d: %v", lane, r.Reject)
		}
	}
	t.Logf("%d refused, %d knocks; %v; by reason %v", count, knocks, made, want)
}

// Nothing is allocated for what does not authenticate. A handshake is read into memory of
// its own, which is why handshakes of a flood cost more (BenchmarkREL25).
func TestREL25_NothingIsAllocatedForWhatIsRefused(t *testing.T) {
	h, _ := newHostile(t, 2)
	reply := make([]byte, 0, 2048)
	now := linger + 2
	for i := range attacks {
		a := &attacks[i]
		if a.rare {
			continue
		}
		if n := testing.AllocsPerRun(500, func() {
			now += 5000
			if r := h.victim.Receive(now, a.make(h), reply[:0]); r.Outcome != Rejected {
				t.Fatalf("%s: outcome %d", a.name, r.Outcome)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", a.name, n)
		}
	}
}

// BenchmarkREL25 is what a hostile datagram costs, its making included, which is less than a
// tenth but where the datagram is sealed under the old key.
func BenchmarkREL25(b *testing.B) {
	for i := range attacks {
		a := &attacks[i]
		b.Run(a.name, func(b *testing.B) {
			h, _ := newHostile(b, 3)
			reply := make([]byte, 0, 2048)
			b.ReportAllocs()
			for now := linger + 2; b.Loop(); now += 5000 {
				if r := h.victim.Receive(now, a.make(h), reply[:0]); r.Outcome != Rejected {
					b.Fatalf("outcome %d", r.Outcome)
				}
			}
		})
	}
}
