package conntrack

import (
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// quoting returns an error from a router about a packet with this tuple, and its quote.
func quoting(of packet.Tuple, seq uint32) (packet.Parsed, packet.Quote) {
	e := parsed(packet.Tuple{Src: packet.Addr{0: 0x20, 15: 77}, Dst: of.Src, Proto: packet.ICMPv6, DstPort: 3 << 8}, 0)
	return e, packet.Quote{Tuple: of, Seq: seq}
}

// related asks the table about an error to a quoted packet.
func related(table *Table, of packet.Tuple, seq uint32) (r Related, why drop.Reason) {
	e, q := quoting(of, seq)
	return r, table.Related(&e, &q, &r)
}

// TestH1_ErrorsFindTheirConnection: for every kind of translation, an error about a packet
// of either direction, quoted as it left, finds the tuple that its sender gave it.
func TestH1_ErrorsFindTheirConnection(t *testing.T) {
	client, server := "10.0.0.2", "198.51.100.7"
	for _, row := range []struct {
		name            string
		original, reply packet.Tuple
	}{
		{"none", tuple(packet.UDP, client, 4000, server, 53), tuple(packet.UDP, server, 53, client, 4000)},
		{"source", tuple(packet.UDP, client, 4000, server, 53), tuple(packet.UDP, server, 53, "203.0.113.2", 50001)},
		{"destination (H3)", tuple(packet.UDP, server, 4000, "203.0.113.2", 80), tuple(packet.UDP, "10.0.0.9", 8080, server, 4000)},
		{"both", tuple(packet.UDP, client, 4000, "10.0.0.1", 80), tuple(packet.UDP, "10.0.9.9", 8080, "10.0.9.1", 50002)},
		{"both, hairpin (H8)", tuple(packet.UDP, client, 4000, "203.0.113.2", 80), tuple(packet.UDP, "10.0.0.9", 8080, "203.0.113.2", 50001)},
		{"IPv6, both", tuple(packet.UDP, "fd00::2", 4000, "2001:db8::1", 80), tuple(packet.UDP, "fd00::9", 8080, "2001:db8::1", 50001)},
		{"no ports", tuple(packet.GRE, client, 0, server, 0), tuple(packet.GRE, server, 0, "203.0.113.2", 0)},
		{"echo", tuple(packet.ICMP, client, 77, server, 8<<8), tuple(packet.ICMP, server, 50007, "203.0.113.2", 0)},
		{"echo 6", tuple(packet.ICMPv6, "fd00::2", 77, "2001:db8::7", 128<<8), tuple(packet.ICMPv6, "2001:db8::7", 50007, "2001:db8::1", 129<<8)},
	} {
		t.Run(row.name, func(t *testing.T) {
			table := newTable(t, Config{Capacity: 10, Node: 1})
			p := parsed(row.original, 10)
			var r Result
			pr := proposalFor(row.original)
			pr.Reply = row.reply
			if got := table.Insert(&pr, &p, 1e12, &r); got != Inserted {
				t.Fatalf("insert: %v, %v", got, r.Reason)
			}
			forth := row.reply.Reply() // as packets of the original direction leave
			if got, why := related(table, forth, 0); why != drop.Pass || got.Sent != row.original || got.Direction != Original {
				t.Errorf("about the first packet: %v, %+v", why, got)
			}
			back := row.original.Reply()
			if _, why := related(table, back, 0); why != drop.ICMPErrorUnmatched {
				t.Errorf("H5 about an answer before there was one: %v", why)
			}
			a := parsed(row.reply, 10)
			hits := make([]Hit, 1)
			table.Lookup([]packet.Parsed{a}, hits)
			if got := table.Track(&a, &hits[0], 1e12, &r); got != OutcomePass {
				t.Fatalf("answer: %v, %v", got, r.Reason)
			}
			if got, why := related(table, back, 0); why != drop.Pass || got.Sent != row.reply || got.Direction != Reply {
				t.Errorf("about an answer: %v, %+v", why, got)
			}
		})
	}
}

func TestH5_ErrorsWithoutAConnection(t *testing.T) {
	table := newTable(t, Config{Capacity: 10, Node: 1})
	pr := proposalFor(tuple(packet.UDP, "10.0.0.2", 4000, "198.51.100.7", 53))
	pr.Reply = tuple(packet.UDP, "198.51.100.7", 53, "203.0.113.2", 50001)
	p, r := parsed(pr.Original, 10), Result{}
	if table.Insert(&pr, &p, 1e12, &r) != Inserted {
		t.Fatal(r.Reason)
	}
	left := pr.Reply.Reply()
	for _, row := range []struct {
		name   string
		change func(e *packet.Parsed, q *packet.Quote)
		want   drop.Reason
	}{
		{"known", func(*packet.Parsed, *packet.Quote) {}, drop.Pass},
		{"another port", func(_ *packet.Parsed, q *packet.Quote) { q.Tuple.SrcPort++ }, drop.ICMPErrorUnmatched},
		{"another far end", func(_ *packet.Parsed, q *packet.Quote) { q.Tuple.Dst[15]++ }, drop.ICMPErrorUnmatched},
		{"another protocol", func(_ *packet.Parsed, q *packet.Quote) { q.Tuple.Proto = packet.TCP }, drop.ICMPErrorUnmatched},
		{"wrong direction: quotes what came in", func(e *packet.Parsed, q *packet.Quote) { q.Tuple = pr.Reply; e.Tuple.Dst = q.Tuple.Src }, drop.ICMPErrorUnmatched},
		{"quotes the packet before its translation", func(e *packet.Parsed, q *packet.Quote) { q.Tuple = pr.Original; e.Tuple.Dst = q.Tuple.Src }, drop.ICMPErrorUnmatched},
		{"to somebody else", func(e *packet.Parsed, _ *packet.Quote) { e.Tuple.Dst = pr.Original.Src }, drop.ICMPErrorMismatched},
	} {
		e, q := quoting(left, 0)
		row.change(&e, &q)
		var r Related
		if why := table.Related(&e, &q, &r); why != row.want {
			t.Errorf("%s: %v, want %v", row.name, why, row.want)
		}
	}
}

// TestH5_SequenceOfTheQuote: who does not see the segments cannot guess one (RFC 5927).
func TestH5_SequenceOfTheQuote(t *testing.T) {
	for _, mode := range []Mode{ModeStrict, ModeLiberal, ModeSloppy} {
		tr := newTracer(t, [2]uint32{0xfffffff0, 0x7ffffff0}, true)
		tr.proposal.Mode = mode
		tr.run(`
			-> S    seq=0 win=64240 ws=7 sackok  => new SS
			<- SA   seq=0 ack=1 win=65535 ws=7 sackok  => pass SR
			-> A    seq=1 ack=1 win=502          => pass ES
			-> PA   seq=1 ack=1 len=1000 win=502 => pass ES`)
		left, back := tr.proposal.Reply.Reply(), tr.proposal.Original.Reply()
		isn, peers := tr.isn[0], tr.isn[1]
		for _, row := range []struct {
			about packet.Tuple
			seq   uint32
			want  drop.Reason
		}{
			{left, isn + 1, drop.Pass},
			{left, isn, drop.Pass},        // the SYN
			{left, isn + 1001, drop.Pass}, // a bare ACK
			{left, isn + 1002, drop.ICMPErrorSequence},
			{left, isn + 1<<30, drop.ICMPErrorSequence},
			{left, isn - 1<<20, drop.ICMPErrorSequence},
			{back, peers + 1, drop.Pass},
			{back, peers + 2, drop.ICMPErrorSequence},
		} {
			if mode != ModeStrict {
				row.want = drop.Pass
			}
			if _, why := related(tr.table, row.about, row.seq); why != row.want {
				t.Errorf("%v: about %v, sequence %#x: %v, want %v", mode, row.about, row.seq, why, row.want)
			}
		}
		// After a failover the edges are rounded, and the same errors still count.
		tr.failover()
		if _, why := related(tr.table, left, isn+1); why != drop.Pass {
			t.Errorf("%v: after a failover: %v", mode, why)
		}
	}
}

// TestH10_ErrorsChangeNothing: an error that matches leaves the connection as it was, to
// the last bit.
func TestH10_ErrorsChangeNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table := newTable(t, Config{Capacity: 10, Node: 1})
		proto := rapid.SampledFrom([]packet.Proto{packet.TCP, packet.UDP, packet.GRE}).Draw(rt, "proto")
		pr := proposalFor(tuple(proto, "10.0.0.2", 4000, "198.51.100.7", 80))
		if proto == packet.GRE {
			pr = proposalFor(tuple(proto, "10.0.0.2", 0, "198.51.100.7", 0))
		}
		p, r := parsed(pr.Original, 0), Result{}
		p.TCPFlags = packet.FlagSYN
		if table.Insert(&pr, &p, 1e12, &r) != Inserted {
			rt.Fatal(r.Reason)
		}
		before := *conview(&table.conns.all[r.Index])
		incarnation := table.counter.Load()
		for range 5 {
			related(table, pr.Reply.Reply(), rapid.Uint32().Draw(rt, "seq"))
		}
		if after := *conview(&table.conns.all[r.Index]); after != before || table.counter.Load() != incarnation || table.Len() != 1 {
			rt.Fatalf("before %+v\nafter  %+v", before, after)
		}
	})
}

// TestRelatedAllocatesNothing: a flood of errors makes no work for the collector.
func TestRelatedAllocatesNothing(t *testing.T) {
	tr := newTracer(t, [2]uint32{1000, 5000}, true)
	tr.run(`-> S seq=0 win=64240 => new SS`)
	e, q := quoting(tr.proposal.Reply.Reply(), 1000)
	var r Related
	if n := testing.AllocsPerRun(100, func() { tr.table.Related(&e, &q, &r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
