package dataplane

import (
	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// quotation is what a worker keeps of the ICMP error at hand.
type quotation struct {
	quote   packet.Quote
	related conntrack.Related
}

// judgeError takes an ICMP error through the rest of the path. It has no connection of its
// own: it belongs to the one whose packet it quotes, needs no rule but that, and goes to
// whoever sent that packet, in the form in which that host knows it (section H).
//
//	client 10.0.0.2 --- [ 10.0.0.1   203.0.113.2 ] --- router 198.51.100.1 --- server
//	10.0.0.2 > server          203.0.113.2 > server    time exceeded to 203.0.113.2
//	  <-- time exceeded to 10.0.0.2, from 198.51.100.1, quoting 10.0.0.2 > server
//
// What matches no connection and is for this node itself is judged as such packets are.
func (w *Worker) judgeError(b *burst, i int) fate {
	p, e := &b.parsed[i], &w.quotation
	if why := packet.DecodeQuote(b.frame[i], p, &e.quote); why != drop.Pass {
		return dropped(why)
	}
	switch {
	case p.DstMulticast():
		return dropped(drop.Multicast)
	case !w.mayAddress(b.in, &p.Tuple.Src):
		return dropped(drop.SourceInvalid)
	}
	if why := w.snapshot.Table.Related(p, &e.quote, &e.related); why != drop.Pass {
		if why == drop.ICMPErrorUnmatched && w.hopTo(p.Tuple.Dst).Kind == fib.Local {
			return dropped(drop.ToSelf) // nobody here has sent what it quotes
		}
		return dropped(why)
	}
	sent, way := &e.related.Sent, e.related.Way()
	if b.in.ID == way.Exit && way.Entry != way.Exit || p.Tuple.Src == sent.Src {
		// From where the packet came from: nobody there has seen it leave (H5).
		return dropped(drop.ICMPErrorMismatched)
	}
	from := w.complainer(p, e, b.in.ID, way.Exit)
	hop := w.hopBy(&way, &from, &sent.Src)
	if p.LinkLocal() && (hop.Kind != fib.Local || b.in.ID != way.Entry) {
		return dropped(drop.LinkLocal) // a router on a link speaks to who sent by that link alone (A10)
	}
	switch hop.Kind {
	case fib.Local: // about a packet of the node's own
		e.quote.Restore(b.frame[i], p, sent, &from)
		return w.toKernel(b.in, b.frame[i])
	case fib.Unresolved:
		w.config.Resolver.Resolve(hop.Port, hop.Via)
		return w.park(b, i, &hop.Via) // as it came in
	case fib.Forward:
	default:
		return dropped(drop.NoRoute)
	}
	out := w.shares[hop.Port]
	switch { // no error is sent about any of this (RFC 1122 section 3.2.2)
	case p.TTL <= 1:
		return dropped(drop.TTLExceededQuiet)
	case !w.fits(b, i, out.MTU):
		return dropped(drop.TooBig)
	}
	frame := b.frame[i]
	e.quote.Restore(frame, p, sent, &from)
	packet.DecrementTTL(frame, p)
	packet.SetMACs(frame, hop.MAC, out.MAC)
	return w.send(b, i, out)
}

// complainer returns the address that an error comes from for whoever sent the packet that
// it quotes, between two ports. A router whose prefix is translated without state has an address of
// its own there (RFC 6296); any other speaks as the far end does.
func (w *Worker) complainer(p *packet.Parsed, e *quotation, in, out packet.PortID) packet.Addr {
	from := e.quote.Source(p, &e.related.Sent)
	if from == p.Tuple.Src || p.Tuple.Src == e.quote.Tuple.Dst {
		return from
	}
	if image, ok := w.snapshot.NAT.Image(&p.Tuple, in, out); ok {
		return image
	}
	return from
}
