package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/dataplane/xsk"
	"holdfast/internal/lab"
)

// residue is what a node may still send when its lease is over: what one kick that was under
// way hands to the kernel, at most what a port has staged (dataplane/gate).
const residue = xsk.DefaultTxBudget

// speakers are captures of all that both nodes let out on both segments.
type speakers struct {
	site  *site
	ports map[string]*lab.Capture // by switch port: "lan-0" is that of fw-a
	begun time.Time
}

// reign is a time in which one node spoke and no other did.
type reign struct {
	node        int
	first, last time.Time
	frames      int
}

// listen begins to capture, before any daemon is started.
func (s *site) listen(t *testing.T) *speakers {
	t.Helper()
	e := &speakers{site: s, ports: map[string]*lab.Capture{}, begun: time.Now()}
	for i := range s.places {
		for _, port := range []string{"lan", "wan"} {
			name := fmt.Sprintf("%s-%d", port, i)
			c, err := s.switches.Capture(name, lab.CaptureOptions{Keep: 1 << 19})
			if err != nil {
				t.Fatal(err)
			}
			e.ports[name] = c
		}
	}
	return e
}

// count is how many frames a node has let out on both segments.
func (e *speakers) count(t *testing.T, node int) (n int) {
	t.Helper()
	for _, port := range []string{"lan", "wan"} {
		c := e.ports[fmt.Sprintf("%s-%d", port, node)]
		n += c.Count()
		if err := c.Err(); err != nil {
			t.Fatalf("the capture is not complete: %v", err)
		}
	}
	return n
}

// more waits until a node has let out n frames more.
func (e *speakers) more(t *testing.T, node, n int) {
	t.Helper()
	from := e.count(t, node)
	eventually(t, "the node is heard", func() bool { return e.count(t, node) >= from+n })
}

// sharedMACs are the shared MACs of lan and wan in policyText.
var sharedMACs = map[string]string{"lan": "\x02\x48\x46\x00\x00\x01", "wan": "\x02\x48\x46\x00\x00\x02"}

// claimsShared reports whether a frame says that its sender has the shared addresses of a port: it
// bears the shared MAC as source, or gives it in ARP (RFC 826). Whoever believes it, host or
// switch, sends there from then on.
func claimsShared(port string, frame []byte) bool {
	const ethernet, arpSender = 14, 22 // where the sender's hardware address of ARP is
	if len(frame) < ethernet {
		return false
	}
	if string(frame[6:12]) == sharedMACs[port] {
		return true
	}
	return binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_ARP && len(frame) >= arpSender+6 &&
		string(frame[arpSender:arpSender+6]) == sharedMACs[port]
}

// reigns are the times in which one node spoke on a segment, in order.
func (e *speakers) reigns(t *testing.T, port string) (all []reign) {
	t.Helper()
	type word struct {
		node int
		at   time.Time
	}
	var words []word
	for i := range e.site.places {
		c := e.ports[fmt.Sprintf("%s-%d", port, i)]
		for _, f := range c.Frames() {
			if claimsShared(port, f.Data) {
				words = append(words, word{i, f.Time})
			}
		}
		if err := c.Err(); err != nil {
			t.Fatalf("the capture is not complete: %v", err)
		}
	}
	slices.SortStableFunc(words, func(a, b word) int { return a.at.Compare(b.at) })
	for _, w := range words {
		if n := len(all); n == 0 || all[n-1].node != w.node {
			all = append(all, reign{node: w.node, first: w.at})
		}
		r := &all[len(all)-1]
		r.last, r.frames = w.at, r.frames+1
	}
	return all
}

// withoutRests takes out of reigns what one kick that was under way explains: a few frames of who
// spoke before, at once after another has begun.
func withoutRests(all []reign) (left []reign, taken int) {
	const atOnce = 50 * time.Millisecond // a kick that was preempted on a machine whose cores are shared
	left = append(left, all[:min(2, len(all))]...)
	for i := 2; i < len(all); i++ {
		r, before := all[i], &left[len(left)-1]
		switch {
		case r.node == before.node:
			before.last, before.frames = r.last, before.frames+r.frames
		case len(left) >= 2 && r.last.Sub(before.first) < atOnce && taken+r.frames <= residue:
			taken += r.frames
		default:
			left = append(left, r)
		}
	}
	return left, taken
}

