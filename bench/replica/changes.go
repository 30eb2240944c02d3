package replica

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
)

// changes is the live stream: connections that begin and, a while later, end.
type changes struct {
	told atomic.Uint64
	stop chan struct{}
	done chan struct{}
}

// living is how many connections of the stream live at once.
const living = 1 << 14

// begin begins a stream of so many connections that begin, and as many that end, each second.
func begin(n *Node, rate int) *changes {
	c := &changes{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		if rate > 0 {
			c.run(n, rate)
		}
	}()
	return c
}

func (c *changes) end() {
	close(c.stop)
	<-c.done
}

// run tells in turns of a millisecond, as a worker tells in turns.
func (c *changes) run(n *Node, rate int) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var ring [living]conntrack.State
	var applied conntrack.Applied
	var last conntrack.State
	made, start := 0, time.Now()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		for due := int(time.Since(start).Seconds() * float64(rate)); made < due; made++ {
			now, s := gate.Now(), &ring[made%living]
			if made >= living && n.Table.Remove(s.Index, s.Incarnation, now, &last) {
				n.Lane.Delete(&last, conntrack.EndExpired)
				c.told.Add(1)
			}
			*s = lively(made, n.Table)
			if n.Table.Apply(s, now, &applied) == conntrack.AppliedNew {
				s.Index = applied.Index
				n.Lane.Insert(s)
				c.told.Add(1)
			}
			if made%64 == 63 {
				n.Lane.Flush()
			}
		}
		n.Lane.Flush()
	}
}

// lively is connection i of the stream: UDP, of addresses that the others do not have.
func lively(i int, t *conntrack.Table) (s conntrack.State) {
	o := &s.Original
	o.Src, o.Dst = packet.AddrFrom(netip.MustParseAddr("172.16.0.0")), packet.AddrFrom(netip.MustParseAddr("198.18.0.9"))
	binary.BigEndian.PutUint32(o.Src[12:], 172<<24|16<<16+uint32(i/60000%1000))
	o.SrcPort, o.DstPort, o.Proto = uint16(1+i%60000), 53, packet.UDP
	s.Reply = o.Reply()
	// Behind all that began before, as the incarnations of new connections are.
	s.Incarnation = t.Latest()&^0xffff | 1
	s.Class = conntrack.Class{Rule: 1, Egress: 1}
	return s
}
