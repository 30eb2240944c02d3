package nat

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"testing"

	"holdfast/dataplane/packet"
	"holdfast/internal/race"
)

// steps is how many random steps the account tests take: enough for the gate, fewer under
// the race detector's weight, or a million.
func steps() int {
	if os.Getenv("HOLDFAST_SOAK") != "" {
		return 1_000_000
	}
	if race.Enabled {
		return 40_000
	}
	return 100_000
}

// holding is a connection of the tests below.
type holding struct {
	original, reply packet.Tuple
	binding         Binding
}

// ledger is the slow twin of the accounts of a pool: who has which external port, by
// looking at every connection.
type ledger map[share]map[Endpoint]int

func (l ledger) add(t *testing.T, h *holding, by int) {
	t.Helper()
	note := func(s share, e Endpoint) {
		if s.space == noPorts {
			return
		}
		if l[s] == nil {
			l[s] = map[Endpoint]int{}
		}
		if l[s][e] += by; l[s][e] == 0 {
			delete(l[s], e)
		}
		if len(l[s]) == 0 {
			delete(l, s)
		}
		if len(l[s]) > 1 {
			t.Fatalf("port %d has %d owners: %v", s.port, len(l[s]), l[s])
		}
	}
	inside, _ := sourceOf(&h.original, &h.reply)
	note(h.binding.source, inside)
	if inside, _, ok := destinationOf(&h.original, &h.reply); ok {
		note(h.binding.destination, inside)
	}
}

// TestI4_AccountAgainstLedger opens and closes random connections of every kind, direction
// and protocol, some refused by the table, some taken over from another node, and compares
// the accounts with the ledger: no port has two owners (I4), none is lost.
func TestI4_AccountAgainstLedger(t *testing.T) {
	policy, pool := compiled(t, web(), udpMasquerade(func(m *Translation) {
		m.Filtering, m.Hairpin, m.PortsPerSource, m.HoldDown = FilterAddress, HairpinOn, 200, 3e9
	}))
	random := rand.New(rand.NewPCG(7, 11))
	var open []holding
	book := ledger{}
	now, refused := int64(1e12), 0
	for step := range steps() {
		if step%500 == 0 {
			now += 1e9
			pool.Tick(now)
		}
		if growing := step/20000%2 == 0; len(open) > 0 && random.IntN(10) < 5-2*b2i(growing) {
			i := random.IntN(len(open))
			h := open[i]
			open[i] = open[len(open)-1]
			open = open[:len(open)-1]
			if got := pool.BindingOf(h.original, h.reply); got != h.binding {
				t.Fatalf("step %d: %v > %v: BindingOf gives %+v, it holds %+v", step, h.original, h.reply, got, h.binding)
			}
			book.add(t, &h, -1)
			if !pool.Release(h.binding) {
				t.Fatalf("step %d: %+v was not held", step, h)
			}
			continue
		}
		original, in, out := randomOpening(random)
		turn := policy.Destination(&original, in)
		var clashed Binding
		for attempt := range 1 + random.IntN(3) { // the table refuses some
			reply, b, outcome := policy.Source(&turn, out, attempt)
			pool.Release(clashed)
			clashed = Binding{}
			if outcome == Exhausted {
				refused++
				break
			}
			h := holding{original, reply, b}
			if random.IntN(3) > 0 {
				book.add(t, &h, 1)
				open = append(open, h)
				if random.IntN(8) == 0 { // and the same again, from a peer
					if taken, ok := pool.Take(original, reply); ok {
						h.binding = taken
						book.add(t, &h, 1)
						open = append(open, h)
					}
				}
				break
			}
			clashed = b
		}
		pool.Release(clashed)
	}
	if refused == 0 {
		t.Log("no connection was refused")
	}
	compare(t, pool, book)
	for i := range open {
		book.add(t, &open[i], -1)
		if !pool.Release(pool.BindingOf(open[i].original, open[i].reply)) {
			t.Fatal("not held")
		}
	}
	pool.Tick(now + 1000e9)
	compare(t, pool, book)
	for _, u := range pool.Usage() {
		if u.Used != 0 {
			t.Errorf("%v %v: %d ports are left", u.Address, u.Proto, u.Used)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// randomOpening is a connection from inside to outside, from outside to an external port,
// or from inside to one.
func randomOpening(random *rand.Rand) (original packet.Tuple, in, out packet.PortID) {
	all := protos(packet.TCP, packet.UDP, packet.SCTP, packet.ICMP, packet.GRE)
	host := packet.Tuple{Proto: all[random.IntN(len(all))]}
	host.Src = inside(random.IntN(30), 0).Addr
	host.Dst = packet.AddrFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(random.IntN(5))}))
	if host.Proto != packet.GRE {
		host.SrcPort, host.DstPort = uint16(random.IntN(1500)), uint16(1+random.IntN(2000))
	}
	if host.Proto == packet.ICMP {
		host.DstPort = packet.ICMPEchoRequest << 8
	}
	switch random.IntN(6) {
	case 0: // from outside
		host.Src, host.Dst = host.Dst, addr("203.0.113.2")
		return host, wan, lan
	case 1: // hairpin
		host.Dst = addr("203.0.113.2")
		return host, lan, lan
	case 2: // the node itself
		host.Src = addr("203.0.113.2")
		return host, packet.NoPort, wan
	}
	return host, lan, wan
}

