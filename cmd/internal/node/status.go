package node

import (
	"holdfast/sync/cluster"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/tap"
)

// ended counts how connections ended, as far as the workers saw it. Evicted ones say that
// the table is too small, or under attack.
func (d *daemon) ended() map[string]uint64 {
	counts := map[string]uint64{}
	for why := conntrack.EndExpired; why < conntrack.EndReasonsCount; why++ {
		for _, w := range d.workers {
			counts[why.String()] += w.Ends(why)
		}
	}
	counts[conntrack.EndLimited.String()] += d.flushed.Load()
	return counts
}

// synProxyStatus adds up the workers' cookies.
func (d *daemon) synProxyStatus() api.SynProxy {
	s := api.SynProxy{Flooded: d.synProxy.Flooded()}
	s.HalfOpen, _ = d.table.HalfOpen()
	for _, w := range d.workers {
		c := w.Cookies()
		s.Answered += c.Answered
		s.Proven += c.Proven
		s.Refused += c.Refused
	}
	return s
}

// deferStatus adds up the workers' deferred first packets.
func (d *daemon) deferStatus() (s api.Deferred) {
	for _, w := range d.workers {
		c := w.Deferrals()
		s.Waited += c.Waited
		s.Acknowledged += c.Acknowledged
		s.Late += c.Late
		s.Alone += c.Alone
		s.Full += c.Full
	}
	return s
}

// Status implements api.Daemon.
func (d *daemon) Status(history bool) (api.Status, error) {
	s := api.Status{
		Node: d.name, Version: d.version, Started: d.started,
		Groups: []api.Group{}, Peers: []api.Peer{}, Ports: []api.Port{}, Workers: []api.Worker{},
		Policy:      d.policyStatus(),
		Connections: api.Connections{Count: uint32(d.table.Len()), Capacity: uint32(d.table.Capacity())},
	}
	s.Connections.Ended = d.ended()
	s.SynProxy = d.synProxyStatus()
	s.Log = d.logStatus()
	s.Overload = d.overloadStatus()
	s.Deferred = d.deferStatus()
	s.Containment = d.containment()
	now := gate.Now()
	c := d.cluster.Status(now)
	group := api.Group{
		Name: d.group, Role: c.Beat.Role.String(), Active: c.Active, Term: c.Beat.Term, Ready: c.Ready,
		NotReady: c.NotReady, Alarm: c.Alarm, LeaseLapse: c.Lapses, LapsesStalled: c.Stalled, Stalls: c.Stalls, FalseAlarms: c.FalseAlarms,
		JitterMax: float64(c.Jitter.Max) / 1e9, JitterP99: float64(c.Jitter.P99) / 1e9,
		Priority: c.Beat.Priority, Fault: c.Health.Fault, PreemptIn: float64(c.PreemptIn) / 1e9,
	}
	if until := d.lease.Until(); until > now {
		group.LeaseLeft = float64(until-now) / 1e9
	}
	s.Groups = append(s.Groups, group)
	if w := d.cluster.Witness(); w != nil {
		s.Witness = &api.Witness{Address: w.Address.String(), Heard: heard(w.Heard, now), Granted: heard(w.Granted, now)}
	}
	for _, p := range c.Peers {
		one := api.Peer{
			Name: p.Name, Address: p.Address.String(), Session: p.Session, Role: p.Beat.Role.String(), Ready: p.Beat.Ready, Priority: p.Beat.Priority,
			Heard: heard(p.Heard, now), Behind: p.Behind, Unacked: p.Unconfirmed, Resent: p.Resent,
			Rejected: p.Rejected, SamePlan: p.SamePolicy, Language: p.Language, Incapable: p.Refused, MTUs: d.peerMTUs(&p), Equality: equality(&p, now),
		}
		if p.Standing != nil {
			one.Policy, one.Generation, one.Trial = hash(p.Standing.Force), p.Standing.Kept.Number, p.Standing.Trial.Number
		}
		for _, way := range p.Paths {
			one.Paths = append(one.Paths, api.Path{Name: way.Name, Kind: way.Kind.String(), Heard: heard(way.Heard, now), Used: way.Used})
		}
		s.Peers = append(s.Peers, one)
	}
	for _, p := range d.ports {
		s.Ports = append(s.Ports, d.portStatus(p))
	}
	s.Tracks = d.trackStatus()
	for i, w := range d.workers {
		s.Workers = append(s.Workers, api.Worker{ID: i, Turns: w.Progress().Turns(), Queues: len(d.queues[i]), Untold: w.AbortsShed()})
	}
	if history {
		for _, e := range c.History {
			s.History = append(s.History, api.Event{
				At: wallClock(e.At, now), Group: d.group, Role: e.Role.String(), Term: e.Term, Cause: e.Cause, Evidence: e.Evidence,
			})
		}
	}
	s.Degraded = append(degraded(&s), d.trackTroubles()...)
	s.Degraded = append(s.Degraded, d.policyTroubles()...)
	s.Degraded = append(s.Degraded, d.fullTables()...)
	s.Degraded = append(s.Degraded, d.keyLogTrouble()...)
	return s, nil
}

// heard returns how long ago an instant was in seconds, -1 for never.
func heard(at, now int64) float64 {
	if at == 0 {
		return -1
	}
	return float64(now-at) / 1e9
}

// wallClock turns a reading of CLOCK_BOOTTIME into a time for people.
func wallClock(at, now int64) time.Time { return time.Now().Add(time.Duration(at - now)) }

func (d *daemon) portStatus(p *port) api.Port {
	one := api.Port{
		Name: p.Name, Device: p.Device, VLAN: uint16(p.VLAN), Mode: "closed", Queues: p.on.queues.Receive,
		Carrier: tap.Carrier(p.carrier.Load()) == tap.CarrierPresent,
		MAC:     p.MAC.String(), MTU: p.MTU, Addresses: prefixStrings(p.prefixes),
	}
	for _, w := range d.workers {
		one.Mode = p.on.program.Mode(w.Mode(p.ID)).String()
		received, sent, _, _ := w.Counters(p.ID)
		packets, bytes := received.Read()
		one.Received.Packets += packets
		one.Received.Bytes += bytes
		packets, bytes = sent.Read()
		one.Sent.Packets += packets
		one.Sent.Bytes += bytes
	}
	return one
}

// equality says how the tables of this node and a peer compare: what the peer has found
// where this node forwards, what this node has found otherwise.
func equality(p *cluster.PeerStatus, now int64) api.Equality {
	e := api.Equality{Proven: -1, Repairs: p.Repair.Repairs, Discarded: p.Discarded, Told: p.Told}
	last, proven := p.Repair.Last, p.Repair.Proven
	if p.Beat.Role != gate.Active {
		last, proven = p.Proof.Proof, 0
		if p.Proof.Divergent == 0 {
			proven = p.Proof.At
		}
	}
	e.Shards, e.Moving, e.Divergent = last.Shards, last.Moving, last.Divergent
	t := &p.Tables
	e.Tables = api.TablesEquality{Proven: heard(t.Proven, now), Divergent: t.Divergent, Asked: t.Asked, Refused: t.Refused}
	if proven != 0 {
		e.Proven = float64(now-proven) / 1e9
	}
	return e
}
