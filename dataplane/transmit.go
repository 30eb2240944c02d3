package dataplane

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/xsk"
)

// stage puts a finished frame among those that leave through a port at the end of the turn.
func (s *share) stage(d xsk.Desc) { s.staged = append(s.staged, d) }

// flush is the end of a turn: the journal first, then every port's frames.
func (w *Worker) flush() {
	w.config.Journal.Flush()
	for _, s := range w.shares {
		if len(s.staged) > 0 || (len(s.sockets) > 0 && s.sockets[0] != nil && s.sockets[0].Unsent() > 0) {
			w.transmit(s)
		}
	}
}

// transmit hands a port's frames to the kernel. The lease is compared with a fresh
// reading of the clock directly before every kick.
func (w *Worker) transmit(s *share) {
	out := s.sockets[0]
	if out == nil {
		w.discard(s, drop.PortDown)
		return
	}
	var bytes uint64
	taken := out.Transmit(s.staged)
	for i := range taken {
		bytes += uint64(s.staged[i].Len)
	}
	if rest := s.staged[taken:]; len(rest) > 0 {
		s.TxDrops.Add(drop.TxRingFull, uint64(len(rest)))
		w.umem.Free(rest)
	}
	s.staged = s.staged[:0]
	for {
		if !w.config.Lease.Held(gate.Now()) {
			s.TxDrops.Add(drop.LeaseLapsed, uint64(taken))
			w.silence()
			return
		}
		switch out.Kick() {
		case xsk.KickedMore:
			continue
		case xsk.KickedDown, xsk.KickedGone:
			// What waits on the ring would leave whenever the link comes up.
			s.TxDrops.Add(drop.PortDown, uint64(out.Unsent()))
			w.shut(s)
			return
		}
		break
	}
	s.Sent.add(uint64(taken), bytes)
}

// discard drops a port's staged frames.
func (w *Worker) discard(s *share, why drop.Reason) {
	s.TxDrops.Add(why, uint64(len(s.staged)))
	w.umem.Free(s.staged)
	s.staged = s.staged[:0]
}

// shut closes a port's sockets, with whatever lies in their rings, and lets refill
// open them again.
func (w *Worker) shut(s *share) {
	for i, sock := range s.sockets {
		if sock == nil {
			continue
		}
		// The frames are accounted for by Close whether or not the kernel complains.
		_ = sock.Close()
		s.sockets[i] = nil
	}
	s.retryAt = 0
}

// silence is what a worker does that finds the right to transmit gone: nothing that is
// staged, parked or in a ring may leave any more.
func (w *Worker) silence() {
	w.lapses.Add(1)
	w.active, w.wasActive = false, false
	w.config.Lease.Lapse(gate.Now())
	for _, s := range w.shares {
		w.discard(s, drop.LeaseLapsed)
		if len(s.sockets) > 0 && s.sockets[0] != nil && s.sockets[0].Unsent() == 0 {
			continue // nothing in its rings: it may stay open, mute
		}
		w.shut(s)
	}
	w.dropParked()
}
