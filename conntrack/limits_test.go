package conntrack

import (
	"testing"
	"time"

	"holdfast/dataplane/packet"
)

// TestD7_ResetKeepsThePort: after a reset a translated connection stays for four minutes,
// so that its port goes to nobody else while its server may still send (RFC 7857).
func TestD7_ResetKeepsThePort(t *testing.T) {
	tr := newTracer(t, [2]uint32{1, 1}, true)
	tr.run(shake + "-> R seq=1 => pass CL")
	ended := make([]Ended, 4)
	for _, row := range []struct {
		after time.Duration
		gone  int
	}{{239 * time.Second, 0}, {242 * time.Second, 1}} {
		if _, n := tr.table.Sweep(0, 10, tr.now+int64(row.after), GraceOwner, ended); n != row.gone {
			t.Errorf("%v after the reset: %d gone, want %d", row.after, n, row.gone)
		}
	}
}

// TestD9_ResetWithData: the data of a reset changes nothing about it, and what has RST is
// a reset whatever else it has.
func TestD9_ResetWithData(t *testing.T) {
	trace(t, shake+`
	<- RA seq=1 ack=1 len=1000     => pass CL
	`)
	trace(t, shake+`
	<- RA seq=5000 ack=1 len=1000  => pass ES       inexact, data or not
	-> A  seq=1 ack=1              => pass ES
	`)
	trace(t, `
	-> S  seq=0 len=100            => new  SS       data on the SYN
	<- RA seq=0 ack=101            => pass CL       refuses SYN and data
	`)
}

// TestG2_BothDirectionsRefresh: RFC 4787 REQ-6 demands it of the outbound one and allows
// it of the inbound.
func TestG2_BothDirectionsRefresh(t *testing.T) {
	table, now := newTable(t, Config{Capacity: 4}), int64(time.Hour)
	p := parsed(tuple(packet.UDP, "10.0.0.2", 4000, "198.51.100.7", 53), 10)
	pr := proposalFor(p.Tuple)
	var r Result
	if got := table.Insert(&pr, &p, now, &r); got != Inserted {
		t.Fatal(got)
	}
	for i, tup := range []packet.Tuple{p.Tuple, p.Tuple.Reply(), p.Tuple.Reply(), p.Tuple} {
		now += int64(20 * time.Second)
		q, hits := parsed(tup, 10), make([]Hit, 1)
		table.Lookup([]packet.Parsed{q}, hits)
		var v View
		if table.Track(&q, &hits[0], now, &r) != OutcomePass || !table.View(0, now, &v) || v.Idle != 0 {
			t.Errorf("packet %d did not refresh: %+v", i, v)
		}
	}
}

// TestG5_RequestIsNoReply: a request of the other side with the same identifier is not the
// answer to ours.
func TestG5_RequestIsNoReply(t *testing.T) {
	table := newTable(t, Config{Capacity: 4})
	for _, proto := range []packet.Proto{packet.ICMP, packet.ICMPv6} {
		a, b, request := "10.0.0.2", "198.51.100.7", uint16(packet.ICMPEchoRequest)<<8
		if proto == packet.ICMPv6 {
			a, b, request = "2001:db8::2", "2001:db8:1::7", packet.ICMPv6EchoRequest<<8
		}
		p := parsed(tuple(proto, a, 7, b, request), 10)
		pr := proposalFor(p.Tuple)
		var r Result
		if got := table.Insert(&pr, &p, int64(time.Hour), &r); got != Inserted {
			t.Fatal(got, r.Reason)
		}
		back := parsed(tuple(proto, b, 7, a, request), 10)
		if got := offer(table, &back, &r); got != OutcomeMiss {
			t.Errorf("%v: a request the other way: %v", proto, got)
		}
		answer := parsed(p.Tuple.Reply(), 10)
		if got := offer(table, &answer, &r); got != OutcomePass {
			t.Errorf("%v: the answer: %v", proto, got)
		}
	}
}

// TestO2_FullOfEstablished: a table full of connections in use refuses new ones, gives up
// none, and lets every reply through.
func TestO2_FullOfEstablished(t *testing.T) {
	const n = 50
	table := newTable(t, Config{Capacity: n})
	var r Result
	var e Ended
	for i := range n {
		tup := numbered(i)
		tup.Proto = packet.TCP
		p := tcpPacket(tup, packet.FlagSYN, 99, 0)
		pr := proposalFor(tup)
		table.Insert(&pr, &p, int64(time.Hour), &r)
		for _, q := range []packet.Parsed{tcpPacket(tup.Reply(), packet.FlagSYN|packet.FlagACK, 199, 100), tcpPacket(tup, packet.FlagACK, 100, 200)} {
			if offer(table, &q, &r) != OutcomePass {
				t.Fatal(r.Reason)
			}
		}
	}
	p := parsed(numbered(n), 0)
	pr := proposalFor(p.Tuple)
	if got := table.Insert(&pr, &p, int64(time.Hour), &r); got != Full {
		t.Errorf("one more than there is room for: %v", got)
	}
	for range 10 {
		if table.Evict(int64(time.Hour), &e) {
			t.Errorf("%v was evicted in %v", e.State.Original, e.State.TCP())
		}
	}
	for i := range n {
		tup := numbered(i)
		tup.Proto = packet.TCP
		q := tcpPacket(tup.Reply(), packet.FlagACK, 200, 100)
		if offer(table, &q, &r) != OutcomePass {
			t.Errorf("the reply of connection %d: %v", i, r.Reason)
		}
	}
}

// TestO5_ZonesAreApart: the same addresses in two zones are two connections.
func TestO5_ZonesAreApart(t *testing.T) {
	table := newTable(t, Config{Capacity: 4})
	seen := map[uint32]bool{}
	var r Result
	for zone := range uint16(3) {
		tup := tuple(packet.UDP, "10.0.0.2", 4000, "198.51.100.7", 53)
		tup.Zone = zone
		p := parsed(tup, 10)
		if got := offer(table, &p, &r); got != OutcomeMiss {
			t.Errorf("zone %d finds another's connection: %v", zone, got)
		}
		pr := proposalFor(tup)
		if got := table.Insert(&pr, &p, int64(time.Hour), &r); got != Inserted || seen[r.Index] {
			t.Errorf("zone %d: %v", zone, got)
		}
		seen[r.Index] = true
		answer := parsed(tup.Reply(), 10)
		if offer(table, &answer, &r) != OutcomePass || !seen[r.Index] || r.Direction != Reply {
			t.Errorf("zone %d: its answer: %+v", zone, r)
		}
	}
}
