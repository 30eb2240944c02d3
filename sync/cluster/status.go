package cluster

import (
	"net/netip"
	"slices"

	"holdfast/dataplane/gate"
	"holdfast/sync/repair"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// Status is what a node knows of itself and its peers at one moment.
type Status struct {
	Beat        Beat
	Active      string // name of the active node, "" where none is known
	Ready       bool
	NotReady    string
	Alarm       bool
	Lapses      uint64 // leases that ran out before they were extended
	Stalls      uint64 // times this node's clock goroutine stood still for half of DeadAfter
	Health      Health // of this node
	Stalled     uint64 // lapses at which this machine stood still
	Jitter      Jitter // of this node's own turns
	FalseAlarms uint64 // times a peer was counted dead and spoke again in the same life
	// PreemptIn is how long it takes until this node takes the role back, ns; 0: it does not.
	PreemptIn int64
	Peers     []PeerStatus
	History   []Event
}

// PeerStatus is what a node knows of a peer.
type PeerStatus struct {
	Name        string
	Address     netip.AddrPort
	Session     string // none, established
	Beat        Beat
	Heard       int64 // CLOCK_BOOTTIME ns, 0: never
	Knows       bool  // it may know of connections that this node does not: it has claimed the role, or announced some
	Behind      uint64
	Unconfirmed uint64
	Resent      uint64 // batches sent to the peer again
	Gaps        Gaps   // what was missing of its lanes, and what that says of the link
	Language    uint8  // version of wire's language that the two speak; 0: not known
	Refused     string // why nothing but its hellos and beats is taken in; "": all is
	SamePolicy  bool
	Standing    *wire.Standing // what it has told of its policies; nil: nothing yet
	MTUs        []uint16       // of its ports, by number; meaningful where the policy is the same
	Repair      repair.Report  // how this node's table compares with the peer's
	Discarded   uint64         // connections that the peer no longer had
	Proof       Proof          // what the peer says of its table and ours
	Tables      TablesReport
	Told        uint64 // connections that transfers have told the peer
	Rejected    map[string]uint64
	Paths       []PathStatus // ways to it, one or more
}

// Gaps is how a node asks a peer for what is missing (package peer).
type Gaps struct {
	Wait, Retry int64  // before a missed batch is asked for, and asked for again, ns
	Asked       uint64 // batches asked for
	Needless    uint64 // batches that came although they were there
	Shed        uint64 // batches that came too early to be held
	Lost        uint64 // batches that the peer no longer had
}

// Proof is what a peer has found, comparing its table with what this node told of its own.
type Proof struct {
	wire.Proof
	At int64 // when it said so, CLOCK_BOOTTIME ns; 0: never
}

// Role returns this node's role.
func (n *Node) Role() gate.Role {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.election.Role()
}

// Status returns what the node knows at now (CLOCK_BOOTTIME ns).
func (n *Node) Status(now int64) Status {
	s := Status{Lapses: n.lapses.Load(), Stalled: n.stalled.Load(), Jitter: n.jitter.read(now)}
	s.Ready, s.NotReady = n.Ready()
	n.mu.Lock()
	s.Beat, s.Alarm, s.Stalls = n.election.Beat(), n.election.Alarm(), n.election.Stalls()
	s.Health, s.PreemptIn = n.election.Health(), n.election.PreemptIn(now)
	s.History = n.election.History()
	s.FalseAlarms = n.election.FalseAlarms()
	active, known := n.election.Active(now)
	n.mu.Unlock()
	if known && active == n.number {
		s.Active = n.config.Name
	}
	for _, r := range n.remotes {
		if known && active == r.number {
			s.Active = r.name()
		}
		s.Peers = append(s.Peers, r.status())
	}
	return s
}

// knows reports whether a peer may know of connections that this node does not. One that has
// started with nothing, as this node has, does not.
func (r *remote) knows() bool {
	h := r.hello.Load()
	switch {
	case r.heard.Load() == 0:
		return false
	case h == nil || h.Start == wire.StartedFilled || r.forwarded.Load() != 0:
		return true
	}
	return slices.ContainsFunc(h.Sent.Slice(), func(sent uint64) bool { return sent != 0 })
}

func (r *remote) status() PeerStatus {
	s := PeerStatus{
		Name: r.name(), Address: r.link.address(), Session: "none", Heard: r.heard.Load(),
		Behind: r.behind.Load(), Resent: r.resent.Load(), Rejected: map[string]uint64{},
	}
	if r.link.peer.Session() != nil {
		s.Session = "established"
	}
	if b := r.last.Load(); b != nil {
		s.Beat = *b
	}
	if h := r.hello.Load(); h != nil {
		s.SamePolicy = h.Policy == r.node.standing.Load().Force
		s.MTUs = h.MTUs.Slice()
	}
	s.Knows = r.knows()
	s.Language, s.Refused = r.language.status()
	s.Paths = r.link.status()
	s.Standing = r.standing.Load()
	for lane := range r.node.lanes() {
		if sent, confirmed := r.journal(lane).Sent(), r.confirmed[lane].Load(); sent > confirmed {
			s.Unconfirmed += sent - confirmed
		}
	}
	if p := r.report.Load(); p != nil {
		s.Repair = *p
	}
	if p := r.proof.Load(); p != nil {
		s.Proof = *p
	}
	if g := r.gaps.Load(); g != nil {
		s.Gaps = *g
	}
	s.Tables = r.tabled.report()
	s.Discarded, s.Told = r.discarded.Load(), r.share.transfer.Told()
	for _, why := range seal.Rejects() {
		if c := r.link.peer.Rejects().Count(why); c > 0 {
			s.Rejected[why.String()] = c
		}
	}
	if c := r.malformed.Load(); c > 0 {
		s.Rejected["malformed"] = c
	}
	if c := r.applier.Refused(); c > 0 {
		s.Rejected["not-applicable"] = c
	}
	if c := r.applier.Dead(); c > 0 {
		s.Rejected["killed-before"] = c // outrun by a kill: no fault
	}
	return s
}

// NodeName returns the name of the node of a number, "" where it has not told one.
func (n *Node) NodeName(number uint16) string {
	if number == n.number {
		return n.config.Name
	}
	for _, r := range n.remotes {
		if h := r.hello.Load(); r.number == number && h != nil {
			return h.Name
		}
	}
	return ""
}
