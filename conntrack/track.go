package conntrack

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// Track judges a packet by its connection, and the connection by the packet. hit is what
// Lookup said of p; it is verified here and corrected. now is CLOCK_BOOTTIME in ns.
//
// A connection that this batch has inserted after its Lookup is found too, so a batch has
// the effect of its packets one by one. OutcomeMiss says that there is none, and then
// r.Change may be ChangeEnded: a connection that had closed gave way to a new SYN of its
// other side. OutcomeStray says that packets of its direction come in by another port: the
// caller drops what cannot have come this way, or clears p.Arrival and tracks it again (I13).
func (t *Table) Track(p *packet.Parsed, hit *Hit, now int64, r *Result) Outcome {
	r.Reason, r.Change = drop.Pass, ChangeNone
	c, home := t.verify(p, hit)
	if c == nil {
		return OutcomeMiss
	}
	if t.dead(c) {
		return t.giveWay(c, home, hit, EndKilled, now, r)
	}
	dir, ms, key := hit.Direction, milliseconds(now), t.keyOf(c)
	if p.Arrival != 0 && key.strays(dir, p.Arrival-1) {
		r.fill(c, key, c.tcpState(), hit.Index, dir)
		t.unlock(home)
		return OutcomeStray
	}
	r.WasFlags, r.WasTCP, r.WasComplete = c.flags, Established, true
	state, v := Established, tracked
	known, due := false, false
	if p.Tuple.Proto == packet.TCP {
		if key.mode() != ModeSloppy {
			known, due = c.trackEstablished(p, dir)
		}
		if !known {
			r.WasTCP, r.WasComplete = c.tcp(), complete(&c.sets)
			before := c.shape()
			if c.flags&Proxied == 0 {
				v = c.trackTCP(p, dir, key.mode())
			} else {
				v = c.trackProxied(p, dir, key.mode(), r)
			}
			t.countHalfLocked(home, r.WasComplete, complete(&c.sets))
			due = c.due(&before) // also where it only forwards: an overrun of the window moves an edge (C11)
			state = c.tcp()
		}
	} else {
		if p.Tuple.Proto == packet.SCTP {
			v, due = c.trackSCTP(p, dir)
		} else {
			v = c.trackPseudo(dir, seconds(now))
			due = c.flags != r.WasFlags
		}
		state, r.WasTCP = StateNone, StateNone
	}

	switch v.effect {
	case effectTrack:
		if ms != c.seen {
			due = due || t.periodOver(c, key, ms)
			c.stamp(ms)
		}
		if due {
			r.Change = ChangeUpdate
		}
	case effectReopen:
		c.incarnation = t.nextIncarnation()
		c.stamp(ms)
		r.Change = ChangeReopened
	case effectForward:
		if due {
			r.Change = ChangeUpdate
		}
	case effectSupersede:
		return t.giveWay(c, home, hit, EndReplaced, now, r)
	default:
		r.Reason = v.reason
		r.fill(c, key, state, hit.Index, dir)
		t.unlock(home)
		return OutcomeDrop
	}

	c.edge[dir&1].count(p.Len())
	r.fill(c, key, state, hit.Index, dir)
	if r.Change != ChangeNone {
		t.export(c, hit.Index, ms, &r.State)
	}
	if c.flags&bothNAT != 0 {
		t.translate(c, hit.Index, dir, &p.Tuple, r)
	}
	if c.flags&Proxied != 0 {
		c.splice(p, dir, r)
	}
	t.unlock(home)
	return OutcomePass
}

// Uncount takes the packet back that r, of Track or Insert, has counted: it did not get any
// further, or is going to be tracked once more.
func (t *Table) Uncount(p *packet.Parsed, r *Result) {
	c := t.entry(r.Index)
	if c == nil {
		return
	}
	home, live := t.lockLive(c)
	if !live {
		return
	}
	if e := &c.edge[r.Direction&1]; c.incarnation == r.Incarnation && (e.packets > 0 || e.end>>56 > 0 || e.bytes>>56 > 0) {
		e.uncount(p.Len())
	}
	t.unlock(home)
}

