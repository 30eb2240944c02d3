package conntrack

import (
	"holdfast/dataplane/packet"
)

// ApplyOutcome is what became of a remote state. The zero value refuses.
type ApplyOutcome uint8

// The outcomes of Apply and Merge.
const (
	Invalid         ApplyOutcome = iota // it cannot be the state of a connection: count it, and trust its sender less
	AppliedNew                          // inserted
	AppliedMerged                       // joined with ours, same incarnation
	AppliedReopened                     // a greater incarnation of the same tuples took the place of ours
	Stale                               // ours is better, Applied.Ours tells: answer with it
	AppliedClash                        // a greater incarnation holds one of its tuples, Applied.Ours tells which
	AppliedFull                         // no room
	AppliedDead                         // it has ended here, or began before a kill that it falls under: it must not come back; Applied.Over tells
	Unknown                             // Merge only: no such life at this index: ask for the whole state
)

// Applied is the result of Apply and Merge. The caller owns and reuses it.
type Applied struct {
	Index uint32 // of our entry; valid with the three Applied outcomes that changed it, and Stale
	Ours  State  // valid with Stale and AppliedClash; before it was changed with AppliedMerged and AppliedReopened
	// Completed says that our connection is Complete now and was not before: with
	// AppliedMerged and Stale.
	Completed bool
	Over      Over    // valid with AppliedDead from Apply
	Ended     []Ended // connections that had to go, because each tuple belongs to the greatest incarnation that claims it
}

// Over says what is known of a connection that cannot come back.
type Over struct {
	UpTo   Incarnation // lives of its tuple up to this one are over; at least the life that was refused
	Killed bool        // a kill has ended it, with others
}

// Update is a State without what a receiver knows already: it names our entry by index
// and the low half of the incarnation.
type Update struct {
	Incarnation uint32 // low 32 bits
	Flags       Flags
	Dir         [2]DirState
	Idle        uint32 // ms
}

// Apply takes over the state of a connection from a peer: inserts it, or joins it with
// ours. It believes nothing that a packet could not have brought about, and refuses the
// rest as Invalid. Where two connections claim one tuple the greater incarnation has it,
// on every node, in whatever order they hear of it.
func (t *Table) Apply(s *State, now int64, a *Applied) ApplyOutcome {
	a.Ended, a.Completed = a.Ended[:0], false
	if !s.valid() {
		return Invalid
	}
	t.heard(s.Incarnation)
	// Before any lock: the first connection of a class waits for kills.
	class, ok := t.joinClass(&s.Class)
	if !ok {
		return AppliedFull
	}
	outcome := t.applyAs(class, s, now, a)
	if outcome != AppliedNew && outcome != AppliedReopened {
		t.leaveClass(class, 1, 0)
	}
	return outcome
}

// applyAs is Apply with the class joined, which AppliedNew and AppliedReopened keep.
func (t *Table) applyAs(class classID, s *State, now int64, a *Applied) ApplyOutcome {
	original, reply := t.secret.hash(&s.Original), t.secret.hash(&s.Reply)
	for {
		outcome, rival := t.apply(class, s, now, original, reply, a)
		if rival == 0 {
			t.reclaim()
			return outcome
		}
		if outcome = t.displace(rival.index(), s, now, a); outcome != AppliedNew {
			return outcome
		}
	}
}