// compare holds every account to the ledger.
func compare(t *testing.T, pool *Pool, book ledger) {
	t.Helper()
	seen := 0
	for _, x := range pool.current.Load().all {
		for k := tcpPorts; k < spaces; k++ {
			m := x.maps[k].Load()
			for port := 1; m != nil && port < 1<<16; port++ {
				e, n := m.Holder(uint16(port))
				owners := book[share{x.position, k, uint16(port)}]
				if int(n) != owners[e] || len(owners) > 0 != (n > 0) {
					t.Fatalf("%v port %d: %v with %d connections, ledger %v", x.addr, port, e, n, owners)
				}
				if n > 0 {
					seen++
				}
				if owned, free := m.ownedLocked(uint16(port)), !m.taken.has(uint16(port)); owned && free {
					t.Fatalf("%v port %d is owned and free", x.addr, port)
				}
			}
		}
	}
	if seen != len(book) {
		t.Fatalf("%d ports in use, %d in the ledger", seen, len(book))
	}
}

// TestI12_AccountsInParallel is the same from many goroutines at once: no external port
// ever has two owners, and nothing is left at the end.
func TestI12_AccountsInParallel(t *testing.T) {
	policy, pool := compiled(t, web(), udpMasquerade(func(m *Translation) { m.Filtering, m.Hairpin = FilterNone, HairpinOn }))
	var wg sync.WaitGroup
	const workers = 8
	for worker := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 3))
			var open []holding
			for range steps() / workers {
				if len(open) > 200 || len(open) > 0 && random.IntN(2) == 0 {
					i := random.IntN(len(open))
					h := open[i]
					open[i], open = open[len(open)-1], open[:len(open)-1]
					if !pool.Release(pool.BindingOf(h.original, h.reply)) {
						t.Errorf("%+v was not held", h)
						return
					}
					continue
				}
				original, in, out := randomOpening(random)
				turn := policy.Destination(&original, in)
				reply, b, outcome := policy.Source(&turn, out, random.IntN(2))
				if outcome == Exhausted {
					continue
				}
				if b.source.space != noPorts {
					inside, _ := sourceOf(&original, &reply)
					if holder, n := pool.current.Load().all[b.source.external].portMap(b.source.space).Holder(b.source.port); n == 0 || holder != inside {
						t.Errorf("%v holds %+v, and %v has it %d times", inside, b.source, holder, n)
						return
					}
				}
				open = append(open, holding{original, reply, b})
			}
			for _, h := range open {
				if !pool.Release(pool.BindingOf(h.original, h.reply)) {
					t.Errorf("%+v was not held", h)
				}
			}
		})
	}
	wg.Wait()
	compare(t, pool, ledger{})
}
