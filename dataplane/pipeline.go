package dataplane

import (
	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/fragment"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// burst is what one socket had to give: up to burstMax packets that take the path
// together. Entry i of every array is packet i.
type burst struct {
	in          *share // the port they came in by, from the wire or out of its kernel face
	origin      origin
	n           int
	stage       stage
	at          int                // the packet at hand in its stage
	admissions  int                // how many first packets it may have; 0: as many as it has (pressure.go)
	admitted    int                // how many it has had
	parkedSince int64              // of a packet that was parked before; 0: fresh
	whole       *fragment.Datagram // its only packet, no frame of ours; nil: frames (fragments.go)
	desc        [burstMax]xsk.Desc
	frame       [burstMax][]byte
	parsed      [burstMax]packet.Parsed
	hit         [burstMax]conntrack.Hit
	fate        [burstMax]fate
}

// start puts a burst at the beginning of the path.
func (b *burst) start() { b.stage, b.at, b.admitted = stageDecode, 0, 0 }

// fate says what has become of a packet and its frame. The zero value is dropped.
type fate struct {
	why  drop.Reason // Pass: the frame has gone on, to a port, a TAP's copy or the parking
	kept bool        // the frame is no longer ours to free
}

var passed = fate{why: drop.Pass, kept: true}

func dropped(why drop.Reason) fate { return fate{why: why} }

// forward is the path. A packet leaves it staged on a port, handed to the kernel,
// parked until its neighbour is known, or dropped for a reason that is counted.
func (w *Worker) forward(b *burst) {
	b.start()
	for b.stage != stageDone {
		w.along(b) // again only behind a packet that made it panic
	}
	w.bury(b)
}

// along takes a burst along the path, from where it is.
func (w *Worker) along(b *burst) {
	defer w.contain(b)
	if b.stage == stageDecode {
		w.decode(b) //                                                     1. what is it?
		b.stage, b.at = stageLookup, 0
	}
	if b.stage == stageLookup {
		w.snapshot.Table.Lookup(b.parsed[:b.n], b.hit[:b.n]) //            2. whose is it? (a hint)
		b.stage = stageJudge
	}
	for ; b.at < b.n; b.at++ {
		switch b.fate[b.at].why {
		case drop.Pass:
			b.fate[b.at] = w.judge(b, b.at) //                             3. to 7.
		case drop.Fragment:
			b.fate[b.at] = w.collect(b, b.at) // when it is whole, as above
		}
	}
	b.stage = stageDone
}

// decode is stage 1: every frame once, and only those that are for this port's MAC.
func (w *Worker) decode(b *burst) {
	mac, ward := b.in.MAC, w.config.Quarantine.ward.Load()
	w.umem.Touch(b.desc[:b.n])
	for ; b.at < b.n; b.at++ {
		i := b.at
		frame := w.umem.Bytes(b.desc[i])
		b.frame[i] = frame
		if ward != nil && ward.holds(frame, w.now) {
			b.fate[i], b.parsed[i].Kind = dropped(drop.Quarantined), packet.KindUnset
			continue
		}
		b.fate[i] = dropped(packet.Decode(frame, &b.parsed[i]))
		if b.fate[i].why == drop.VLANUnexpected {
			b.fate[i].why = w.decodeTagged(b, i)
		}
		if b.fate[i].why == drop.Pass {
			if why := addressed(b.frame[i], &b.parsed[i], mac); why != drop.Pass {
				b.fate[i].why = why
				b.parsed[i].Kind = packet.KindUnset
			}
		}
	}
}

// addressed says whether a frame is for a station: to its MAC, or to a group, but not to
// one address of IP by a group of Ethernet (RFC 1812 section 5.3.4).
func addressed(frame []byte, p *packet.Parsed, mac packet.MAC) drop.Reason {
	switch dst := packet.DstMAC(frame); {
	case dst == mac:
		return drop.Pass
	case !dst.IsGroup():
		return drop.NotForThisMAC
	case p.Kind == packet.KindIP && !p.DstMulticast():
		return drop.Multicast
	}
	return drop.Pass
}

// judge takes one decoded packet through the rest of the path.
func (w *Worker) judge(b *burst, i int) fate {
	if panicsAtMarked {
		panicIfMarked(b.frame[i])
	}
	p := &b.parsed[i]
	if p.Kind != packet.KindIP {
		if p.IsICMPError() {
			return dropped(drop.ICMPErrorType) // a redirect: nobody tells us our way (L5)
		}
		if w.vouch(b, i) {
			return fate{why: drop.Pass}
		}
		return w.toKernel(b.in, b.frame[i])
	}
	if b.hit[i].Found && p.TTL <= 1 && w.goesOn(b, i) {
		return w.refuseTTL(b, i) // an established packet that may not go on does not count
	}

	// 3. Track: the connection's own machine says whether the packet belongs to it.
	r := &w.result
	switch w.track(b, i) {
	case conntrack.OutcomeDrop:
		if r.Logged() {
			w.logTracked(b, i)
		}
		return w.deny(b, i)
	case conntrack.OutcomeMiss:
		if r.Change == conntrack.ChangeEnded {
			w.bereave(&r.State, r.Why) // it gave way to a new connection
		}
		if p.IsICMPError() {
			return w.judgeError(b, i) // it belongs to the connection of what it quotes
		}
		// 4. Admit: the first packet of a connection, or a packet for the node itself.
		if b.admitted++; b.admitted > b.admissions && b.admissions > 0 && !w.spared(p) {
			return dropped(drop.AdmissionShed)
		}
		f, admitted := w.admit(b, i)
		if !admitted {
			return f
		}
		w.logAdmitted(b, i)
	default:
		if r.Logged() {
			w.logTracked(b, i)
		}
	}

	// 5. Record: what has changed in the table the peers must learn, whether or not this
	// packet gets any further, and before it leaves (the batch is flushed before the kick).
	if r.Change != conntrack.ChangeNone {
		if why := w.settle(p, r); why != drop.Pass {
			return dropped(why)
		}
		w.record(r)
		w.recorder.Packet(r, w.now)
		if r.Joined() {
			return w.join(b, i)
		}
	}

	// 6. Next hop, by the connection's gateway or the destination behind the translation.
	dst := p.Tuple.Dst
	if r.Translated {
		dst = r.Rewrite.Dst
	}
	hop := w.hopOf(r, &dst)
	if hop.Kind != fib.Forward {
		return w.noHop(b, i, &hop)
	}
	out := w.shares[hop.Port]
	if p.Len() > out.MTU || b.whole != nil {
		return w.sendCut(b, i, out, hop.MAC)
	}

	// 7. Rewrite, in place, and stage.
	frame := b.frame[i]
	if p.TCPFlags&packet.FlagSYN != 0 {
		clampMSS(frame, p, b.in, out) // before anything is written: it reads options
	}
	if r.Translated {
		r.Rewrite.Apply(frame, p)
	}
	if r.Spliced {
		r.Splice.Apply(frame, p)
	}
	packet.DecrementTTL(frame, p)
	packet.SetMACs(frame, hop.MAC, out.MAC)
	out.stage(b.desc[i])
	if w.deferral.n != 0 {
		w.hold(out, len(out.staged)-1) // it may be a first packet that waits for a peer
	}
	return passed
}

// track is Table.Track for a packet that came in by a port. One that comes in by another
// than the packets of its connection's direction do is judged as a first packet would be:
// a forged source, perhaps that of a host inside, must not move its connection (I13).
func (w *Worker) track(b *burst, i int) conntrack.Outcome {
	p := &b.parsed[i]
	p.Arrival = b.in.ID + 1
	out := w.snapshot.Table.Track(p, &b.hit[i], w.now, &w.result)
	if out != conntrack.OutcomeStray {
		return out
	}
	if !w.comesFrom(b.in, p.Tuple.Src) {
		w.result.Reason = drop.SourceInvalid
		return conntrack.OutcomeDrop
	}
	p.Arrival = 0
	return w.snapshot.Table.Track(p, &b.hit[i], w.now, &w.result)
}

// record hands a change of a connection to the journal.
func (w *Worker) record(r *conntrack.Result) {
	switch r.Change {
	case conntrack.ChangeUpdate:
		if r.Joined() {
			w.config.Journal.Insert(&r.State) // an update does not tell the offset
			return
		}
		w.config.Journal.Update(&r.State)
	case conntrack.ChangeNew, conntrack.ChangeReopened:
		w.config.Journal.Insert(&r.State)
		if r.State.Sync == conntrack.SyncDefer {
			w.deferFirst(r)
		}
	}
}

// noHop deals with a packet of a connection that goes no further than this node, or whose
// next hop is not there, or not there yet.
func (w *Worker) noHop(b *burst, i int, hop *fib.Hop) fate {
	if hop.Kind == fib.Local && w.result.Exit() == packet.Self {
		return w.deliver(b, i)
	}
	w.snapshot.Table.Uncount(&b.parsed[i], &w.result)
	switch hop.Kind {
	case fib.Unresolved:
		w.config.Resolver.Resolve(hop.Port, hop.Via)
		return w.park(b, i, &hop.Via)
	case fib.Local:
		return dropped(drop.SameTuple) // translated to one of our own addresses
	}
	return w.refuseRoute(b, i, hop.Kind)
}

// bury frees the frames of dropped packets and counts why they died.
func (w *Worker) bury(b *burst) {
	w.logFates(b)
	for i := range b.n {
		f := b.fate[i]
		if f.why != drop.Pass {
			b.in.ReceiveDrops.Add(f.why, 1)
		}
		if !f.kept {
			w.umem.Free(b.desc[i : i+1])
		}
	}
}
