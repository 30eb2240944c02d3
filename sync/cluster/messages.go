package cluster

import (
	"holdfast/dataplane/gate"
	"holdfast/internal/mutant"
	"holdfast/sync/journal"
	"holdfast/sync/peer"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// control takes in the control messages of one datagram. A message of a type that is not
// known is skipped by its length.
func (r *remote) control(body []byte) {
	frames := wire.Frames{Rest: body}
	for frames.Next(&r.frame) {
		if r.language.refused() && r.frame.Type != wire.TypeHello && r.frame.Type != wire.TypeHeartbeat {
			continue // its words may mean something else
		}
		if !r.message(&r.frame) {
			r.malformed.Add(1)
		}
	}
	if frames.Err() != nil {
		r.malformed.Add(1)
	}
}

// message carries out one control message and reports whether it made sense.
func (r *remote) message(f *wire.Frame) bool {
	switch f.Type {
	case wire.TypeHello:
		m := new(wire.Hello)
		return m.Decode(f) == nil && r.onHello(m)
	case wire.TypeHeartbeat:
		var m wire.Heartbeat
		return m.Decode(f) == nil && r.onHeartbeat(&m)
	case wire.TypePath:
		var m wire.Path
		if m.Decode(f) != nil {
			return false
		}
		r.onPath(&m)
	case wire.TypeVoteRequest:
		var m wire.VoteRequest
		if m.Decode(f) != nil {
			return false
		}
		if r.fresh {
			r.node.tell(event{what: askedForVote, from: r, reading: int64(m.Reading), hold: int64(m.Hold), at: r.now})
		}
	case wire.TypeVote:
		var m wire.Vote
		if m.Decode(f) != nil {
			return false
		}
		if m.Granted {
			r.node.tell(event{what: voted, from: r, reading: int64(m.Reading), at: r.now})
		}
	case wire.TypeNack:
		var m wire.Nack
		return m.Decode(f) == nil && r.onNack(&m)
	case wire.TypeLost:
		var m wire.Lost
		if m.Decode(f) != nil {
			return false
		}
		if r.machine.Lost(m.Lane, m.First) {
			r.trail.Skipped(m.Lane, m.First, r.node.ledger.Tick())
		}
	case wire.TypeAck:
		var m wire.Ack
		if m.Decode(f) != nil {
			return false
		}
		r.onAcked(m.Lanes.Slice())
	case wire.TypeDigest:
		var m wire.Digest
		if m.Decode(f) != nil {
			return false
		}
		r.check.Take(&m, r.now)
	case wire.TypeProof:
		var m wire.Proof
		if m.Decode(f) != nil {
			return false
		}
		r.proof.Store(&Proof{Proof: m, At: r.now})
	case wire.TypeTransferRequest:
		var m wire.TransferRequest
		if m.Decode(f) != nil {
			return false
		}
		r.share.transfer.Ask(&m)
	case wire.TypeKilled:
		var m wire.Killed
		if m.Decode(f) != nil {
			return false
		}
		r.node.killed(r, &m)
	case wire.TypeUpdateRequest:
		var m wire.UpdateRequest
		if m.Decode(f) != nil {
			return false
		}
		r.applier.Answer(&m, r.now)
	case wire.TypeTableSums:
		var m wire.TableSums
		if m.Decode(f) != nil {
			return false
		}
		r.onTableSums(&m)
	case wire.TypeTableRequest:
		var m wire.TableRequest
		if m.Decode(f) != nil {
			return false
		}
		r.onTableRequest(&m)
	case wire.TypeEnded:
		var m wire.Ended
		if m.Decode(f) != nil {
			return false
		}
		if r.machine.Phase() == peer.Stream && r.machine.Boot() == bootOf(r.under) {
			r.at = r.node.ledger.Tick()
			r.applier.Ended(&m, r.node.config.Lease.Held(r.now), r.now)
		}
	case wire.TypeStanding, wire.TypeOrder, wire.TypeAnswer, wire.TypeFetch, wire.TypeChunk:
		return r.onPolicy(f)
	}
	return true
}

// onHello begins or goes on with a life of the peer.
func (r *remote) onHello(m *wire.Hello) bool {
	if m.Boot != bootOf(r.under) {
		return false // it has proven to be another life
	}
	if m.Node != r.number {
		return false // the two disagree on who is who: their links name other addresses
	}
	if !r.language.agree(r.node.config.Versions, wire.Versions{Min: m.VersionMin, Max: m.VersionMax}) {
		r.hello.Store(m)
		return true
	}
	if r.machine.Phase() == peer.Stream && r.machine.Boot() != m.Boot {
		r.applier.Forget() // its indices mean other connections now
		r.trail.Forget()
		r.check.Forget()
		r.need.Forget()
		r.share.transfer.Forget()
		r.lacked = false
	}
	begins := r.machine.Phase() != peer.Stream || r.machine.Boot() != m.Boot
	if r.machine.Hello(m.Boot, m.Sent.Slice()) != nil {
		return false
	}
	r.tabled.spoken = m.Capabilities&wire.TellsTables != 0
	if begins {
		r.forwarded.Store(0)
		r.beginTables()
		// Asked now: soon the lanes will have told something, if not all.
		r.empty = r.node.config.Table.High() == 0 || r.node.config.Table.Len() == 0 // the second takes every lock
	}
	if m.Start == wire.StartedFilled {
		r.machine.Partial()
	}
	r.hello.Store(m)
	return true
}

// order tells beats that were overtaken on the way, by the counters that they were sealed
// under. The zero value has seen none.
type order struct {
	session, before *seal.Session // the one of the newest beat, and the one before
	counter         uint64
}

// newer reports whether a beat is newer than all before it.
func (o *order) newer(s *seal.Session, counter uint64) bool {
	switch {
	case s == o.session:
		if counter <= o.counter {
			return false
		}
	case s == o.before:
		return false
	default:
		o.before, o.session = o.session, s
	}
	o.counter = counter
	return true
}

// onProgress takes in what a beat says of the streams, of this life of both ends.
func (r *remote) onProgress(m *wire.Heartbeat) {
	r.machine.Sent(m.Sent.Slice())
	r.check.Sent(&m.Sent, r.now)
	r.onAcked(m.Acked.Slice())
}

func (r *remote) onHeartbeat(m *wire.Heartbeat) bool {
	if m.Node != r.number {
		return false
	}
	r.fresh = false
	r.link.paths[r.by].heard.Store(r.now)
	if !r.beats.newer(r.under, r.counter) {
		return true // overtaken on the way: it says what was
	}
	if r.machine.Phase() == peer.Stream && r.machine.Boot() == bootOf(r.under) {
		r.onProgress(m)
	}
	b := Beat{
		Node: m.Node, Life: bootOf(r.under), Role: m.Role, Term: m.Term, Priority: m.Priority,
		Ready: m.Condition&wire.Ready != 0, Wants: m.Condition&wire.Wants != 0, Yields: m.Condition&wire.Yields != 0,
	}
	if s := r.standing.Load(); s != nil {
		b.Generation = s.Kept.Number
	}
	r.last.Store(&b)
	r.heard.Store(r.now)
	if b.Role == gate.Active {
		r.forwarded.Store(r.now)
	}
	r.fresh = true
	r.node.tell(event{beat: b, at: r.now})
	return true
}

// onAcked notes what the peer has of each of our lanes.
func (r *remote) onAcked(acked []uint64) {
	for i := range min(len(acked), r.node.lanes()) {
		r.confirmed[i].Store(acked[i])
		if i < len(r.node.config.Journals) {
			r.node.config.Journals[i].Acknowledge(acked[i])
		}
	}
}

// resendMax bounds how many batches one request brings, so that a peer that asks for
// everything does not stop the reader; it asks again.
const resendMax = 256

// meet notes what the lanes have sent when a life of the peer is first heard: it is not told
// that. What was told to the one before may have ended since, by the word of another node or
// of a life that is no more: told alone, it would come back.
func (r *remote) meet(boot uint64) {
	if boot == r.met {
		return
	}
	r.met = boot
	for i := range r.node.lanes() {
		if r.since[i] = r.journal(i).Sent() + 1; mutant.EndKeptSecret {
			r.since[i] = 0
		}
	}
}

// onNack sends batches again, sealed anew, or says that they are gone.
func (r *remote) onNack(m *wire.Nack) bool {
	j := r.journal(int(m.Lane))
	if j == nil || m.First == 0 || m.First > m.Last {
		return false
	}
	if oldest := max(j.Oldest(), r.since[m.Lane]); m.First < oldest {
		lost := wire.Lost{Lane: m.Lane, First: oldest}
		r.sendControl(lost.Append)
		return true
	}
	last := min(m.Last, j.Sent(), m.First+resendMax-1)
	for seq := m.First; seq <= last; seq++ {
		body, ok := j.Batch(seq, r.batch[:0])
		if !ok {
			break
		}
		r.batch = body
		if r.link.Send(laneAnswer, r.sealed, body) {
			r.resent.Add(1)
		}
	}
	return true
}

// journal returns the journal of a lane that the peer hears, nil if there is none.
func (r *remote) journal(lane int) *journal.Journal {
	workers := r.node.config.Journals
	switch {
	case lane < len(workers):
		return workers[lane]
	case lane == len(workers):
		return r.node.config.Shared.Journal()
	case lane == len(workers)+1:
		return r.share.bulk
	}
	return nil
}

// lanes returns how many lanes of this node a peer hears.
func (n *Node) lanes() int { return len(n.config.Journals) + 2 }

// sent returns the last batch that each lane that the peer hears has sent.
func (r *remote) sent() (l wire.Lanes) {
	var last [LanesMax]uint64
	for i := range r.node.lanes() {
		last[i] = r.journal(i).Sent()
	}
	l.Set(last[:r.node.lanes()])
	return l
}

// sendHello tells the life peerBoot of the peer who this node is, and whether its lanes
// are all that its table holds.
func (r *remote) sendHello(peerBoot uint64) {
	n := r.node
	start := wire.StartedEmpty
	if !n.told(peerBoot) {
		start = wire.StartedFilled
	}
	m := wire.Hello{
		VersionMin: n.config.Versions.Min, VersionMax: n.config.Versions.Max, Capabilities: n.capabilities(), Name: n.config.Name, Node: n.number, Boot: n.boot,
		Policy: n.standing.Load().Force, Priority: n.config.Priority, Start: start, Sent: r.sent(),
	}
	m.MTUs.Set(n.config.MTUs)
	r.sendControl(m.Append)
	if s := n.standing.Load(); s.Kept.Number != 0 {
		r.sendControl(s.Append)
	}
}

// sendBeat is called by the control goroutine.
func (r *remote) sendBeat(b Beat, request *wire.VoteRequest) {
	m := wire.Heartbeat{Node: b.Node, Role: b.Role, Priority: b.Priority, Term: b.Term, Sent: r.sent()}
	for _, c := range []struct {
		set  bool
		flag wire.Condition
	}{{b.Ready, wire.Ready}, {b.Wants, wire.Wants}, {b.Yields, wire.Yields}} {
		if c.set {
			m.Condition |= c.flag
		}
	}
	var acked [LanesMax]uint64
	lanes := int(r.lanes.Load())
	for i := range lanes {
		acked[i] = r.acks[i].Load()
	}
	m.Acked.Set(acked[:lanes])
	r.beatBatch = m.Append(wire.AppendControlHeader(r.beatBatch[:0]))
	if request != nil {
		r.beatBatch = request.Append(r.beatBatch)
	}
	if !r.link.several() {
		r.link.Send(laneBeats, r.beatSealed, r.beatBatch)
		return
	}
	n := r.node
	hears := r.link.hears(n.clock() - n.config.Timing.DeadAfter)
	for i, p := range r.link.paths {
		if p.kind == PathPort && (b.Role != gate.Active || !n.config.Lease.Held(n.clock())) {
			continue // mute
		}
		r.beatBy(i, hears)
	}
}
