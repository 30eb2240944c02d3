package dataplane

import (
	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/rules"
	"holdfast/rules/config"
)

// logbook is what a worker has of the packet log. The zero value logs nothing.
type logbook struct {
	log  *PacketLog
	ring *logRing
	open int // slots behind the last published one whose packets are under way
}

// newLogbook returns a worker's, for the ring of its number.
func newLogbook(log *PacketLog, worker int) logbook {
	if log == nil {
		return logbook{}
	}
	return logbook{log: log, ring: log.rings[worker]}
}

// last returns the open slot of a packet, nil where it has none. A packet's is the last one
// as long as the packet is judged.
func (l *logbook) last(b *burst, i int) *LoggedPacket {
	if l.open == 0 {
		return nil
	}
	p := &l.ring.slots[(l.ring.put.Load()+uint64(l.open)-1)%logSlots]
	if p.burst != b || p.index != i {
		return nil
	}
	return p
}

// begin opens a slot for a packet as it is now, nil where there is no room.
func (l *logbook) begin(b *burst, i int, now int64) *LoggedPacket {
	r := l.ring
	if r == nil {
		return nil
	}
	at := r.put.Load() + uint64(l.open)
	if at-r.taken.Load() >= logSlots {
		r.shed.Store(r.shed.Load() + 1)
		return nil
	}
	l.open++
	p, frame := &r.slots[at%logSlots], b.frame[i]
	p.At, p.Port, p.Sense, p.In = now, b.in.ID, LogInbound, b.in.ID
	if b.origin == fromNode {
		p.Sense, p.In = LogOutbound, packet.Self
	}
	p.Parsed, p.FrameLen = b.parsed[i], len(frame)
	p.Bytes = append(p.Bytes[:0], frame[:min(len(frame), r.snap)]...)
	p.Direction, p.Incarnation, p.Translated, p.void = conntrack.Original, 0, false, false
	p.burst, p.index = b, i
	return p
}

// settle enters what has become of the packets of a burst.
func (l *logbook) settle(b *burst) {
	at := l.ring.put.Load()
	for k := range uint64(l.open) {
		if p := &l.ring.slots[(at+k)%logSlots]; p.burst == b {
			p.Reason, p.burst = b.fate[p.index].why, nil
		}
	}
}

// publish hands over what is open. No packet is under way.
func (l *logbook) publish() {
	l.ring.put.Store(l.ring.put.Load() + uint64(l.open))
	l.open = 0
	l.log.wake()
}

// logVerdict logs a packet without a connection whose rule wants that. It would leave by a
// port, packet.Self for the node.
func (w *Worker) logVerdict(b *burst, i int, v *rules.Verdict, out packet.PortID) {
	if v.Log == config.LogNone {
		return
	}
	p := w.logbook.begin(b, i, w.now)
	if p == nil {
		return
	}
	p.Rule, p.Action, p.Out = v.Number, v.Action, out
	if b.origin == fromWire {
		p.Sent, p.Translated = w.turned.Tuple, w.turned.Tuple != p.Parsed.Tuple
	}
}

// exitOf returns the port that a hop leads out by, packet.Self for the node.
func exitOf(hop *fib.Hop) packet.PortID {
	if hop.Kind == fib.Local {
		return packet.Self
	}
	return hop.Port
}

// logAdmitted completes what logVerdict has logged of a packet that has begun a connection.
func (w *Worker) logAdmitted(b *burst, i int) {
	if p := w.logbook.last(b, i); p != nil {
		p.of(&w.result)
	}
}

// logTracked logs a packet of a connection, as its class says.
func (w *Worker) logTracked(b *burst, i int) {
	p := w.logbook.last(b, i)
	if p == nil {
		if p = w.logbook.begin(b, i, w.now); p == nil {
			return
		}
	}
	p.Rule, p.Action = w.result.Class().Rule, rules.Pass
	p.of(&w.result)
}

// of enters the packet's connection.
func (p *LoggedPacket) of(r *conntrack.Result) {
	p.Incarnation, p.Direction, p.Out = r.Incarnation, r.Direction, r.Exit()
	if r.Reason == drop.Pass && r.Translated {
		p.Sent, p.Translated = p.Parsed.Tuple, true
		p.Sent.Src, p.Sent.Dst, p.Sent.SrcPort, p.Sent.DstPort = r.Rewrite.Src, r.Rewrite.Dst, r.Rewrite.SrcPort, r.Rewrite.DstPort
	}
}

// logLater passes a packet over that comes again: it waits for its neighbour, or its source
// has been asked for a cookie.
func (w *Worker) logLater(b *burst, i int) {
	if p := w.logbook.last(b, i); p != nil {
		p.void = true
	}
}

// logFates publishes what of a burst is logged, at its end.
func (w *Worker) logFates(b *burst) {
	if w.logbook.open > 0 {
		w.logbook.settle(b)
		w.logbook.publish()
	}
}
