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
// other side.
func (t *Table) Track(p *packet.Parsed, hit *Hit, now int64, r *Result) Outcome {
	r.Reason, r.Change = drop.Pass, ChangeNone
	c, home := t.verify(p, hit)
	if c == nil {
		return OutcomeMiss
	}
	dir, ms := hit.Direction, milliseconds(now)
	before := c.shape()
	var v verdict
	if p.Tuple.Proto == packet.TCP {
		v = c.trackTCP(p, dir)
	} else {
		v = c.trackPseudo(dir, seconds(now))
	}

	switch v.effect {
	case effectTrack:
		if after := c.shape(); due(&before, &after) || c.periodOver(ms, &t.limits) {
			r.Change = ChangeUpdate
		}
		c.stamp(ms)
	case effectReopen:
		c.incarnation = t.nextIncarnation()
		c.stamp(ms)
		r.Change = ChangeReopened
	case effectForward:
	case effectSupersede:
		incarnation := c.incarnation
		t.unlock(home)
		if t.Remove(hit.Index, incarnation, now, &r.State) {
			r.Change = ChangeEnded
		}
		hit.Found = false
		return OutcomeMiss
	default:
		r.Reason = v.reason
		r.fill(c, hit.Index, dir)
		t.unlock(home)
		return OutcomeDrop
	}

	c.count(dir, p.Len())
	r.fill(c, hit.Index, dir)
	if r.Change != ChangeNone {
		c.export(&r.State, hit.Index, ms)
	}
	if c.flags&(SourceNAT|DestinationNAT) != 0 {
		r.translate(&p.Tuple, &c.tuple[dir^1])
	}
	t.unlock(home)
	return OutcomePass
}

// verify returns the connection of a packet with its home locked, or nil with no lock.
func (t *Table) verify(p *packet.Parsed, hit *Hit) (c *Conn, home uint32) {
	if hit.Found {
		c = &t.conns.all[hit.Index]
		if home, ok := t.lockTuple(c, hit.Direction, &p.Tuple); ok {
			return c, home
		}
	}
	walk := t.search(hit.Hash)
	for s := walk.next(t); s != 0; s = walk.next(t) {
		c = &t.conns.all[s.index()]
		if home, ok := t.lockTuple(c, s.direction(), &p.Tuple); ok {
			hit.Index, hit.Found, hit.Direction = s.index(), true, s.direction()
			return c, home
		}
	}
	hit.Found = false
	return nil, 0
}

// lockTuple locks an entry's home if it is live and has the tuple in this direction.
func (t *Table) lockTuple(c *Conn, dir Direction, tuple *packet.Tuple) (home uint32, ok bool) {
	if home, ok = t.lockLive(c); !ok {
		return 0, false
	}
	if !sameTuple(&c.tuple[dir&1], tuple) {
		t.unlock(home)
		return 0, false
	}
	return home, true
}

// Proposal is a connection that the rules would admit.
type Proposal struct {
	Original packet.Tuple  // of the first packet, as it came in
	Reply    packet.Tuple  // of the packets that will answer; Original.Reply() where nothing is translated
	Rule     uint32        // the rule that admits it, by its number on every node
	Ingress  packet.PortID // where the first packet came in
	Egress   packet.PortID // where it goes out
	Sync     SyncMode
}

// Insert begins a connection with the packet p, whose tuple is pr.Original, and tracks
// the packet as its first. It proves both tuples free and publishes them together: no
// other goroutine ever sees one of them alone and believes it. Nothing is changed unless
// it returns Inserted.
func (t *Table) Insert(pr *Proposal, p *packet.Parsed, now int64, r *Result) InsertOutcome {
	r.Reason, r.Change = MayOpen(p), ChangeNone
	if r.Reason != drop.Pass {
		return Refused
	}
	nat, possible := natFlags(&pr.Original, &pr.Reply)
	if !possible || !sameTuple(&p.Tuple, &pr.Original) {
		r.Reason = drop.AddressInvalid
		return Refused
	}
	// The reply's bucket is the one line that the lookup has not touched: ask for it now,
	// it arrives while the entry is filled.
	original, reply := t.secret.hash(&pr.Original), t.secret.hash(&pr.Reply)
	t.index.all[t.firstBucket(reply)].overflow.Load()
	index, ok := t.take()
	if !ok {
		r.Reason = drop.TableFull
		return Full
	}
	c := &t.conns.all[index]
	c.tuple = [2]packet.Tuple{pr.Original, pr.Reply}
	c.rule, c.sync, c.flags = pr.Rule, pr.Sync, nat
	c.port = [2]packet.PortID{pr.Ingress, pr.Egress}
	c.seen, c.born = milliseconds(now), seconds(now)
	if p.Tuple.Proto == packet.TCP {
		c.begin(p)
	} else {
		c.timer = c.steadyTimer()
	}
	c.count(Original, p.Len())

	outcome := t.publish(c, index, original, reply, r)
	t.reclaim()
	if outcome != Inserted {
		t.give(index)
		if outcome == Full {
			r.Reason = drop.TableFull
		}
		return outcome
	}
	if nat != 0 {
		r.translate(&pr.Original, &pr.Reply)
	}
	return Inserted
}

// publish puts a finished entry into the index, with its incarnation, and reports it.
func (t *Table) publish(c *Conn, index uint32, original, reply uint64, r *Result) InsertOutcome {
	a, _ := split(original)
	b, _ := split(reply)
	t.lockTwo(a, b)
	defer t.unlockTwo(a, b)
	if t.findLocked(original, &c.tuple[Original]) != 0 {
		return Exists
	}
	if t.findLocked(reply, &c.tuple[Reply]) != 0 {
		return Clash
	}
	if !t.roomForLocked(a, b) {
		return Full
	}
	c.incarnation = t.nextIncarnation()
	t.linkLocked(c, index, original, reply)
	r.Change = ChangeNew
	r.fill(c, index, Original)
	c.export(&r.State, index, c.seen)
	return Inserted
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
	home, _ := split(original)
	c.link.Store(linkLive | home)
	t.placeLocked(reply, Reply, index)
	t.placeLocked(original, Original, index)
	t.shards[home].conns++
}

// unlinkLocked takes an entry out of the index. It is the caller's to give back after
// the locks are released.
func (t *Table) unlinkLocked(c *Conn, index uint32, original, reply uint64) {
	home, _ := split(original)
	t.clearLocked(original, Original, index)
	t.clearLocked(reply, Reply, index)
	c.link.Store(0)
	t.shards[home].conns--
}
