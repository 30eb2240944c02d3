package seal

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
)

// pair returns the two ends of one session.
func pair(t testing.TB) (a, b *Session) {
	t.Helper()
	k := NewKey()
	pa, err := NewPeer(Config{Keys: []Key{k}})
	if err != nil {
		t.Fatal(err)
	}
	pb, err := NewPeer(Config{Keys: []Key{k}, Part: Responder})
	if err != nil {
		t.Fatal(err)
	}
	h2 := pb.Receive(0, pa.Tick(0, nil), nil).Reply
	confirm := pa.Receive(0, h2, nil).Reply
	pa.Receive(0, pb.Receive(0, confirm, nil).Reply, nil)
	if pa.Session() == nil || pb.Session() == nil {
		t.Fatal("no session")
	}
	return pa.Session(), pb.Session()
}

func TestSealOpenRoundTrip(t *testing.T) {
	a, b := pair(t)
	for _, size := range []int{0, 1, 15, 16, 17, 1400, 9000} {
		plaintext := bytes.Repeat([]byte{byte(size)}, size)
		for lane := range Lane(Lanes) {
			d := a.Seal(lane, []byte("before"), plaintext)
			d, ok := bytes.CutPrefix(d, []byte("before"))
			if !ok || len(d) != size+Overhead {
				t.Fatalf("%d bytes became %d", size, len(d))
			}
			got, from, why := b.Open(nil, d)
			if why != Accepted || from != lane || !bytes.Equal(got, plaintext) {
				t.Fatalf("%d bytes on lane %d: %v on lane %d", size, lane, why, from)
			}
		}
	}
}

func TestSealAndOpenInPlace(t *testing.T) {
	a, b := pair(t)
	buf := make([]byte, 0, 100)
	plain := append(buf[HeaderSize:HeaderSize], "in its place"...)
	d := a.Seal(0, buf, plain)
	got, _, why := b.Open(d[HeaderSize:HeaderSize], d)
	if why != Accepted || string(got) != "in its place" || &got[0] != &d[HeaderSize] {
		t.Fatalf("%v %q", why, got)
	}
}

func TestOpenRefuses(t *testing.T) {
	a, b := pair(t)
	fresh := func() []byte { return a.Seal(1, nil, []byte("plaintext")) }
	otherA, _ := pair(t)
	for name, c := range map[string]struct {
		make func() []byte
		why  Reject
	}{
		"magic":   {func() []byte { d := fresh(); d[0] = 'h'; return d }, RejectBadMagic},
		"version": {func() []byte { d := fresh(); d[2]++; return d }, RejectBadVersion},
		"kind":    {func() []byte { d := fresh(); d[3] = 9; return d }, RejectUnknownKind},
		"session": {func() []byte { d := fresh(); d[4]++; return d }, RejectUnknownSession},
		"lane":    {func() []byte { d := fresh(); d[9] = Lanes; return d }, RejectLaneOutOfRange},
		"counter": {func() []byte { d := fresh(); d[14]++; return d }, RejectUnauthentic},
		"text":    {func() []byte { d := fresh(); d[20]++; return d }, RejectUnauthentic},
		"other":   {func() []byte { d := otherA.Seal(1, nil, nil); copy(d[4:8], fresh()[4:8]); d[15] = 99; return d }, RejectUnauthentic},
		"reflected": {func() []byte {
			d := b.Seal(1, nil, nil)
			binary.BigEndian.PutUint32(d[4:], b.id)
			return d
		}, RejectUnauthentic},
	} {
		if _, _, why := b.Open(nil, c.make()); why != c.why {
			t.Errorf("%s: %v, want %v", name, why, c.why)
		}
	}
}

func TestReplayIsRefusedPerLane(t *testing.T) {
	a, b := pair(t)
	var recorded [][]byte
	for i := range 3000 {
		recorded = append(recorded, a.Seal(Lane(i%3), nil, nil))
	}
	rand.Shuffle(300, func(i, j int) { recorded[i], recorded[j] = recorded[j], recorded[i] })
	for i, d := range recorded {
		if _, _, why := b.Open(nil, d); why != Accepted {
			t.Fatalf("datagram %d: %v", i, why)
		}
	}
	for i, d := range recorded {
		if _, _, why := b.Open(nil, d); why != RejectReplayed {
			t.Fatalf("datagram %d again: %v", i, why)
		}
	}
}

// Truncation at every length, and every bit of every kind of datagram flipped: nothing
// is accepted, and what is true is accepted afterwards.
func TestEveryLengthAndEveryBit(t *testing.T) {
	l := newLink(t, Initiator, Responder)
	h1 := l.a.Tick(0, nil)
	tamper(t, l.b, h1)
	h2 := l.b.Receive(0, h1, nil).Reply
	tamper(t, l.a, h2)
	confirm := l.a.Receive(0, h2, nil).Reply
	tamper(t, l.b, confirm)
	l.carry(l.b, confirm)
	l.talk("hello")
	sealed := l.a.Session().Seal(2, nil, bytes.Repeat([]byte("x"), 60))
	tamper(t, l.b, sealed)
	l.carry(l.b, sealed)
}