// apply is one attempt of Apply. rival is the slot of a connection that stands in the
// way and is not the same one.
func (t *Table) apply(class classID, s *State, now int64, original, reply uint64, a *Applied) (out ApplyOutcome, rival slot) {
	x, y := shardOf(original), shardOf(reply)
	t.lockTwo(x, y)
	defer t.unlockTwo(x, y)
	byOriginal, byReply := t.findLocked(original, &s.Original), t.findLocked(reply, &s.Reply)
	switch {
	case byOriginal != 0 && byReply != 0 && byOriginal.index() == byReply.index() && byOriginal.direction() == Original:
		a.Index = byOriginal.index()
		if c := &t.conns.all[a.Index]; !t.dead(c) || s.Incarnation > c.incarnation {
			return t.join(c, class, s, now, a, (*State).outdoes), 0
		} else {
			a.Over = Over{c.incarnation, true}
		}
		return AppliedDead, 0
	case byOriginal != 0:
		return Invalid, byOriginal
	case byReply != 0:
		return Invalid, byReply
	}
	if upTo := t.entombedLocked(x, original); upTo >= s.Incarnation {
		a.Over = Over{UpTo: upTo}
		return AppliedDead, 0
	}
	if !t.roomForLocked(x, y) {
		return AppliedFull, 0
	}
	index, ok := t.take()
	if !ok {
		return AppliedFull, 0
	}
	c := &t.conns.all[index]
	c.class = class
	t.setTuples(c, index, &s.Original, &s.Reply, s.Flags&bothNAT)
	c.born = seconds(now)
	c.become(s, milliseconds(now))
	t.linkLocked(c, index, original, reply)
	c.link.Store(linkLive | x) // a barrier, see publish
	if t.dead(c) {
		a.Over = Over{c.incarnation, true}
		t.unlinkLocked(c, index, original, reply)
		t.give(index)
		return AppliedDead, 0
	}
	a.Index = index
	return AppliedNew, 0
}

// displace removes the connection at index if s is the greater incarnation, and returns
// AppliedNew if the way may be free now.
func (t *Table) displace(index uint32, s *State, now int64, a *Applied) ApplyOutcome {
	c := &t.conns.all[index]
	home, live := t.lockLive(c)
	if !live {
		return AppliedNew // it has gone by itself
	}
	incarnation := c.incarnation
	if incarnation >= s.Incarnation {
		a.Index = index
		t.export(c, index, milliseconds(now), &a.Ours)
		t.unlock(home)
		if a.Ours.Original == s.Original {
			return Stale
		}
		return AppliedClash
	}
	t.unlock(home)
	a.Ended = append(a.Ended, Ended{Why: EndReplaced})
	last := &a.Ended[len(a.Ended)-1]
	// Nobody has said that it ended: it has lost its tuple, here and now. Should the other
	// turn out to be unknown to the node that forwards, it is told again.
	if !t.Forget(index, incarnation, now, &last.State) {
		a.Ended = a.Ended[:len(a.Ended)-1]
	}
	return AppliedNew
}

// Merge joins an update with our entry at index, if that is still the life it speaks of.
func (t *Table) Merge(index uint32, u *Update, now int64, a *Applied) ApplyOutcome {
	a.Ended, a.Completed = a.Ended[:0], false
	c := t.entry(index)
	if c == nil {
		return Unknown
	}
	home, live := t.lockLive(c)
	if !live {
		return Unknown
	}
	defer t.unlock(home)
	if uint32(c.incarnation) != u.Incarnation {
		return Unknown
	}
	if t.dead(c) {
		return AppliedDead
	}
	if u.Flags&^c.flags&(Proxied|Spliced) != 0 {
		return Unknown // its offset comes with the whole state alone
	}
	var s State
	t.export(c, index, milliseconds(now), &s)
	s.Flags = u.Flags&^(SourceNAT|DestinationNAT) | s.Flags&(SourceNAT|DestinationNAT)
	s.Dir, s.Idle = u.Dir, u.Idle
	if !s.valid() {
		return Invalid
	}
	a.Index = index
	return t.join(c, c.class, &s, now, a, (*State).leads)
}

// join brings a state of the same tuples into an entry. s is Stale where ours is ahead of it,
// and it is not ahead of ours. The caller holds the entry's home.
func (t *Table) join(c *Conn, class classID, s *State, now int64, a *Applied, ahead func(s, o *State) bool) ApplyOutcome {
	ms := milliseconds(now)
	wasHalf := c.halfOpen()
	defer func() { t.countHalfLocked(c.link.Load()&^linkLive, !wasHalf, !c.halfOpen()) }()
	switch {
	case s.Incarnation < c.incarnation:
		t.export(c, a.Index, ms, &a.Ours)
		return Stale
	case s.Incarnation > c.incarnation:
		t.export(c, a.Index, ms, &a.Ours)
		t.leaveClass(c.class, 1, 0)
		c.class = class
		c.become(s, ms)
		return AppliedReopened
	}
	t.export(c, a.Index, ms, &a.Ours)
	joined := a.Ours
	joined.Merge(s)
	a.Completed = joined.Complete() && !a.Ours.Complete()
	stale := ahead(&a.Ours, s) && !ahead(s, &a.Ours)
	c.adopt(&joined, &a.Ours)
	c.stamp(ms - s.Idle)
	if stale {
		return Stale
	}
	return AppliedMerged
}

