package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"holdfast/dataplane/gate"
	"holdfast/internal/mutant"
)

// Decision is what an election asks its driver to do.
type Decision uint8

const (
	// Stay: nothing.
	Stay Decision = iota
	// Promote: grant the lease, open the gate, tell the neighbours.
	Promote
	// Demote: revoke the lease, close the gate.
	Demote
)

// member is another node of the cluster as this one last heard it.
type member struct {
	beat  Beat
	heard int64 // CLOCK_BOOTTIME ns; 0: never
	dead  bool  // it was counted dead since

	// refusals counts since the last beat how often the kernel at its address said that
	// nobody listens there.
	refusals uint64
}

// refusalsDead is how many refusals without a beat between them make a node dead before
// DeadAfter. The hint is not authenticated, so one proves nothing: each refusal answers
// a beat of ours, so three of them mean that for two heartbeats this node has asked and
// not one sealed beat came, although a closed socket was reported each time. A stopped
// or overloaded process keeps its sockets open and is given the whole of DeadAfter; a
// process whose sockets are closed has lost those of its data ports too.
const refusalsDead = 3

// Election decides whether this node is the active node of one group of ports. It is
// a pure machine: beats and clock readings in, decisions out; lease, sockets and
// workers belong to its driver.
//
//	            no living active, I am the best ready node
//	            (or alone past AloneAfter: the best node, with an alarm)
//	+---------+ ------------------------------------------------> +--------+
//	| Standby |                                                   | Active |
//	+---------+ <------------------------------------------------ +--------+
//	            a higher claim · lease lapsed · a worker stuck ·
//	            handed over · alone = "wait" and nobody heard
//
// Where votes decide, the way to Active leads by a majority of them (votes.go), and who loses it
// is demoted.
//
// Claims are ordered by (term, lower node number): the lower one yields. Not safe for
// concurrent use.
type Election struct {
	self     Beat
	priority int32 // as configured
	health   Health
	timing   Timing
	alone    Alone
	members  []member // by node number, without this node

	started   int64 // first tick
	ticked    int64 // last tick
	noActive  int64 // since when no living active node is known; 0 while there is one
	sawActive bool  // an active node was heard since this one started
	listening int64 // until when this node only listens, because it stood still
	holdUntil int64 // how long this node yields
	wantUntil int64 // how long this node asks for the role
	ahead     int64 // since when this node has gone before the active one; 0: it does not
	damping   damping
	alarm     bool   // promoted without being ready
	alarms    uint64 // peers that were counted dead and were not
	stalls    uint64 // ticks that came so late that silence proves nothing
	votes     *votes // nil: votes do not decide
	pending   Decision
	history   []Event
}

// Event is one line of `holdfast status --history`.
type Event struct {
	At       int64 // CLOCK_BOOTTIME ns
	Term     uint64
	Role     gate.Role
	Cause    string
	Evidence string
}

// historyMax bounds the history; the oldest lines go first.
const historyMax = 64

// NewElection returns a standby of the group that node self takes part in. peers are
// the numbers of the other nodes.
func NewElection(self uint16, priority int32, peers []uint16, timing Timing, alone Alone) *Election {
	e := &Election{self: Beat{Node: self, Priority: priority}, priority: priority, timing: timing, alone: alone}
	for _, p := range peers {
		e.members = append(e.members, member{beat: Beat{Node: p}})
	}
	if alone == AloneWitness {
		e.votes = newVotes(len(peers), timing)
	}
	slices.SortFunc(e.members, func(a, b member) int { return cmp.Compare(a.beat.Node, b.beat.Node) })
	return e
}

// Beat returns what this node says of itself now.
func (e *Election) Beat() Beat { return e.self }

// Role returns this node's role.
func (e *Election) Role() gate.Role { return e.self.Role }

// Alarm reports whether this node serves although it was not ready, or has a fault.
func (e *Election) Alarm() bool {
	return (e.alarm || !e.self.Sound()) && e.self.Role == gate.Active
}

// Stalls counts ticks that came later than half of DeadAfter: this machine stood still.
func (e *Election) Stalls() uint64 { return e.stalls }

// FalseAlarms counts how often a peer was counted dead and then spoke in the same life: it stood
// still, or every path to it was cut.
func (e *Election) FalseAlarms() uint64 { return e.alarms }

// History returns the decisions so far, oldest first.
func (e *Election) History() []Event { return slices.Clone(e.history) }

// Active returns the number of the node that is known to be active, this one included.
func (e *Election) Active(now int64) (node uint16, known bool) {
	if e.self.Role == gate.Active {
		return e.self.Node, true
	}
	if m := e.livingActive(now); m != nil {
		return m.beat.Node, true
	}
	return 0, false
}

