package dataplane

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fragment"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// Pieces of datagrams do not take the path: they are collected, and the datagram does when
// it is whole, in a burst of its own. It leaves in the pieces that it came in.
//
//	piece -> decode -> fragment.Tracker (all workers') -> the last that was missing:
//	         whole datagram -> decode -> lookup -> judge -> rewrite -> cut -> stage
//
// To the rules, the table and its counters it is one packet. Its pieces count among those
// that a port received, and where it is dropped each of them counts as dropped. A packet
// that is too long for the next link is cut here too, where its sender allows that (K8).

// cutMax is how many pieces a packet can leave in. A datagram of 65,535 bytes takes 120 at
// 576 bytes, the least that every host must take (RFC 791 section 3.1).
const cutMax = 512

// assembly is what a worker has for datagrams in pieces.
type assembly struct {
	datagram fragment.Datagram // the one at hand
	result   fragment.Result
	burst    burst // in which it takes the path, alone
	cutter   packet.Cutter
	cut      [cutMax]xsk.Desc
}

// kernelSide tells the tracker's port of what the kernel sends through a port's face from
// that of what the port receives.
const kernelSide packet.PortID = drop.PortsMax

// trackedAs returns the tracker's port of a burst.
func (b *burst) trackedAs() packet.PortID {
	if b.origin == fromNode {
		return b.in.ID | kernelSide
	}
	return b.in.ID
}

// collect hands a piece to the tracker, and takes the datagram through the path that it
// completes.
func (w *Worker) collect(b *burst, i int) fate {
	a, t := &w.assembly, w.config.Fragments
	frame, p := b.frame[i], &b.parsed[i]
	if b.origin == fromWire {
		if why := addressed(frame, p, b.in.MAC); why != drop.Pass {
			return dropped(why)
		}
	}
	t.Add(b.trackedAs(), frame, p, w.now, &a.datagram, &a.result)
	w.mournPieces()
	switch a.result.Outcome {
	case fragment.Kept:
		return fate{why: drop.Pass}
	case fragment.Whole:
		return w.takeWhole(b)
	}
	w.complain(b, i)
	return dropped(a.result.Why)
}

// complain tells the sender of a piece that was refused what is wrong with it (K5).
func (w *Worker) complain(b *burst, i int) {
	p := &b.parsed[i]
	if w.assembly.result.Why != drop.FragmentInvalid || p.Version != 6 || b.origin != fromWire || !w.comesFrom(b.in, p.Tuple.Src) {
		return
	}
	if from, ok := w.addressFor(b.in, p); ok {
		w.answer(b, i, func(dst, frame []byte, p *packet.Parsed) int {
			return packet.AppendPieceProblem(dst, frame, p, from)
		})
	}
}

// takeWhole takes the datagram at hand through the path. What it returns is the fate of its
// last piece: the others share it.
func (w *Worker) takeWhole(from *burst) fate {
	a, d := &w.assembly, &w.assembly.datagram
	b := &a.burst
	b.in, b.origin, b.n, b.whole, b.frame[0] = from.in, from.origin, 1, d, d.Frame
	b.parkedSince, b.admissions, b.admitted = from.parkedSince, from.admissions, from.admitted
	f := dropped(packet.DecodeWhole(d.Frame, &b.parsed[0], d.First()))
	if f.why == drop.Pass {
		w.snapshot.Table.Lookup(b.parsed[:1], b.hit[:1])
		if b.origin == fromNode {
			f = w.judgeOwn(b, 0)
		} else {
			f = w.judge(b, 0)
		}
		from.admitted = b.admitted
	}
	if b.fate[0] = f; w.logbook.open > 0 {
		w.logbook.settle(b)
	}
	if f.why != drop.Pass {
		w.countPieces(fragment.Dead{Port: b.trackedAs(), Pieces: len(d.Ends) - 1, Why: f.why})
	}
	f.kept = false // the last piece's own frame: what leaves are copies
	return f
}

// fits prepares the cutter for a packet and reports whether it can leave by a link of so
// many bytes: whole, in the pieces that it came in, or in smaller ones where that is allowed.
func (w *Worker) fits(b *burst, i int, mtu int) bool {
	p := &b.parsed[i]
	if b.whole == nil && p.Len() <= mtu {
		return true
	}
	w.prepareCut(b, i, mtu)
	if !packet.DontFragment(b.frame[i], p) {
		return true
	}
	return b.whole != nil && w.assembly.cutter.Largest() <= mtu
}

// prepareCut sets the cutter up for a packet as it is now.
func (w *Worker) prepareCut(b *burst, i int, mtu int) {
	c, p := &w.assembly.cutter, &b.parsed[i]
	*c = packet.Cutter{Frame: b.frame[i], Split: int(p.L4), MTU: mtu, ID: packet.Identification(b.frame[i], p)}
	if b.whole != nil {
		c.Ends, c.Split, c.ID = b.whole.Ends, b.whole.Split, b.whole.ID
	}
	c.Start(p)
}