// outdoes reports whether s knows of anything that o does not: joined, they are more than o.
// Every field of the join counts, or a node that is ahead in the others would be told what
// it knows for ever, and never say so. Class does not, because a life has one.
func (s *State) outdoes(o *State) bool {
	joined := *o
	joined.Merge(s)
	joined.Idle, joined.Class = o.Idle, o.Class
	return joined != *o
}

// leads is outdoes for updates, in which two lanes of a peer overtake each other all the
// time: it asks for what a takeover must not lack. Windows and acknowledgements that only
// an older update lacks are not worth an answer; the repair finds them if they stay.
func (s *State) leads(o *State) bool {
	if s.Flags&^o.Flags != 0 {
		return true
	}
	for d := range s.Dir {
		a, b := &s.Dir[d], &o.Dir[d]
		if a.Seen&^b.Seen != 0 || b.Seen&SeenFIN <= a.Seen&SeenFIN && a.End > b.End {
			return true
		}
	}
	return false
}

// become makes an entry hold the life that s tells of. Its tuples are those of s.
func (c *Conn) become(s *State, ms uint32) {
	c.forget()
	c.flags, c.incarnation = s.Flags, s.Incarnation
	c.seen = ms - s.Idle
	var none State
	c.adopt(s, &none)
}

// adopt moves an entry, whose exported form is ours, forward to the joined form. What
// did not grow stays as exact as it is here; what grew is as the exporter rounded it.
func (c *Conn) adopt(joined, ours *State) {
	c.flags |= joined.Flags
	c.offset = joined.Offset
	if c.proto == packet.TCP {
		was := c.tcp()
		c.sets = [2]Seen{joined.Dir[Original].Seen, joined.Dir[Reply].Seen}
		for d := Original; d <= Reply; d++ {
			to, from, e := &joined.Dir[d], &ours.Dir[d], &c.edge[d]
			c.setScale(d, to.Scale)
			if to.MaxWin > from.MaxWin {
				e.maxWin = to.MaxWin
			}
			if to.End != from.End || to.Seen&^from.Seen&SeenFIN != 0 {
				e.setPosition(to.End)
				c.clearAhead(d)
				if rounds(&c.sets, d) {
					c.setAhead(d)
				}
			}
			if to.MaxEnd > from.MaxEnd {
				e.maxEnd = uint32(to.MaxEnd)
			}
		}
		for d := Original; d <= Reply; d++ {
			ack, e := joined.Dir[d].MaxAck, &c.edge[d]
			if ack > ours.Dir[d].MaxAck && (ours.Dir[d].MaxAck == 0 || ack > unwrap(c.edge[d^1].position(), e.maxAck)) {
				e.maxAck = uint32(ack)
			}
		}
		if c.tcp() != was {
			c.setWait(waitNothing)
		}
	} else if c.proto == packet.SCTP {
		for d := range c.edge {
			c.sets[d] = joined.Dir[d].Seen
			c.edge[d].maxAck = uint32(joined.Dir[d].MaxAck)
		}
	}
}

// Renew gives the life incarnation of the connection at index a greater one, above every
// that was given or heard of, and fills s with it. It reports whether that life was there
// and no kill has met it. It is for a connection that lives and that peers take for one of
// their dead: they were told of a later life of its tuple, which this node had not heard of
// when this one began. Peers know it no more by its old name: they must be told it, whole.
func (t *Table) Renew(index uint32, incarnation, above Incarnation, now int64, s *State) bool {
	c := t.entry(index)
	if c == nil {
		return false
	}
	t.heard(above)
	home, live := t.lockLive(c)
	if !live {
		return false
	}
	defer t.unlock(home)
	if c.incarnation != incarnation || t.dead(c) {
		return false
	}
	c.incarnation = t.nextIncarnation()
	t.export(c, index, milliseconds(now), s)
	return true
}
