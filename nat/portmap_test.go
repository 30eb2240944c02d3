package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"holdfast/dataplane/packet"
)

// testSecret makes runs repeatable.
var testSecret = secret{key: [4]uint64{0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9, 0x27d4eb2f165667c5}, seed: 1}

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

func inside(host int, port uint16) Endpoint {
	return Endpoint{Addr: packet.AddrFrom(netip.AddrFrom4([4]byte{10, byte(host >> 16), byte(host >> 8), byte(host)})), Port: port}
}

func mustAcquire(t *testing.T, m *PortMap, e Endpoint, f Freshness) uint16 {
	t.Helper()
	port, ok := m.acquire(&want{Endpoint: e, freshness: f})
	if !ok {
		t.Fatalf("%v got no port", e)
	}
	return port
}

func TestI2_PortPreservationAndClasses(t *testing.T) {
	for _, row := range []struct {
		port      uint16
		low, high uint16 // what stands for it when it is taken
	}{
		{1, 1, 511}, {25, 1, 511}, {511, 1, 511},
		{512, 600, 1023}, {555, 600, 1023}, {599, 600, 1023}, {600, 600, 1023}, {1023, 600, 1023},
		{1024, 1024, 65535}, {40000, 1024, 65535}, {65535, 1024, 65535},
	} {
		t.Run(fmt.Sprint(row.port), func(t *testing.T) {
			m := newPortMap(testSecret, tcpPorts)
			if got := mustAcquire(t, m, inside(1, row.port), Shared); got != row.port {
				t.Errorf("a free port became %d", got)
			}
			for host := 2; host < 100; host++ {
				got := mustAcquire(t, m, inside(host, row.port), Shared)
				if got == row.port || got < row.low || got > row.high {
					t.Fatalf("host %d got %d, not of %d to %d", host, got, row.low, row.high)
				}
			}
		})
	}
	t.Run("0", func(t *testing.T) { // RFC 8085 section 5.1: no port; never an external one
		m := newPortMap(testSecret, udpPorts)
		if got := mustAcquire(t, m, inside(1, 0), Shared); got < 1024 {
			t.Errorf("port 0 became %d", got)
		}
	})
	t.Run("identifier", func(t *testing.T) {
		m := newPortMap(testSecret, identifiers)
		if got := mustAcquire(t, m, inside(1, 7), Shared); got != 7 {
			t.Errorf("identifier 7 became %d", got)
		}
		if got := mustAcquire(t, m, inside(2, 7), Shared); got == 7 || got == 0 {
			t.Errorf("the second 7 became %d", got)
		}
		if got := mustAcquire(t, m, inside(1, 0), Shared); got == 0 {
			t.Error("identifier 0 was given")
		}
	})
}

func TestI3_PortParityKept(t *testing.T) {
	m := newPortMap(testSecret, udpPorts)
	for host := 1; host < 2000; host++ {
		for _, port := range []uint16{20, 5004, 5005} {
			got := mustAcquire(t, m, inside(host, port), Shared)
			if port == 20 && host > 255 {
				continue // even ports below 512 are used up: any one will do
			}
			if got&1 != port&1 {
				t.Fatalf("host %d: port %d became %d", host, port, got)
			}
		}
		if m.free[0][0]+m.free[0][1] == 0 {
			break
		}
	}
}

func TestI4_NoPortOverloading(t *testing.T) {
	m := newPortMap(testSecret, tcpPorts)
	a, b := inside(1, 40000), inside(2, 40000)
	if got := mustAcquire(t, m, a, Shared); got != 40000 {
		t.Fatalf("a got %d", got)
	}
	other := mustAcquire(t, m, b, Shared)
	if other == 40000 {
		t.Fatal("two endpoints have one port")
	}
	if m.take(b, 40000) {
		t.Error("b took a's port")
	}
	// An endpoint keeps its port for every connection, also once its own number is free.
	m.Release(40000)
	if got := mustAcquire(t, m, b, Shared); got != other {
		t.Errorf("b's second connection got %d, its first has %d", got, other)
	}
	if _, n := m.Holder(other); n != 2 {
		t.Errorf("%d connections on b's port", n)
	}
	// A clash draws another port, whatever the endpoint has.
	if got := mustAcquire(t, m, b, Fresh); got == other {
		t.Error("a fresh port is the one that clashed")
	}
}

