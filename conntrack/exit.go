package conntrack

import "holdfast/dataplane/packet"

// ExitOf returns the port that the packet of a connection should leave by, as Result.Exit
// does, without tracking it; ok is false where it has no connection. hit is what Lookup
// said of p, and is corrected. For packets that are rare.
func (t *Table) ExitOf(p *packet.Parsed, hit *Hit) (exit packet.PortID, ok bool) {
	c, home := t.verify(p, hit)
	if c == nil {
		return packet.NoPort, false
	}
	exit = t.keyOf(c).way(hit.Direction).Exit
	t.unlock(home)
	return exit, true
}
