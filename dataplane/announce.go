package dataplane

import (
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// Announce makes the worker tell the neighbours of every port where the shared addresses
// are now: gratuitous ARP and unsolicited neighbour advertisements. Safe from any
// goroutine; said when the worker goes around next, if it still may speak then.
func (w *Worker) Announce() {
	w.announce.Add(1)
	w.Wake()
}

func (w *Worker) makeAnnouncements() {
	if w.announce.Load() == 0 || !w.active {
		return
	}
	w.announce.Store(0)
	for _, s := range w.shares {
		for _, addr := range s.Addresses {
			w.announceAddress(s, addr)
		}
	}
}

func (w *Worker) announceAddress(s *share, addr packet.Addr) {
	var d [1]xsk.Desc
	if w.umem.Alloc(d[:]) == 0 {
		return // announced again by the repetition
	}
	buf := w.umem.Bytes(d[0])
	n := packet.AppendAnnouncement(buf[:cap(buf)], s.MAC, addr)
	if n == 0 {
		w.umem.Free(d[:])
		return
	}
	d[0].Len = uint32(n)
	s.stage(d[0])
}
