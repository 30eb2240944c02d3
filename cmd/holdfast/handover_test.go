package main

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"holdfast/internal/lab"
)

// crossings are captures of the numbered datagrams of a stream before and behind the firewall,
// taken on the switches: what a host's own socket has no room for does not count.
type crossings struct {
	before, behind []*lab.Capture
}

// numbered finds the number of a datagram of a stream.
func numbered(frame []byte) (n uint64, ok bool) {
	_, rest, ok := bytes.Cut(frame, []byte("HFFLOOD!"))
	if !ok || len(rest) < 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(rest), true
}

// crossing begins to capture what one host sends, and what both nodes make of it on the other side.
func (s *site) crossing(t *testing.T, host string, ports ...string) *crossings {
	t.Helper()
	c := &crossings{}
	listen := func(name string) *lab.Capture {
		captured, err := s.switches.Capture(name, lab.CaptureOptions{Keep: 1 << 19, Filter: func(frame []byte) bool {
			_, ok := numbered(frame)
			return ok
		}})
		if err != nil {
			t.Fatal(err)
		}
		return captured
	}
	for _, port := range ports {
		c.behind = append(c.behind, listen(port))
	}
	c.before = append(c.before, listen(host))
	return c
}

// lost returns how many datagrams went in, and when each that never came out did.
func (c *crossings) lost(t *testing.T) (sent int, lost []time.Time) {
	t.Helper()
	out := map[uint64]bool{}
	for _, captured := range c.behind {
		for _, f := range captured.Frames() {
			if n, ok := numbered(f.Data); ok {
				out[n] = true
			}
		}
		if err := captured.Err(); err != nil {
			t.Fatalf("the capture is not complete: %v", err)
		}
	}
	for _, f := range c.before[0].Frames() {
		if n, ok := numbered(f.Data); ok {
			if sent++; !out[n] {
				lost = append(lost, f.Time)
			}
		}
	}
	if err := c.before[0].Err(); err != nil {
		t.Fatalf("the capture is not complete: %v", err)
	}
	return sent, lost
}

// gapMax is how long a planned change of role may leave a segment without a speaker on a machine whose
// cores are shared: far below dead_after, and below the time that a node yields, so nothing waits for these.
const gapMax = 500 * time.Millisecond

// TestP10_PlannedSwitchOver hands the role over and back while 10,000 datagrams a second go each way,
// counts those that went in and never came out (N11), and wants the other one to speak at once.
func TestP10_PlannedSwitchOver(t *testing.T) {
	s := newSite(t, 0)
	e := s.listen(t)
	a, b := s.startPair(t)
	stop := s.stream(t, 10)
	e.more(t, 0, 2000)
	there := s.crossing(t, "c0", "wan-0", "wan-1")
	back := s.crossing(t, "s0", "lan-0", "lan-1")
	order := "a"
	for range rounds() {
		e.more(t, 0, 5000)
		b.tell(t, "promote").said(t)
		readyAgain(t, b, a)
		e.more(t, 1, 5000)
		b.tell(t, "demote").said(t)
		readyAgain(t, a, b)
		e.more(t, 0, 5000)
		order += "ba"
	}
	stop()
	for _, way := range []struct {
		name string
		*crossings
	}{{"to the server", there}, {"back to the client", back}} {
		sent, lost := way.lost(t)
		t.Logf("%s: %d of %d lost in %d changes of role", way.name, len(lost), sent, 2*rounds())
	}
	for _, port := range []string{"lan", "wan"} {
		all, _ := withoutRests(e.reigns(t, port))
		for i := 1; i < len(all); i++ {
			gap := all[i].first.Sub(all[i-1].last)
			t.Logf("on %s nobody spoke for %v", port, gap)
			if gap > gapMax {
				t.Errorf("on %s nobody spoke for %v while the role was handed over:\n%s", port, gap, e.tell(all))
			}
		}
	}
	e.spoke(t, order, a, b)
}