// Decide returns the decision that the last step came to, once.
func (e *Election) Decide() Decision {
	d := e.pending
	e.pending = Stay
	return d
}

// SetReady tells whether this node's table is complete.
func (e *Election) SetReady(ready bool) { e.self.Ready = ready }

// SetGeneration tells which generation of the policy this node keeps.
func (e *Election) SetGeneration(number uint64) { e.self.Generation = number }

// Step takes in a beat of another node. Beats of unknown nodes are ignored: the sealed
// session names its node, and the configuration names the sessions.
func (e *Election) Step(b Beat, now int64) {
	i := slices.IndexFunc(e.members, func(m member) bool { return m.beat.Node == b.Node })
	if i < 0 {
		return
	}
	if m := &e.members[i]; m.dead && m.beat.Life == b.Life {
		e.alarms++
	}
	e.members[i] = member{beat: b, heard: now}
	if b.Role == gate.Active {
		e.sawActive = true
		e.noActive = 0
	}
	if e.self.Role == gate.Active {
		if b.Role == gate.Active && outranks(b, e.self) && !mutant.BothKeepServing {
			e.demote(now, "a higher claim", fmt.Sprintf("node %d is active in term %d", b.Node, b.Term))
			// Somebody serves, so there is nobody to let claim first: and if that one hands
			// over at once, both would yield and claim in step, again and again.
			e.self.Yields, e.holdUntil = false, 0
		} else if b.Wants && b.Ready && b.Sound() {
			e.demote(now, "handed over", fmt.Sprintf("node %d asked for the role", b.Node))
		}
	}
	if b.Role == gate.Active && b.Term > e.self.Term {
		// Who was to claim first has done so. If that one hands over soon, this node is free to take it.
		e.self.Yields, e.holdUntil = false, 0
	}
	e.self.Term = max(e.self.Term, b.Term)
}

// outranks reports whether claim a beats claim b.
func outranks(a, b Beat) bool {
	if a.Term != b.Term {
		return a.Term > b.Term
	}
	return a.Node < b.Node && !mutant.EqualTermAccepted
}

// Tick lets time pass.
func (e *Election) Tick(now int64) {
	if e.started == 0 {
		e.started, e.ticked = now, now
	}
	e.forgiveOwnStall(now)
	for i := range e.members {
		m := &e.members[i]
		m.dead = m.dead || m.heard != 0 && !e.alive(*m, now)
	}
	if e.votes != nil {
		e.votes.ballot.Look(now)
		e.votes.claims = false
		defer func() {
			if e.votes.asking && !e.votes.claims {
				e.stopAsking()
			}
		}()
	}
	e.self.Yields = now < e.holdUntil
	e.self.Wants = now < e.wantUntil
	if e.self.Role == gate.Active {
		if e.alone == AloneWait && len(e.members) > 0 && e.living(now) == 0 {
			e.demote(now, "alone", "no peer heard, and alone = \"wait\"")
			return
		}
		if !e.unsupported(now) {
			e.handOverIfTroubled(now)
		}
		return
	}
	if active := e.livingActive(now); active != nil {
		e.noActive = 0
		e.preempt(now, active)
		return
	}
	e.ahead = 0
	if e.noActive == 0 {
		e.noActive = now
	}
	if e.self.Yields || now < e.listening {
		return
	}
	e.claimIfBest(now)
}

// forgiveOwnStall keeps silence from being held against the peers while it was this
// node that did not listen: after a late tick each of them gets two more beats to be heard,
// and no less than a lease. A late tick may also be a clock that has leapt ahead, so that the
// lease of an active node has not run down meanwhile: a tick that is less late adds to a silence
// no more than what DeadAfter is above Lease. So whoever counts as dead by one leap has fallen
// silent before.
func (e *Election) forgiveOwnStall(now int64) {
	gap := now - e.ticked
	e.ticked = now
	if mutant.OwnStallBlamed {
		return
	}
	if gap <= e.timing.DeadAfter/2 {
		if late := gap - (e.timing.DeadAfter - e.timing.Lease); late > 0 {
			e.excuse(func(heard int64) int64 { return heard + late })
		}
		return
	}
	e.stalls++
	// What it has heard last says what was: of two that stood still together both may believe
	// that the other yields.
	e.listening = now + 2*e.timing.Heartbeat
	if e.noActive != 0 {
		e.noActive += gap // nobody can say who served meanwhile
	}
	grace := now - e.timing.DeadAfter + max(2*e.timing.Heartbeat, e.timing.Lease)
	e.excuse(func(heard int64) int64 { return max(heard, grace) })
}