// giveWay ends a connection in whose place the packet at hand may begin another one. The
// caller holds its home, which is released.
func (t *Table) giveWay(c *Conn, home uint32, hit *Hit, why EndReason, now int64, r *Result) Outcome {
	if c.marks&markDoomed != 0 {
		r.Reason = drop.Killed
		r.fill(c, t.keyOf(c), c.tcpState(), hit.Index, hit.Direction)
		t.unlock(home)
		return OutcomeDrop
	}
	incarnation := c.incarnation
	t.unlock(home)
	if t.Remove(hit.Index, incarnation, now, &r.State) {
		r.Change, r.Why = ChangeEnded, why
	}
	hit.Found = false
	return OutcomeMiss
}

// verify returns the connection of a packet with its home locked, or nil with no lock.
func (t *Table) verify(p *packet.Parsed, hit *Hit) (c *Conn, home uint32) {
	if hit.Found {
		c = &t.conns.all[hit.Index]
		if home, ok := t.lockTuple(c, hit.Index, hit.Direction, &p.Tuple); ok {
			return c, home
		}
	}
	if t.absent(hit.Hash) {
		hit.Found = false
		return nil, 0 // most first packets
	}
	walk := t.search(hit.Hash)
	for s := walk.next(t); s != 0; s = walk.next(t) {
		c = &t.conns.all[s.index()]
		if home, ok := t.lockTuple(c, s.index(), s.direction(), &p.Tuple); ok {
			hit.Index, hit.Found, hit.Direction = s.index(), true, s.direction()
			return c, home
		}
	}
	hit.Found = false
	return nil, 0
}

// lockTuple locks an entry's home if it is live and has the tuple in this direction.
func (t *Table) lockTuple(c *Conn, index uint32, dir Direction, tuple *packet.Tuple) (home uint32, ok bool) {
	if home, ok = t.lockLive(c); !ok {
		return 0, false
	}
	if !t.hasTuple(c, index, dir, tuple) {
		t.unlock(home)
		return 0, false
	}
	return home, true
}

// Proposal is a connection that the rules would admit.
type Proposal struct {
	Original packet.Tuple // of the first packet, as it came in
	Reply    packet.Tuple // of the packets that will answer; Original.Reply() where nothing is translated
	Class                 // the rule that admits it, and where it goes
	Proxy    Proxy        // of TCP: what its client was answered
}

// Refuses says why Insert would refuse a packet as the first of the connection, whatever is
// in the table; drop.Pass: it would not.
func (pr *Proposal) Refuses(p *packet.Parsed) drop.Reason {
	_, _, why := pr.admits(p)
	return why
}

// admits returns what is translated of a connection that a packet may begin, and whether it
// begins it in mid-stream.
func (pr *Proposal) admits(p *packet.Parsed) (nat Flags, pickUp bool, why drop.Reason) {
	why = MayOpen(p)
	pickUp = why != drop.Pass
	if pickUp && !(pr.PickUp && MayPickUp(p)) {
		return 0, pickUp, why
	}
	nat, possible := natFlags(&pr.Original, &pr.Reply)
	if pickUp && nat != 0 {
		// The other end knows this connection by another address, or by none (F4).
		return 0, pickUp, drop.PickUpTranslated
	}
	if !possible || !sameTuple(&p.Tuple, &pr.Original) || !pr.Class.valid() {
		return 0, pickUp, drop.AddressInvalid
	}
	return nat, pickUp, drop.Pass
}

