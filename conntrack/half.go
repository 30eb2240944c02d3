package conntrack

import "holdfast/dataplane/packet"

// Each shard counts the TCP connections at home in it whose handshake is not complete, so
// that a flood of SYNs is seen while it comes. An entry counts while it is live; who changes
// what it has done under its home lock says so.

// halfOpen reports whether the connection is one.
func (c *Conn) halfOpen() bool { return c.proto == packet.TCP && !complete(&c.sets) }

// countHalfLocked notes that a connection at home there was complete before, and is now.
func (t *Table) countHalfLocked(home uint32, was, is bool) {
	switch {
	case was && !is:
		t.shards[home].half++
	case is && !was:
		t.shards[home].half--
	}
}

// HalfOpen returns how many connections of the table are half-open, and how many are not. It
// takes each shard's lock in turn, some 40 us in all: not for the path.
func (t *Table) HalfOpen() (half, others int) {
	for s := range uint32(shardsCount) {
		t.lock(s)
		half += int(t.shards[s].half)
		others += int(t.shards[s].conns - t.shards[s].half)
		t.unlock(s)
	}
	return half, others
}
