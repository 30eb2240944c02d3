package table

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"holdfast/dataplane/packet"
)

// dynamic is the entries of a table that come and go. The Tables of all generations that
// have the table share it.
type dynamic struct {
	tree    atomic.Pointer[tree] // replaced by writers, under the lock
	refused atomic.Uint64        // entries that found no room

	mu     sync.Mutex
	queue  queue   // of the entries that expire
	sums   sums    // of all
	graves graves  // of those that have left
	floor  Version // what was put up to it has been flushed
	now    int64   // ns, the latest that a writer has said
}

// enterLocked takes a new entry into the account, leaveLocked one that goes out of it, and
// renewLocked says that one lives on, by a later change.
func (d *dynamic) enterLocked(e *entry, expires int64) {
	d.queue.set(e, expires)
	d.sums.add(e)
}

func (d *dynamic) leaveLocked(e *entry) {
	d.sums.sub(e)
	d.queue.set(e, 0)
}

func (d *dynamic) renewLocked(e *entry, expires int64, v Version) {
	d.sums.sub(e)
	e.version.Store(v)
	d.queue.set(e, expires)
	d.sums.add(e)
}

func newDynamic() *dynamic {
	d := &dynamic{}
	d.tree.Store(new(tree))
	return d
}

// Lifetimes that stand for something else than so many ns.
const (
	Default int64 = 0  // the table's own
	Forever int64 = -1 // the entry stays
)

// Outcome says what became of a change to a table.
type Outcome uint8

// The outcomes. The zero value is illegal.
const (
	Added     Outcome = iota + 1
	Refreshed         // it was there: its lifetime begins anew
	Deleted           // it was there, and is not any more
	Absent            // there is no such entry
	IsWritten         // the policy has an entry with this prefix, which no command changes
	IsConst           // the policy says that the table is const
	Full              // there is no room
	Excepted          // an entry behind a "!" keeps it out, whoever overloads
	Outdated          // another node tells what a later change has overtaken
)

// Add puts an address into the table at now (ns), for a lifetime of so many ns, Default or
// Forever. One that is there lives anew, and what a command has said of it is never cut short
// by an Overload; nor does that take in what an entry behind a "!" keeps out. It is cheap and
// safe from any worker.
func (t *Table) Add(a *packet.Addr, now, lifetime int64, cause Cause) Outcome {
	ip := a.Netip()
	return t.AddPrefix(netip.PrefixFrom(ip, ip.BitLen()), Include, now, lifetime, cause)
}

// AddPrefix is Add for a prefix, which has no bits set behind its length, and in either sense.
func (t *Table) AddPrefix(p netip.Prefix, sense Sense, now, lifetime int64, cause Cause) Outcome {
	if out := t.changeable(p); out != 0 {
		return out
	}
	expires := t.expiry(now, lifetime)
	d := t.added
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = max(d.now, now)
	before := d.tree.Load()
	if cause.Kind == Overload && t.keepsOut(before, p) {
		return Excepted
	}
	old, there := before.Get(p)
	if there && old.sense == sense {
		if cause.Kind != Overload || outlives(expires, old.expires.Load()) {
			d.renewLocked(old, expires, t.clock.next())
		}
		return Refreshed
	}
	if !there && before.Size() >= t.plan.Max {
		d.refused.Add(1)
		return Full
	}
	e := newEntry(p, sense, cause, now, t.clock.next())
	if there {
		d.leaveLocked(old)
	}
	d.enterLocked(e, expires)
	d.graves.close(p)
	d.tree.Store(before.InsertPersist(p, e))
	if there {
		return Refreshed
	}
	return Added
}

// keepsOut reports whether the narrowest entry that has all of a prefix excludes it.
func (t *Table) keepsOut(added *tree, p netip.Prefix) bool {
	decides, found := added.LookupPrefix(p)
	if t.written != nil {
		if w, ok := t.written.LookupPrefix(p); ok && (!found || w.prefix.Bits() >= decides.prefix.Bits()) {
			decides, found = w, true
		}
	}
	return found && decides.sense == Exclude
}