// excuse moves the instants from which the silence of the peers counts.
func (e *Election) excuse(later func(heard int64) int64) {
	for i := range e.members {
		if m := &e.members[i]; m.heard != 0 {
			m.heard = later(m.heard)
		}
	}
}

// claimIfBest promotes this node if no other has a better right to.
func (e *Election) claimIfBest(now int64) {
	if e.alone == AloneWait && e.living(now) == 0 && len(e.members) > 0 {
		return
	}
	silent := now - e.noActive
	if silent < e.timing.AloneAfter {
		// Until then only ready nodes claim, and only where the picture is whole: every
		// node was heard, or one that was active has gone.
		if !e.self.Ready || (!e.sawActive && e.living(now) < len(e.members)) {
			return
		}
		if e.best(now, true) {
			e.claim(now, e.cause(), e.evidence(now))
		}
		return
	}
	if e.best(now, e.self.Ready) {
		e.alarm = !e.self.Ready
		e.claim(now, "nobody serves", e.evidence(now))
	}
}

func (e *Election) cause() string {
	switch {
	case e.self.Wants:
		return "asked to"
	case e.sawActive:
		return "the active node is gone"
	}
	return "the cluster starts"
}

// evidence says what the claim rests on.
func (e *Election) evidence(now int64) string {
	if len(e.members) == 0 {
		return "no other node is configured"
	}
	var last int64
	for _, m := range e.members {
		last = max(last, m.heard)
	}
	if last == 0 {
		return fmt.Sprintf("0 of %d nodes ever heard", len(e.members))
	}
	return fmt.Sprintf("%d of %d nodes living, last beat %.1f ms ago", e.living(now), len(e.members), float64(now-last)/1e6)
}

// best reports whether this node goes before every other living candidate: without a fault
// first, then asked for, then a newer policy, then higher priority, then lower number. An older policy keeps
// nobody from serving where no other can. With readyOnly, nodes that are not
// ready do not count; without, a ready one always goes first.
func (e *Election) best(now int64, readyOnly bool) bool {
	for _, m := range e.members {
		if !e.alive(m, now) || m.beat.Yields || (readyOnly && !m.beat.Ready) {
			continue
		}
		if ahead(m.beat, e.self) {
			return false
		}
	}
	return true
}

func ahead(a, b Beat) bool {
	if a.Ready != b.Ready {
		return a.Ready
	}
	if a.Sound() != b.Sound() {
		return a.Sound()
	}
	if a.Wants != b.Wants {
		return a.Wants
	}
	if a.Generation != b.Generation {
		return a.Generation > b.Generation
	}
	if a.Priority != b.Priority {
		return a.Priority > b.Priority
	}
	return a.Node < b.Node
}

func (e *Election) alive(m member, now int64) bool {
	dead := e.timing.DeadAfter
	if mutant.DeathTooEarly {
		dead /= 2
	}
	return m.heard != 0 && now-m.heard < dead && m.refusals < refusalsDead
}

// Refused tells that the kernel at a node's address has said n times that nobody listens
// there.
func (e *Election) Refused(node uint16, n uint64) {
	for i := range e.members {
		if e.members[i].beat.Node == node {
			e.members[i].refusals += n
		}
	}
}

// living counts the other nodes that are alive.
func (e *Election) living(now int64) (n int) {
	for _, m := range e.members {
		if e.alive(m, now) {
			n++
		}
	}
	return n
}

func (e *Election) livingActive(now int64) *member {
	for i, m := range e.members {
		if m.beat.Role == gate.Active && e.alive(m, now) {
			return &e.members[i]
		}
	}
	return nil
}

func (e *Election) promote(now int64, cause, evidence string) {
	e.self.Role = gate.Active
	e.self.Term++
	e.self.Wants, e.wantUntil = false, 0
	e.noActive = 0
	e.pending = Promote
	e.record(now, cause, evidence)
}

func (e *Election) demote(now int64, cause, evidence string) {
	e.self.Role = gate.Standby
	e.stopAsking()
	e.alarm = false
	e.sawActive = true // it was this node itself
	e.holdUntil = now + 2*e.timing.DeadAfter
	e.self.Yields = true
	e.pending = Demote
	e.record(now, cause, evidence)
}

func (e *Election) record(now int64, cause, evidence string) {
	if len(e.history) == historyMax {
		e.history = slices.Delete(e.history, 0, 1)
	}
	e.history = append(e.history, Event{At: now, Term: e.self.Term, Role: e.self.Role, Cause: cause, Evidence: evidence})
}
