package dataplane

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/config"
)

// Two rule sets of that many rules, one for each port: the first lets every second port out,
// by an address of its own, the second the others, by another. So what becomes of a packet
// says by which set it was judged, and that rules and translations were of the same one.
const alternateFirst = 10_000 // port of the first

// alternateRules is fewer in the gate, where compiling them must not take long.
func alternateRules() int {
	if os.Getenv("HOLDFAST_SOAK") != "" {
		return 10_000
	}
	return 2_000
}

var alternateAddr = [2]packet.Addr{ip("203.0.113.5"), ip("203.0.113.6")}

func alternatePolicy(t *testing.T, which int) *config.Policy {
	t.Helper()
	var b strings.Builder
	b.WriteString(rigPorts)
	fmt.Fprintf(&b, "[[nat]]\nkind = \"snat\"\nfrom = \"10.0.0.0/24\"\nout = \"wan\"\ntarget = %q\n", alternateAddr[which].String())
	for i := range alternateRules() {
		action := "pass"
		if i%2 != which {
			action = "block"
		}
		fmt.Fprintf(&b, "[[rules]]\nid = \"%c-%d\"\naction = %q\nin = \"lan\"\nproto = \"udp\"\nto_port = %d\n", 'a'+which, i, action, alternateFirst+i)
	}
	b.WriteString("[[rules]]\nid = \"web\"\naction = \"pass\"\nin = \"lan\"\nproto = \"tcp\"\nto_port = 80\n")
	p, err := config.ParsePolicy("alternate", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reload makes the Snapshot that follows another, as a reload does, and publishes it.
func (r *rig) reload(p *config.Policy) error {
	old := r.snapshot.Load()
	set, err := rules.CompileAfter(p, &rules.Former{Sets: old.Rules.Timeouts()})
	if err != nil {
		return err
	}
	next := *old
	next.Generation, next.Rules, next.Hits = old.Generation+1, set, NewRuleHits(1, set)
	if next.NAT, err = nat.Prepare(rules.Translations(p), rules.Site(p), next.Ports); err != nil {
		return err
	}
	next.NAT.Enforce()
	r.snapshot.Store(&next)
	return nil
}

// TestREL28_NoPacketSeesHalfASet reloads back to back while packets are judged: each is
// judged as the generation says that its turn began with, by its rules and translations
// alike, every packet is counted with a rule of that generation, and connections go on.
func TestREL28_NoPacketSeesHalfASet(t *testing.T) {
	r := newRig(t)
	policies := [2]*config.Policy{alternatePolicy(t, 0), alternatePolicy(t, 1)}
	if err := r.reload(policies[1]); err != nil { // generation 1: odd ones are the second set
		t.Fatal(err)
	}
	r.w.snapshot = r.snapshot.Load()
	long := openLong(r, 8)

	least, until := 6, time.Now()
	if os.Getenv("HOLDFAST_SOAK") != "" {
		until = until.Add(time.Minute)
	}
	var stop atomic.Bool
	var reloads sync.WaitGroup
	defer reloads.Wait()
	defer stop.Store(true)
	reloads.Go(func() {
		for which := 0; !stop.Load(); which = 1 - which {
			if err := r.reload(policies[which]); err != nil {
				t.Error(err)
				return
			}
		}
	})
	seen, judged := map[uint64]RuleHits{}, map[uint64]uint64{}
	deadline, turns := time.Now().Add(2*time.Minute), 0
	for turn := 0; (len(seen) < least || time.Now().Before(until)) && !t.Failed(); turn++ {
		if time.Now().After(deadline) {
			t.Fatalf("%d generations seen", len(seen))
		}
		// What the turn before has opened is over; what is long gets a packet in each.
		for range 4 {
			r.w.now += 31e9
			r.w.sweep()
		}
		s := r.snapshot.Load()
		r.w.snapshot = s
		seen[s.Generation] = s.Hits[0]
		judged[s.Generation] += r.alternate(turn, int(s.Generation%2), long)
		turns++
	}
	var total uint64
	for g, n := range judged {
		total += n
		var sum uint64
		for i := range seen[g] {
			sum += seen[g][i].Load()
		}
		if sum != n && g != 1 { // the first has counted the long connections too
			t.Errorf("generation %d: rules have counted %d packets of %d", g, sum, n)
		}
	}
	t.Logf("%d generations of %d rules judged %d first packets; connections that live had %d packets, none lost",
		len(seen), alternateRules()+1, total, turns*len(long))
}

// openLong opens TCP connections by the second set and returns a packet of each.
func openLong(r *rig, n uint16) (next [][]byte) {
	for i := range n {
		sport := 40_000 + i
		syn := r.feed(lan, fromClient(packetIn{sport: sport, dport: 80, flags: "S", seq: 100}).frame(r.t))
		if len(syn) != 1 {
			r.t.Fatalf("connection %d does not begin: %v", i, r.dropped(lan))
		}
		answer := fromServer(packetIn{sport: 80, dport: binary.BigEndian.Uint16(syn[0].frame[34:]), flags: "SA", seq: 500, ack: 101})
		answer.to = alternateAddr[1]
		r.feed(wan, answer.frame(r.t))
		if why := r.complete(sport, 80); why != drop.Pass {
			r.t.Fatalf("connection %d: %v", i, why)
		}
		next = append(next, fromClient(packetIn{sport: sport, dport: 80, flags: "A", seq: 101, ack: 501}).frame(r.t))
	}
	return next
}

// alternate sends a burst of first packets and one of each long connection, and holds what
// leaves against the set that is to judge them. It returns how many first packets it were.
func (r *rig) alternate(turn, which int, long [][]byte) (first uint64) {
	const burst = 32
	frames := append([][]byte{}, long...)
	pass := map[uint16]bool{}
	for i := range burst {
		rule := (turn*burst*7 + i*311) % alternateRules()
		port := uint16(alternateFirst + rule)
		pass[port] = rule%2 == which
		frames = append(frames, fromClient(packetIn{proto: packet.UDP, sport: 5000, dport: port}).frame(r.t))
	}
	left, went := map[uint16]packet.Addr{}, 0
	for _, o := range r.feed(lan, frames...) {
		var p packet.Parsed
		if why := packet.Decode(o.frame, &p); why != drop.Pass || p.Kind != packet.KindIP {
			r.t.Fatal(why)
		}
		if p.Tuple.DstPort == 80 {
			went++
			continue
		}
		left[p.Tuple.DstPort] = p.Tuple.Src
	}
	if went != len(long) {
		r.t.Errorf("turn %d: %d of %d packets of connections that live went on: %v", turn, went, len(long), r.dropped(lan))
	}
	for port, want := range pass {
		src, passed := left[port]
		if passed != want || passed && src != alternateAddr[which] {
			r.t.Errorf("turn %d, set %d, port %d: passed %v as %v, want %v", turn, which, port, passed, src, want)
		}
	}
	return uint64(len(pass))
}