// changeable says why no command changes an entry; 0: it may.
func (t *Table) changeable(p netip.Prefix) Outcome {
	if t.added == nil {
		return IsConst
	}
	if t.written != nil {
		if _, ok := t.written.Get(p); ok {
			return IsWritten
		}
	}
	return 0
}

// expiry returns when an entry leaves that is added at now; 0: never.
func (t *Table) expiry(now, lifetime int64) int64 {
	if lifetime == Default {
		lifetime = t.plan.Lifetime
	}
	if lifetime <= 0 {
		return 0
	}
	return max(now+lifetime, 1)
}

// outlives reports whether an entry that expires at a leaves after one that does at b.
func outlives(a, b int64) bool { return b != 0 && (a == 0 || a > b) }

// Delete takes an entry that was added out of the table.
func (t *Table) Delete(p netip.Prefix) Outcome {
	if out := t.changeable(p); out != 0 {
		return out
	}
	d := t.added
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.tree.Load()
	e, there := before.Get(p)
	if !there {
		return Absent
	}
	d.leaveLocked(e)
	d.graves.dig(p, t.clock.next(), d.now)
	d.tree.Store(before.DeletePersist(p))
	return Deleted
}

// Flush takes out all entries that were added and returns how many those were.
func (t *Table) Flush() int {
	if t.added == nil {
		return 0
	}
	d := t.added
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.tree.Load().Size()
	d.startLocked(t.clock.next(), new(tree), nil, sums{})
	return n
}

// startLocked puts other entries in the place of all that were put up to a version.
func (d *dynamic) startLocked(v Version, t *tree, q queue, s sums) {
	d.tree.Store(t)
	d.queue, d.sums, d.floor = q, s, v
	d.graves.below(v)
}

// NewEntry is an entry of a Replace.
type NewEntry struct {
	Prefix netip.Prefix
	Sense  Sense
}

// Replace puts these entries in the place of all that were added, in one step: an address
// that both lists hold is held throughout. The counts of those that stay go on. Nothing
// changes unless it returns Added; on IsWritten at says which entry is in the way.
func (t *Table) Replace(entries []NewEntry, now, lifetime int64, cause Cause) (out Outcome, at int) {
	if t.added == nil {
		return IsConst, 0
	}
	d := t.added
	before, after := d.tree.Load(), new(tree)
	fresh := newDynamic()
	expires, v := t.expiry(now, lifetime), t.clock.next()
	for i, n := range entries {
		if out := t.changeable(n.Prefix); out != 0 {
			return out, i
		}
		e := newEntry(n.Prefix, n.Sense, cause, now, t.clock.next())
		if old, ok := before.Get(n.Prefix); ok && old.sense == n.Sense {
			e.counts, e.added, e.cause = old.counts, old.added, old.cause
		}
		if twice, ok := after.Get(n.Prefix); ok {
			fresh.leaveLocked(twice)
		} else if after.Size() >= t.plan.Max {
			d.refused.Add(1)
			return Full, i
		}
		after.Insert(n.Prefix, e)
		fresh.enterLocked(e, expires)
	}
	d.mu.Lock()
	d.startLocked(v, after, fresh.queue, fresh.sums)
	d.mu.Unlock()
	return Added, 0
}

// expireStep is how many entries leave under one lock, so that whoever adds one waits no
// longer than some 50 us.
const expireStep = 32

// Expire takes out what has no lifetime left at now, and returns how many entries that were.
func (t *Table) Expire(now int64) (n int) {
	if t.added == nil {
		return 0
	}
	for {
		left := t.added.expire(now, expireStep)
		n += left
		if left < expireStep {
			return n
		}
	}
}

func (d *dynamic) expire(now int64, most int) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = max(d.now, now)
	d.graves.forget(now)
	after := d.tree.Load()
	for ; n < most && len(d.queue) > 0 && d.queue[0].expires.Load() <= now; n++ {
		e := d.queue[0]
		d.leaveLocked(e)
		d.graves.dig(e.prefix, e.version.Load(), now)
		after = after.DeletePersist(e.prefix)
	}
	if n > 0 {
		d.tree.Store(after)
	}
	return n
}