// Insert begins a connection with the packet p, whose tuple is pr.Original, and tracks
// the packet as its first. It proves both tuples free and publishes them together: no
// other goroutine ever sees one of them alone and believes it. Nothing is changed unless
// it returns Inserted.
func (t *Table) Insert(pr *Proposal, p *packet.Parsed, now int64, r *Result) InsertOutcome {
	nat, pickUp, why := pr.admits(p)
	if r.Reason, r.Change = why, ChangeNone; why != drop.Pass {
		return Refused
	}
	// The reply's bucket is the one line that the lookup has not touched: it arrives while
	// the entry is filled.
	original, reply := t.secret.hash(&pr.Original), t.secret.hash(&pr.Reply)
	prefetch(&t.index.all[t.firstBucket(reply)])
	index, ok := t.take()
	if !ok {
		r.Reason = drop.TableFull
		return Full
	}
	c := &t.conns.all[index]
	if c.class, ok = t.joinClass(&pr.Class); !ok {
		t.give(index)
		r.Reason = drop.TableFull
		return Full
	}
	c.flags = nat
	t.setTuples(c, index, &pr.Original, &pr.Reply, nat)
	c.seen, c.born = milliseconds(now), seconds(now)
	switch {
	case pickUp:
		c.pickUp(p)
	case p.Tuple.Proto == packet.TCP:
		c.begin(p)
		c.answered(pr.Proxy)
	case p.Tuple.Proto == packet.SCTP:
		c.associate(p)
	}
	c.edge[Original].count(p.Len())

	outcome := t.publish(c, index, pr, original, reply, r)
	t.reclaim()
	if outcome != Inserted {
		t.leaveClass(c.class, 1, 0)
		t.give(index)
		if outcome == Full {
			r.Reason = drop.TableFull
		}
		return outcome
	}
	return Inserted
}

// publish puts a finished entry into the index, with its incarnation, and reports it.
func (t *Table) publish(c *Conn, index uint32, pr *Proposal, original, reply uint64, r *Result) InsertOutcome {
	a, b := shardOf(original), shardOf(reply)
	t.lockTwo(a, b)
	outcome := Full
	switch {
	case t.findLocked(original, &pr.Original) != 0:
		outcome = Exists
	case t.findLocked(reply, &pr.Reply) != 0:
		outcome = Clash
	case t.roomForLocked(a, b):
		outcome = Inserted
		t.linkLocked(c, index, original, reply)
		// In this order: the count is a barrier between the link and what dead reads. So
		// either a kill is seen here, and this life begins after it, or whoever reaps for
		// it sees the link, and waits for the lock. Nobody is born dead and missed.
		for c.incarnation = t.nextIncarnation(); t.dead(c); {
			c.incarnation = t.nextIncarnation()
		}
		r.Change = ChangeNew
		r.fill(c, pr.Class.key(), c.tcpState(), index, Original)
		t.exportNew(c, index, pr, &r.State)
		if c.flags&bothNAT != 0 {
			t.translate(c, index, Original, &pr.Original, r)
		}
	}
	t.unlockTwo(a, b)
	return outcome
}

// roomForLocked makes room for the two slots of one entry.
func (t *Table) roomForLocked(a, b uint32) bool {
	if a == b {
		return t.roomLocked(a, 2)
	}
	return t.roomLocked(a, 1) && t.roomLocked(b, 1)
}

// linkLocked makes an entry live: the reply slot first, so that a connection that is
// found by its first packet's tuple can be found by its answer's too.
func (t *Table) linkLocked(c *Conn, index uint32, original, reply uint64) {
	home := shardOf(original)
	storeWord(&c.link, linkLive|home)
	t.placeLocked(reply, Reply, index)
	t.placeLocked(original, Original, index)
	t.shards[home].conns++
	if c.halfOpen() {
		t.shards[home].half++
	}
}

// unlinkLocked takes an entry out of the index. It is the caller's to give back after
// the locks are released.
func (t *Table) unlinkLocked(c *Conn, index uint32, original, reply uint64) {
	home := shardOf(original)
	t.clearLocked(original, Original, index)
	t.clearLocked(reply, Reply, index)
	storeWord(&c.link, 0)
	t.shards[home].conns--
	if c.halfOpen() {
		t.shards[home].half--
	}
}
