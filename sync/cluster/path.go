package cluster

import (
	"errors"
	"math"
	"net"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"holdfast/sync/journal"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// PathKind says what a path may carry.
type PathKind uint8

const (
	// PathSync is a sync link: everything, in both directions.
	PathSync PathKind = iota
	// PathPort leads through data ports. It carries the heartbeats of the node that holds
	// the lease and nothing else: who stands by is mute on data ports and only listens.
	PathPort
)

// String returns the word of status.
func (k PathKind) String() string { return [...]string{"sync", "port"}[k] }

// path is one of several ways between this node and a peer. All carry datagrams of the same
// sealed session, so whoever can write to a data port's segment but has no key can neither make
// a heartbeat, nor bring one back that has been heard, by whatever path.
type path struct {
	name string // for status: the device, or the port
	kind PathKind
	way  journal.Way
	conn *net.UDPConn // that the way writes to; nil: somebody else's

	heard   atomic.Int64  // when a heartbeat last came by it, ns of this node's clock; 0: never
	heardBy atomic.Int64  // when the peer last said that it hears us by it; 0: never
	refused atomic.Uint64 // times the kernel said that nobody listens at its far end
}

// Write sends one datagram (journal.Way).
func (p *path) Write(datagram []byte) error {
	err := p.way.Write(datagram)
	if errors.Is(err, unix.ECONNREFUSED) {
		p.refused.Add(1)
	}
	return err
}

// WriteRun sends several datagrams (journal.RunWay).
func (p *path) WriteRun(run []byte, size int) error {
	err := journal.WriteRun(p.way, run, size)
	if errors.Is(err, unix.ECONNREFUSED) {
		p.refused.Add(1)
	}
	return err
}

// AddPath adds a way to the peer besides the first. Heartbeats go by all, the streams by
// one sync link at a time. It is to be called before the node is made, on both nodes in the
// same order.
func (l *PeerLink) AddPath(name string, kind PathKind, way journal.Way) {
	if len(l.paths) < wire.PathsMax {
		l.paths = append(l.paths, &path{name: name, kind: kind, way: way})
	}
}

// several reports whether there is more than one way to the peer.
func (l *PeerLink) several() bool { return len(l.paths) > 1 }

// Write sends a datagram of the streams (journal.Way), by the sync link that is in use.
func (l *PeerLink) Write(datagram []byte) error {
	return l.paths[l.use.Load()].Write(datagram)
}

// WriteRun sends datagrams of the streams (journal.RunWay), by the sync link that is in use.
func (l *PeerLink) WriteRun(run []byte, size int) error {
	return l.paths[l.use.Load()].WriteRun(run, size)
}

// refusals counts how often every sync link to the peer has found nobody listening: a
// process that has ended refuses on all of them.
func (l *PeerLink) refusals() uint64 {
	least := uint64(math.MaxUint64)
	for _, p := range l.paths {
		if p.kind == PathSync {
			least = min(least, p.refused.Load())
		}
	}
	return least
}

// syncHeard returns when a heartbeat last came by a sync link, 0: never.
func (l *PeerLink) syncHeard() (at int64) {
	for _, p := range l.paths {
		if p.kind == PathSync {
			at = max(at, p.heard.Load())
		}
	}
	return at
}

// hears returns by which paths the peer was heard since an instant.
func (l *PeerLink) hears(since int64) (set uint16) {
	for i, p := range l.paths {
		if p.heard.Load() > since {
			set |= 1 << i
		}
	}
	return set
}

// choose takes the first sync link that works in both directions into use, where the one
// in use does not. What was lost meanwhile is asked for again. The control goroutine calls it.
func (l *PeerLink) choose(now, deadAfter int64) {
	// What the peer hears is a heartbeat and a way old when it is told.
	works := func(p *path) bool {
		return p.kind == PathSync && now-p.heard.Load() < deadAfter && now-p.heardBy.Load() < 2*deadAfter
	}
	if works(l.paths[l.use.Load()]) {
		return
	}
	for i, p := range l.paths {
		if works(p) {
			l.use.Store(int32(i))
			return
		}
	}
}

// shake sends an unsealed datagram, a part of a handshake, by every sync link: whichever
// copy comes first counts, and the others are refused like any that was heard before.
func (l *PeerLink) shake(datagram []byte) {
	for _, p := range l.paths {
		if p.kind == PathSync {
			// Lost like any datagram; the handshake is repeated.
			_ = p.Write(datagram)
		}
	}
}

// beatBy seals a heartbeat for one path and sends it. What goes by several is sealed for
// each, because a datagram that was opened once is never opened again.
func (r *remote) beatBy(i int, hears uint16) {
	m := wire.Path{Path: uint8(i), Hears: hears}
	b := m.Append(r.beatBatch)
	if s := r.link.peer.Session(); s != nil {
		if d := s.Seal(laneBeats, r.beatSealed[:0], b); d != nil {
			// Weather: the next one comes in a moment.
			_ = r.link.paths[i].Write(d)
		}
	}
}

// onPath notes by which way the peer's heartbeat came, and by which it hears this node.
func (r *remote) onPath(m *wire.Path) {
	for i, p := range r.link.paths {
		if m.Hears&(1<<i) != 0 {
			p.heardBy.Store(r.now)
		}
	}
}

// severed watches over replication where the peer is heard, but by no sync link: what it
// tells of connections no longer comes, so this node is not ready, until a sync link has
// brought all of it. The control goroutine calls it.
func (r *remote) sever(now, deadAfter int64) {
	if !r.link.several() {
		return
	}
	synced := now-r.link.syncHeard() < deadAfter
	switch {
	case !synced && r.heard.Load() != 0 && now-r.heard.Load() < deadAfter:
		r.severed.Store(true)
	case synced && r.behind.Load() == 0:
		r.severed.Store(false)
	}
}

// PathStatus is what a node knows of one way to a peer.
type PathStatus struct {
	Name  string
	Kind  PathKind
	Heard int64 // when a heartbeat last came by it, CLOCK_BOOTTIME ns; 0: never
	Used  bool  // the streams go by it
}

func (l *PeerLink) status() (all []PathStatus) {
	for i, p := range l.paths {
		all = append(all, PathStatus{Name: p.name, Kind: p.kind, Heard: p.heard.Load(), Used: int(l.use.Load()) == i})
	}
	return all
}

// ReceiveBy takes in one datagram that came by a path of link i (PeerLink.AddPath; 0 is the
// first), and returns what became of it, like Receive. Readers of several paths may call it
// at once.
func (n *Node) ReceiveBy(i, by int, datagram []byte) seal.Outcome {
	r := n.remotes[i]
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now, r.by = n.clock(), by
	return r.datagram(datagram)
}