func TestI9_ExhaustionRefusesAndRecovers(t *testing.T) {
	m := newPortMap(testSecret, tcpPorts)
	taken := map[uint16]bool{}
	for host := range 65535 - 1024 + 1 {
		port := mustAcquire(t, m, inside(host, 50000), Shared)
		if taken[port] || port < 1024 {
			t.Fatalf("host %d got %d", host, port)
		}
		taken[port] = true
	}
	for range 3 {
		if port, ok := m.acquire(&want{Endpoint: inside(1<<20, 50000), freshness: Shared}); ok {
			t.Fatalf("got %d of a full class", port)
		}
	}
	if got := mustAcquire(t, m, inside(5, 50000), Shared); !taken[got] {
		t.Errorf("an endpoint with a port got %d", got)
	}
	if got := mustAcquire(t, m, inside(1<<20, 80), Shared); got != 80 {
		t.Errorf("another class is refused its port: %d", got)
	}
	m.Release(1025)
	if got := mustAcquire(t, m, inside(1<<20, 50000), Shared); got != 1025 { // parity yields
		t.Errorf("the only free port is 1025, got %d", got)
	}
	if m.Release(600) {
		t.Error("a port that nobody had was released")
	}
}

// twin is the slow, obvious form of a PortMap.
type twin struct {
	owners map[uint16]owner
}

// check verifies that the fast form could have done what it did.
func (w *twin) acquire(t *testing.T, e Endpoint, f Freshness, port uint16, ok bool) {
	t.Helper()
	own := map[uint16]bool{}
	for p, o := range w.owners {
		if o.endpoint == e {
			own[p] = true
		}
	}
	_, busy := w.owners[e.Port]
	switch {
	case f == Shared && len(own) > 0:
		if !ok || !own[port] {
			t.Fatalf("%v owns %v and got %d %v", e, own, port, ok)
		}
	case f == Shared && e.Port != 0 && !busy:
		if !ok || port != e.Port {
			t.Fatalf("%v: its number is free and it got %d %v", e, port, ok)
		}
	default:
		low, high := 1024, 65535
		if e.Port > 0 && e.Port < 512 {
			low, high = 1, 511
		} else if e.Port > 0 && e.Port < 1024 {
			low, high = 600, 1023
		}
		var free [2]int
		for p := low; p <= high; p++ {
			if _, busy := w.owners[uint16(p)]; !busy {
				free[p&1]++
			}
		}
		if ok != (free[0]+free[1] > 0) {
			t.Fatalf("%v: %v are free, got %d %v", e, free, port, ok)
		}
		if !ok {
			return
		}
		if _, busy := w.owners[port]; busy || int(port) < low || int(port) > high {
			t.Fatalf("%v got %d", e, port)
		}
		if free[e.Port&1] > 0 && port&1 != e.Port&1 {
			t.Fatalf("%v got %d while %v are free", e, port, free)
		}
	}
	o := w.owners[port]
	w.owners[port] = owner{e, o.refs + 1}
}

func TestPortMapAgainstTwin(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	m, w := newPortMap(testSecret, tcpPorts), &twin{owners: map[uint16]owner{}}
	endpoint := func() Endpoint { // few enough to meet again, most in the small classes
		if random.IntN(20) == 0 {
			return inside(random.IntN(20), uint16(1024+random.IntN(10)))
		}
		return inside(random.IntN(20), uint16(random.IntN(1100)))
	}
	const steps = 8000
	for step := range steps {
		growing := step/(steps/4)%2 == 0 // fill, empty, fill, empty
		switch e := endpoint(); {
		case random.IntN(10) == 0:
			port := uint16(random.IntN(1100))
			o, busy := w.owners[port]
			want := port != 0 && (!busy || o.endpoint == e)
			if got := m.take(e, port); got != want {
				t.Fatalf("step %d: Take(%v, %d) = %v, owner %v", step, e, port, got, o)
			}
			if want {
				w.owners[port] = owner{e, o.refs + 1}
			}
		case growing == (random.IntN(5) > 0):
			f := Shared
			if random.IntN(4) == 0 {
				f = Fresh
			}
			port, ok := m.acquire(&want{Endpoint: e, freshness: f})
			w.acquire(t, e, f, port, ok)
		default:
			for port, o := range w.owners { // some port
				if !m.Release(port) {
					t.Fatalf("step %d: Release(%d) of %v", step, port, o)
				}
				if o.refs--; o.refs == 0 {
					delete(w.owners, port)
				} else {
					w.owners[port] = o
				}
				break
			}
		}
		if m.Used() != len(w.owners) {
			t.Fatalf("step %d: %d used, twin %d", step, m.Used(), len(w.owners))
		}
	}
	verify(t, m, w)
}