func tamper(t *testing.T, to *end, datagram []byte) {
	t.Helper()
	session, pending, next := to.Session(), to.pending, to.next
	try := func(what string, at int, d []byte) {
		if r := to.Receive(0, d, nil); r.Outcome != Rejected {
			t.Fatalf("kind %d: %s at %d was accepted", datagram[3], what, at)
		}
	}
	for n := range datagram {
		try("cut", n, bytes.Clone(datagram[:n]))
	}
	try("longer", len(datagram), append(bytes.Clone(datagram), 0))
	for bit := range len(datagram) * 8 {
		d := bytes.Clone(datagram)
		d[bit/8] ^= 1 << (bit % 8)
		try("bit flipped", bit, d)
	}
	if to.Session() != session || to.pending != pending || to.next != next {
		t.Fatal("a forged datagram changed the sessions")
	}
}

// No (key, nonce) twice: goroutines seal at once, two on each lane, which is more than
// is promised to be fast.
func TestNonceIsNeverUsedTwice(t *testing.T) {
	a, _ := pair(t)
	const goroutines, each = 8, 500
	nonces := make([][][12]byte, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Add(1)
		go func() {
			defer wg.Done()
			buf := make([]byte, 0, 64)
			for range each {
				d := a.Seal(Lane(g/2), buf, []byte("text"))
				nonces[g] = append(nonces[g], [12]byte(nonce(d[:HeaderSize])))
			}
		}()
	}
	wg.Wait()
	seen := map[[12]byte]bool{}
	for _, list := range nonces {
		for _, n := range list {
			if seen[n] {
				t.Fatalf("nonce %x twice", n)
			}
			seen[n] = true
		}
	}
	if len(seen) != goroutines*each {
		t.Fatalf("%d nonces", len(seen))
	}
}

func TestKeysOfTwoDirectionsAndSessionsDiffer(t *testing.T) {
	a, b := pair(t)
	c, _ := pair(t)
	zero := make([]byte, 12)
	texts := map[string]bool{}
	for _, s := range []*Session{a, b, c} {
		texts[string(s.sealer.Seal(nil, zero, make([]byte, 32), nil))] = true
	}
	if len(texts) != 3 {
		t.Error("two keys are equal")
	}
}

func TestNoAllocations(t *testing.T) {
	a, b := pair(t)
	plain := make([]byte, 1400)
	buf := make([]byte, 0, 1500)
	n := testing.AllocsPerRun(200, func() {
		d := a.Seal(0, buf, plain)
		if _, _, why := b.Open(d[HeaderSize:HeaderSize], d); why != Accepted {
			t.Fatal(why)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per datagram", n)
	}
	n = testing.AllocsPerRun(200, func() {
		if _, _, why := b.Open(buf[:0], buf[:1432]); why == Accepted {
			t.Fatal("accepted")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per forged datagram", n)
	}
}

func BenchmarkSeal1400(b *testing.B) {
	s, _ := pair(b)
	plain, buf := make([]byte, 1400), make([]byte, 0, 1500)
	b.SetBytes(1400)
	b.ReportAllocs()
	for b.Loop() {
		s.Seal(0, buf, plain)
	}
}

func BenchmarkOpen1400(b *testing.B) {
	s, r := pair(b)
	plain, buf, out := make([]byte, 1400), make([]byte, 0, 1500), make([]byte, 0, 1500)
	d := s.Seal(0, buf, plain)
	b.SetBytes(1400)
	b.ReportAllocs()
	for b.Loop() {
		r.windows[0] = Window{}
		if _, _, why := r.Open(out, d); why != Accepted {
			b.Fatal(why)
		}
	}
}

// BenchmarkOpenForged is what a flood costs that knows the session id.
func BenchmarkOpenForged(b *testing.B) {
	s, r := pair(b)
	d := s.Seal(0, nil, make([]byte, 1400))
	out := make([]byte, 0, 1500)
	d[900] ^= 1
	b.SetBytes(1400)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, why := r.Open(out, d); why != RejectUnauthentic {
			b.Fatal(why)
		}
	}
}

// BenchmarkForgedHandshake1 is what a flood of unknown handshakes costs, per key.
func BenchmarkForgedHandshake1(b *testing.B) {
	stranger, _ := NewPeer(Config{Keys: []Key{NewKey()}})
	p, _ := NewPeer(Config{Keys: []Key{NewKey()}})
	h1 := stranger.Tick(0, nil)
	for b.Loop() {
		if r := p.Receive(0, h1, nil); r.Reject != RejectUnauthentic {
			b.Fatal(r.Reject)
		}
	}
}

func BenchmarkHandshake(b *testing.B) {
	for b.Loop() {
		pair(b)
	}
}