// sendCut sends a packet of a connection that fits a port only in pieces, or came in some.
// It is not rewritten yet.
func (w *Worker) sendCut(b *burst, i int, out *share, hop packet.MAC) fate {
	p, r := &b.parsed[i], &w.result
	if !w.fits(b, i, out.MTU) {
		w.snapshot.Table.Uncount(p, r)
		return w.refuseTooBig(b, i, out.MTU)
	}
	frame := b.frame[i]
	fresh := false
	if r.Translated {
		r.Rewrite.Apply(frame, p)
		fresh = r.Rewrite.Changes&packet.ChangesSrc != 0
	}
	if r.Spliced {
		r.Splice.Apply(frame, p)
	}
	packet.DecrementTTL(frame, p)
	packet.SetMACs(frame, hop, out.MAC)
	w.prepareCut(b, i, out.MTU)
	if fresh { // its identification was unique to another source (K7)
		w.assembly.cutter.ID = w.config.Fragments.Identities.Next(&r.Rewrite.Src, &r.Rewrite.Dst)
	}
	from := len(out.staged)
	f := w.stageCut(out)
	if f.why != drop.Pass {
		w.snapshot.Table.Uncount(p, r)
	} else if w.deferral.n != 0 {
		w.hold(out, from)
	}
	return f
}

// send stages a packet that is ready: rewritten, addressed, and known to fit.
func (w *Worker) send(b *burst, i int, out *share) fate {
	if b.whole == nil && b.parsed[i].Len() <= out.MTU {
		out.stage(b.desc[i])
		return passed
	}
	w.prepareCut(b, i, out.MTU)
	if b.origin == fromNode { // hosts behind the node's address send datagrams too (K7)
		src, dst := packet.Addresses(b.frame[i], &b.parsed[i])
		w.assembly.cutter.ID = w.config.Fragments.Identities.Next(&src, &dst)
	}
	return w.stageCut(out)
}

// stageCut stages all pieces that the cutter makes, or none.
func (w *Worker) stageCut(out *share) fate {
	pieces, why := w.cutPieces()
	if why != drop.Pass {
		return dropped(why)
	}
	for _, d := range pieces {
		out.stage(d)
	}
	return fate{why: drop.Pass}
}

// cutPieces makes all pieces that the cutter has, in frames of their own.
func (w *Worker) cutPieces() (pieces []xsk.Desc, why drop.Reason) {
	c := &w.assembly.cutter
	n := c.Count()
	if n > cutMax {
		return nil, drop.TooBig
	}
	pieces = w.assembly.cut[:n]
	pieces = pieces[:w.umem.Alloc(pieces)]
	if len(pieces) < n {
		w.umem.Free(pieces)
		return nil, drop.NoFreeFrame
	}
	for k := range pieces {
		buf := w.umem.Bytes(pieces[k])
		pieces[k].Len = uint32(c.Next(buf[:cap(buf)]))
		if pieces[k].Len == 0 { // longer than a frame of ours: no link that we can serve has such an MTU
			w.umem.Free(pieces)
			return nil, drop.TooBig
		}
	}
	return pieces, drop.Pass
}

// parkWhole parks a datagram whose next hop has no MAC yet, in the pieces that it came in:
// when they are tried again they are collected again.
func (w *Worker) parkWhole(b *burst, i int, via *packet.Addr) fate {
	q := &w.parked
	w.prepareCut(b, i, packet.WholeMax)
	n := w.assembly.cutter.Count()
	if waiting := q.waiting(via); q.n+n > parkedMax || waiting > 0 && waiting+n > parkedEach {
		return dropped(drop.NeighborUnresolved)
	}
	pieces, why := w.cutPieces()
	if why != drop.Pass {
		return dropped(why)
	}
	for _, d := range pieces {
		q.put(b, d, w.now, via)
	}
	w.logLater(b, i)
	return fate{why: drop.Pass}
}

// mournPieces counts the pieces of datagrams that the tracker has given up.
func (w *Worker) mournPieces() {
	for _, d := range w.assembly.result.Dead {
		w.countPieces(d)
	}
}

// countPieces counts pieces that died after they had been collected.
func (w *Worker) countPieces(d fragment.Dead) {
	if d.Port&kernelSide != 0 {
		w.shares[d.Port&^kernelSide].TxDrops.Add(d.Why, uint64(d.Pieces))
		return
	}
	w.shares[d.Port].ReceiveDrops.Add(d.Why, uint64(d.Pieces))
}

// sweepFragments gives up datagrams whose pieces have not come in time, and tells the sender
// of one whose first piece has (K2).
func (w *Worker) sweepFragments() {
	r, b := &w.assembly.result, &w.assembly.burst
	w.config.Fragments.Sweep(w.now, r)
	w.mournPieces()
	if len(r.Late) == 0 || !w.active || r.LatePort&kernelSide != 0 {
		return
	}
	b.in, b.origin, b.frame[0] = w.shares[r.LatePort], fromWire, r.Late
	if packet.Decode(r.Late, &b.parsed[0]) != drop.Fragment || !w.comesFrom(b.in, b.parsed[0].Tuple.Src) {
		return
	}
	if from, ok := w.addressFor(b.in, &b.parsed[0]); ok {
		w.answer(b, 0, func(dst, frame []byte, p *packet.Parsed) int {
			return packet.AppendReassemblyTimeout(dst, frame, p, from)
		})
	}
}