// spoke checks that on both segments the nodes spoke one after the other, in the order that
// want has ("ab": fw-a, then fw-b), and never two at once. Where the machine stood still for so long
// that a lease lapsed there are two changes more for each.
func (e *speakers) spoke(t *testing.T, want string, daemons ...*daemon) {
	t.Helper()
	lapses := 0
	for _, d := range daemons {
		lapses += int(d.group().LeaseLapse)
	}
	for _, port := range []string{"lan", "wan"} {
		all, taken := withoutRests(e.reigns(t, port))
		var order strings.Builder
		for _, r := range all {
			order.WriteByte("ab"[r.node])
		}
		switch {
		case order.String() == want:
		case lapses > 0 && len(all) <= len(want)+2*lapses:
			t.Logf("on %s the nodes spoke in the order %q, with %d leases that lapsed", port, &order, lapses)
		default:
			t.Errorf("on %s the nodes spoke in the order %q, want %q:\n%s", port, &order, want, e.tell(all))
		}
		if taken > 0 {
			t.Logf("on %s %d frames of a kick that was under way", port, taken)
		}
	}
}

// twice returns the first and the last moment at which a node spoke on a segment though the other
// did, before and after; zero where the nodes spoke one after the other in at most two reigns.
func (e *speakers) twice(t *testing.T, port string) (from, to time.Time) {
	t.Helper()
	all, _ := withoutRests(e.reigns(t, port))
	if len(all) > 2 {
		return all[1].first, all[len(all)-2].last
	}
	return from, to
}

// tell writes reigns for an error message.
func (e *speakers) tell(all []reign) string {
	var b strings.Builder
	for i, r := range all {
		if i == 20 {
			fmt.Fprintf(&b, "and %d more\n", len(all)-i)
			break
		}
		fmt.Fprintf(&b, "%s %12v to %12v, %d frames\n", e.site.places[r.node].Name(), r.first.Sub(e.begun), r.last.Sub(e.begun), r.frames)
	}
	return b.String()
}

// long reports whether the long form of a test is wanted.
func long() bool { return os.Getenv("HOLDFAST_SOAK") != "" }

// TestReignsAreTold: the checker finds two nodes that speak at once, and takes the rest of a kick
// for what it is.
func TestReignsAreTold(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	for _, row := range []struct {
		name  string
		all   []reign
		left  string
		taken int
	}{
		{"one after the other", []reign{{0, at(0), at(10), 5}, {1, at(20), at(30), 5}}, "01", 0},
		{"the rest of a kick", []reign{{0, at(0), at(10), 5}, {1, at(20), at(21), 5}, {0, at(22), at(22), 3}, {1, at(23), at(99), 50}}, "01", 3},
		{"a kick is not so long", []reign{{0, at(0), at(10), 5}, {1, at(20), at(90), 5}, {0, at(91), at(91), 3}, {1, at(92), at(99), 50}}, "010", 50},
		{"nor so large", []reign{{0, at(0), at(10), 5}, {1, at(20), at(21), 5}, {0, at(22), at(22), residue + 1}, {1, at(23), at(99), 50}}, "0101", 0},
	} {
		left, taken := withoutRests(row.all)
		order := ""
		for _, r := range left {
			order += fmt.Sprint(r.node)
		}
		if order != row.left || taken != row.taken {
			t.Errorf("%s: %s and %d frames, want %s and %d", row.name, order, taken, row.left, row.taken)
		}
	}
	frame := []byte("\xff\xff\xff\xff\xff\xff\x02\x11\x11\x11\x11\x11\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02\x02\x48\x46\x00\x00\x01\x0a\x00\x00\x01")
	if !claimsShared("lan", frame) || claimsShared("wan", frame) {
		t.Error("an ARP answer for the address of lan is not seen as one")
	}
}
