package dataplane

import (
	"slices"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
	"holdfast/rules"
	"holdfast/rules/config"
)

// What the kernel sends comes out of a TAP and takes the path too, in a burst of its own:
// its connections lie in the one table, and their ports on a shared address in the one
// account of external ports, so that no inside host is ever given the same.
//
//	kernel -> TAP -> decode -> lookup -> (miss: admitOwn) -> track -> hop -> rewrite -> stage
//
// Which way it leaves:
//
//	what the node begins   by the port of its TAP, to the MAC that the kernel has written: the
//	                       kernel's routes and neighbours decide, and a socket bound to a TAP
//	                       leaves by that port
//	what answers           the way of its connection, as forwarded replies do (gateways.go),
//	                       whichever TAP it comes out of
//	replies to echo        as the kernel has written them, but for those that its default
//	requests               route would send by another provider than their address is of
//	ARP, ND, MLD           as the kernel has written them
//
// Nothing of all this survives the node: its peers' kernels do not know its sockets, so
// connections with an end in the node are never replicated.

// kernelBurst is how many frames of one port's kernel face are taken per turn.
const kernelBurst = 16

// origin says where the packets of a burst come from.
type origin uint8

// The origins.
const (
	fromWire origin = iota
	fromNode        // out of the kernel's face of burst.in
)

// ofSelf completes the class of a connection that a packet of the burst begins, where one
// of its ends is the node itself.
func (b *burst) ofSelf(c *conntrack.Class) {
	if b.origin == fromNode {
		c.Ingress = packet.Self
	}
	if c.Ingress == packet.Self || c.Egress == packet.Self {
		c.Sync = conntrack.SyncNone
	}
}

// serveKernel takes what the kernel wants to say through its faces. While this node is mute
// all of it is read and dropped, so that nothing old leaves at a promotion.
func (w *Worker) serveKernel() (busy bool) {
	for _, s := range w.shares {
		busy = w.fromKernel(s) || busy
	}
	return busy
}

// fromKernel takes a burst out of one face, and reports whether there was anything.
func (w *Worker) fromKernel(s *share) bool {
	b := &w.burst
	b.in, b.n = s, 0
	for b.n < kernelBurst && w.readKernel(s, &b.desc[b.n]) {
		b.n++
	}
	switch {
	case b.n == 0:
		return false
	case !w.active:
		s.TxDrops.Add(drop.Mute, uint64(b.n))
		w.umem.Free(b.desc[:b.n])
		return true
	}
	b.origin = fromNode
	w.emit(b)
	b.origin = fromWire
	return true
}

// readKernel takes one frame, and reports whether there was one and a place for it.
func (w *Worker) readKernel(s *share, into *xsk.Desc) bool {
	var d [1]xsk.Desc
	if w.umem.Alloc(d[:]) == 0 {
		return false // the frame waits in the TAP's queue
	}
	frame := w.umem.Bytes(d[0])
	n, err := s.Kernel.Read(frame[:cap(frame)])
	if err != nil || n == 0 {
		w.umem.Free(d[:])
		return false
	}
	d[0].Len = uint32(n)
	*into = d[0]
	return true
}

// emit is the path of what the node sends itself.
func (w *Worker) emit(b *burst) {
	b.start()
	for b.stage != stageDone {
		w.alongOwn(b)
	}
	for i := range b.n {
		if why := b.fate[i].why; why != drop.Pass {
			b.in.TxDrops.Add(why, 1)
		}
		if !b.fate[i].kept {
			w.umem.Free(b.desc[i : i+1])
		}
	}
	w.logFates(b)
}

// alongOwn takes a burst of the kernel's along that path, from where it is.
func (w *Worker) alongOwn(b *burst) {
	defer w.contain(b)
	if b.stage == stageDecode {
		w.decodeOwn(b)
		b.stage, b.at = stageLookup, 0
	}
	if b.stage == stageLookup {
		w.snapshot.Table.Lookup(b.parsed[:b.n], b.hit[:b.n])
		b.stage = stageJudge
	}
	for ; b.at < b.n; b.at++ {
		switch b.fate[b.at].why {
		case drop.Pass:
			b.fate[b.at] = w.judgeOwn(b, b.at)
		case drop.Fragment:
			b.fate[b.at] = w.collect(b, b.at)
		}
	}
	b.stage = stageDone
}

