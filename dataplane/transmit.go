package dataplane

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// stage puts a finished frame, untagged, among those that leave through a port at the end
// of the turn.
func (s *share) stage(d xsk.Desc) { s.staged = append(s.staged, d) }

// flush is the end of a turn: the journal first, then every device's frames.
func (w *Worker) flush() {
	w.config.Journal.Flush()
	for _, d := range w.devices {
		if d.waits() {
			w.transmit(d)
		}
	}
}

// waits reports whether a device has frames to transmit, staged now or left from before.
func (d *device) waits() bool {
	for _, s := range d.ports {
		if len(s.staged) > 0 {
			return true
		}
	}
	out := d.out()
	return out != nil && out.Unsent() > 0
}

// transmit hands a device's frames to the kernel. The lease is compared with a fresh
// reading of the clock directly before every kick.
func (w *Worker) transmit(d *device) {
	out := d.out()
	if out == nil {
		w.discard(d, drop.PortDown)
		return
	}
	d.first = (d.first + 1) % len(d.ports)
	for i := range d.ports {
		w.put(out, d.ports[(d.first+i)%len(d.ports)])
	}
	for {
		if !w.config.Lease.Held(gate.Now()) {
			for _, s := range d.ports {
				s.TxDrops.Add(drop.LeaseLapsed, uint64(s.handed))
			}
			w.silence()
			return
		}
		switch out.Kick() {
		case xsk.KickedMore:
			continue
		case xsk.KickedDown, xsk.KickedGone:
			// What waits on the ring would leave whenever the link comes up.
			d.ports[0].TxDrops.Add(drop.PortDown, uint64(out.Unsent()))
			d.shut()
			return
		}
		break
	}
	for _, s := range d.ports {
		s.Sent.add(uint64(s.handed), uint64(s.handedBytes))
	}
}

// put writes a port's staged frames into the ring of its device, where the next kick finds
// them.
func (w *Worker) put(out *xsk.Socket, s *share) {
	if s.VLAN != packet.Untagged {
		w.tag(s)
	}
	s.handed, s.handedBytes = out.Transmit(s.staged), 0
	for i := range s.handed {
		s.handedBytes += int(s.staged[i].Len)
	}
	if rest := s.staged[s.handed:]; len(rest) > 0 {
		s.TxDrops.Add(drop.TxRingFull, uint64(len(rest)))
		w.umem.Free(rest)
	}
	s.staged = s.staged[:0]
}

// discard drops the staged frames of a device's ports.
func (w *Worker) discard(d *device, why drop.Reason) {
	for _, s := range d.ports {
		s.TxDrops.Add(why, uint64(len(s.staged)))
		w.umem.Free(s.staged)
		s.staged = s.staged[:0]
	}
}

// silence is what a worker does that finds the right to transmit gone: nothing that is
// staged, parked or in a ring may leave any more.
func (w *Worker) silence() {
	w.lapses.Add(1)
	w.active, w.wasActive = false, false
	w.config.Lease.Lapse(gate.Now())
	for _, d := range w.devices {
		w.discard(d, drop.LeaseLapsed)
		if out := d.out(); out != nil && out.Unsent() == 0 {
			continue // nothing in its rings: it may stay open, mute
		}
		d.shut()
	}
	w.dropParked()
	w.dropDeferred()
}