// verify compares every part of the map with the twin.
func verify(t *testing.T, m *PortMap, w *twin) {
	t.Helper()
	for p := range 1 << 16 {
		port := uint16(p)
		want := w.owners[port]
		if got := m.owners[port]; got != want {
			t.Errorf("port %d: owner %v, twin %v", port, got, want)
		}
		if m.taken.has(port) != (want.refs > 0) {
			t.Errorf("port %d: used is %v", port, m.taken.has(port))
		}
	}
	indexed := map[uint16]int{}
	for _, port := range m.index {
		if port != 0 {
			indexed[port]++
		}
	}
	if len(indexed) != len(w.owners) {
		t.Errorf("%d ports in the index, twin has %d", len(indexed), len(w.owners))
	}
	for port := range w.owners {
		if indexed[port] != 1 {
			t.Errorf("port %d is in the index %d times", port, indexed[port])
		}
		if _, ok := m.portOfLocked(w.owners[port].endpoint); !ok {
			t.Errorf("port %d is not found by its owner", port)
		}
	}
}

// TestI12_ParallelAcquire lets workers want the same ports at once.
func TestI12_ParallelAcquire(t *testing.T) {
	m := newPortMap(testSecret, udpPorts)
	const workers, rounds = 4, 3000
	var held [workers][]uint16
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for round := range rounds {
				port, ok := m.acquire(&want{Endpoint: inside(worker, uint16(20000+round%1500)), freshness: Shared})
				if !ok {
					t.Errorf("worker %d was refused", worker)
					return
				}
				if e, _ := m.Holder(port); e.Addr != inside(worker, 0).Addr {
					t.Errorf("worker %d got port %d of %v", worker, port, e)
				}
				held[worker] = append(held[worker], port)
				if round%3 == 2 {
					m.Release(held[worker][0])
					held[worker] = held[worker][1:]
				}
			}
		})
	}
	wg.Wait()
	owners := map[uint16]int{}
	for worker, ports := range held {
		for _, port := range ports {
			if other, seen := owners[port]; seen && other != worker {
				t.Fatalf("port %d belongs to workers %d and %d", port, other, worker)
			}
			owners[port] = worker
		}
	}
	if m.Used() != len(owners) {
		t.Errorf("%d used, %d held", m.Used(), len(owners))
	}
	for _, ports := range held {
		for _, port := range ports {
			if !m.Release(port) {
				t.Fatalf("port %d was not held", port)
			}
		}
	}
	verify(t, m, &twin{})
}

func TestNextAbsentAgainstLoop(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var s portSet
	for range 65536 * 3 {
		s.add(uint16(random.IntN(1 << 16)))
	}
	slow := func(from, low, high uint16, p parity) (uint16, bool) {
		span := int(high-low) + 1
		for i := range span {
			port := low + uint16((int(from-low)+i)%span)
			if !s.has(port) && uint64(p)>>(port%64)&1 != 0 {
				return port, true
			}
		}
		return 0, false
	}
	for range 20000 {
		low := uint16(random.IntN(1 << 16))
		high := low + uint16(random.IntN(min(1<<16-int(low), 1+random.IntN(1000))))
		from := low + uint16(random.IntN(int(high-low)+1))
		p := []parity{anyParity, evenParity, oddParity}[random.IntN(3)]
		got, ok := s.nextAbsent(from, low, high, p)
		want, wantOK := slow(from, low, high, p)
		if got != want || ok != wantOK {
			t.Fatalf("nextAbsent(%d, %d, %d, %x) = %d %v, want %d %v", from, low, high, uint64(p), got, ok, want, wantOK)
		}
	}
}