// decodeOwn decodes frames that the kernel has made.
func (w *Worker) decodeOwn(b *burst) {
	ward := w.config.Quarantine.ward.Load()
	for ; b.at < b.n; b.at++ {
		i := b.at
		b.frame[i] = w.umem.Bytes(b.desc[i])
		if ward != nil && ward.holds(b.frame[i], w.now) {
			b.fate[i], b.parsed[i].Kind = dropped(drop.Quarantined), packet.KindUnset
			continue
		}
		b.fate[i] = dropped(packet.Decode(b.frame[i], &b.parsed[i]))
	}
}

// judgeOwn takes one decoded packet of the kernel's through the rest of the path.
func (w *Worker) judgeOwn(b *burst, i int) fate {
	p := &b.parsed[i]
	switch {
	case p.Kind == packet.KindARP, p.Kind == packet.KindND, p.Kind == packet.KindMLD:
		return w.send(b, i, b.in)
	case p.Kind != packet.KindIP:
		return dropped(drop.FromSelf)
	case p.DstMulticast(), w.hopTo(p.Tuple.Dst).Kind == fib.Broadcast:
		return dropped(drop.Multicast)
	case w.hopTo(p.Tuple.Src).Kind != fib.Local:
		return dropped(drop.FromSelf) // the kernel routes for somebody, by another interface of this machine
	}
	r := &w.result
	switch w.snapshot.Table.Track(p, &b.hit[i], w.now, r) {
	case conntrack.OutcomeDrop:
		if r.Logged() {
			w.logTracked(b, i)
		}
		return dropped(r.Reason)
	case conntrack.OutcomeMiss:
		if r.Change == conntrack.ChangeEnded {
			w.bereave(&r.State, r.Why)
		}
		switch {
		case p.IsICMPError():
			return w.sendOwnError(b, i)
		case p.Tuple.IsEchoReply(): // to a request that needed no connection
			return w.sendEcho(b, i)
		}
		f, admitted := w.admitOwn(b, i)
		if !admitted {
			return f
		}
		w.logAdmitted(b, i)
	default:
		if r.Logged() {
			w.logTracked(b, i)
		}
	}
	if r.Change != conntrack.ChangeNone {
		if why := w.settle(p, r); why != drop.Pass {
			return dropped(why)
		}
		w.record(r)
		w.recorder.Packet(r, w.now)
	}
	return w.sendOwn(b, i)
}

// admitOwn decides on a packet of the kernel's without a connection.
func (w *Worker) admitOwn(b *burst, i int) (f fate, admitted bool) {
	p := &b.parsed[i]
	if why := conntrack.MayOpen(p); why != drop.Pass {
		return dropped(why), false
	}
	facts := rules.FactsOf(b.frame[i], p)
	verdict := w.snapshot.Rules.Match(&p.Tuple, packet.Self, b.in.ID, &facts, w.snapshot.Tables)
	w.countRule(verdict.Rule, &p.Tuple)
	w.logVerdict(b, i, &verdict, b.in.ID)
	switch verdict.Action {
	case rules.Pass:
	case rules.Reject:
		w.refuseOwn(b, i, w.snapshot.Rules.Answer(&verdict))
		return dropped(drop.RuleReject), false
	default:
		return dropped(drop.RuleBlock), false
	}
	w.turned = w.snapshot.NAT.Destination(&p.Tuple, packet.Self) // as it is
	hop := w.addressedHop(b, i)
	if there := w.hopTo(p.Tuple.Dst); there.Port == hop.Port {
		hop.Gateway = there.Gateway
	}
	return w.beginWithin(b, i, &verdict, &hop)
}

// refuseOwn tells the kernel that a rule rejects what it began, so that the program that
// asked for it need not wait. The answer comes as if from where the packet was to go.
func (w *Worker) refuseOwn(b *burst, i int, how config.Answer) {
	var d [1]xsk.Desc
	if !w.mayAnswer(b.in) || w.umem.Alloc(d[:]) == 0 {
		return
	}
	buf, frame, p := w.umem.Bytes(d[0]), b.frame[i], &b.parsed[i]
	buf = buf[:cap(buf)]
	n := 0
	if why, resets := errorOf(how); resets && p.Tuple.Proto == packet.TCP {
		n = packet.AppendReset(buf, frame, p)
	} else {
		n = packet.AppendUnreachable(buf, frame, p, p.Tuple.Dst, why)
	}
	if n > 0 {
		w.toKernel(b.in, buf[:n]) // where the kernel has no room it asks again
	}
	w.umem.Free(d[:])
}

// addressedHop returns the hop that the kernel has written into its frame.
func (w *Worker) addressedHop(b *burst, i int) fib.Hop {
	return fib.Hop{Kind: fib.Forward, Port: b.in.ID, MAC: packet.DstMAC(b.frame[i]), Via: b.parsed[i].Tuple.Dst}
}

// sendOwn sends a packet that belongs to a connection of the node.
func (w *Worker) sendOwn(b *burst, i int) fate {
	p, r := &b.parsed[i], &w.result
	dst := p.Tuple.Dst
	if r.Translated {
		dst = r.Rewrite.Dst
	}
	hop := w.addressedHop(b, i)
	if r.Direction == conntrack.Reply || r.Exit() != b.in.ID {
		hop = w.orAddressed(b, i, w.hopOf(r, &dst), r.Exit())
	}
	if why := w.mayLeave(b, i, &hop); why != drop.Pass {
		w.snapshot.Table.Uncount(p, r)
		return dropped(why)
	}
	if r.Translated {
		r.Rewrite.Apply(b.frame[i], p)
	}
	return w.depart(b, i, &hop)
}

// sendEcho sends an answer to a ping, which has no connection to say which way it came. The
// kernel has one default route; an answer that would take it with the address of another
// provider's port leaves by that provider instead, as those of connections do (Q5): the
// first one may take it for a forgery (RFC 2827).
func (w *Worker) sendEcho(b *burst, i int) fate {
	t := &b.parsed[i].Tuple
	if w.hopTo(t.Dst).Gateway == 0 || slices.Contains(b.in.Addresses, t.Src) {
		return w.send(b, i, b.in)
	}
	for _, s := range w.shares {
		if !slices.Contains(s.Addresses, t.Src) {
			continue
		}
		if all := w.snapshot.Gateways.On(s.ID, &t.Dst); len(all) > 0 {
			hop := w.snapshot.Routes.Gateway(uint8(all[0]))
			if why := w.mayLeave(b, i, &hop); why != drop.Pass {
				return dropped(why)
			}
			return w.depart(b, i, &hop)
		}
	}
	return w.send(b, i, b.in)
}

// sendOwnError sends an ICMP error of the kernel's: about a packet that it was handed, to
// whoever sent that, in the form in which that host knows it (H1, H9).
func (w *Worker) sendOwnError(b *burst, i int) fate {
	p, e := &b.parsed[i], &w.quotation
	if why := packet.DecodeQuote(b.frame[i], p, &e.quote); why != drop.Pass {
		return dropped(why)
	}
	if why := w.snapshot.Table.Related(p, &e.quote, &e.related); why != drop.Pass {
		return dropped(why)
	}
	sent, way := &e.related.Sent, e.related.Way()
	if way.Entry != packet.Self {
		return dropped(drop.ICMPErrorMismatched)
	}
	from := e.quote.Source(p, sent)
	hop := w.orAddressed(b, i, w.hopBy(&way, &from, &sent.Src), way.Exit)
	if why := w.mayLeave(b, i, &hop); why != drop.Pass {
		return dropped(why)
	}
	e.quote.Restore(b.frame[i], p, sent, &from)
	return w.depart(b, i, &hop)
}

// orAddressed returns the hop that the routes give, or the one that the kernel has written
// where they give none and the frame came out of the right TAP: the kernel may know a
// neighbour earlier, and it knows those that are valid on one link only.
func (w *Worker) orAddressed(b *burst, i int, hop fib.Hop, exit packet.PortID) fib.Hop {
	if hop.Kind != fib.Forward && b.in.ID == exit {
		return w.addressedHop(b, i)
	}
	return hop
}

// mayLeave says whether a packet of the node's own can leave by a hop.
func (w *Worker) mayLeave(b *burst, i int, hop *fib.Hop) drop.Reason {
	switch {
	case hop.Kind == fib.Unresolved:
		w.config.Resolver.Resolve(hop.Port, hop.Via)
		return drop.NeighborUnresolved
	case hop.Kind != fib.Forward:
		return drop.NoRoute
	case !w.fits(b, i, w.shares[hop.Port].MTU):
		return drop.TooBig
	}
	return drop.Pass
}

// depart stages a packet of the node's own by a hop. Its TTL is as the kernel set it.
func (w *Worker) depart(b *burst, i int, hop *fib.Hop) fate {
	out := w.shares[hop.Port]
	packet.SetMACs(b.frame[i], hop.MAC, out.MAC)
	return w.send(b, i, out)
}
