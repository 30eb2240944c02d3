package dataplane

import (
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// Announce makes the worker tell the neighbours of every port where the shared addresses,
// and the external ones of its network, are now: gratuitous ARP and unsolicited neighbour advertisements. Safe from any
// goroutine; said when the worker goes around next, if it still may speak then.
func (w *Worker) Announce() {
	w.announce.Add(1)
	w.Wake()
}

// makeAnnouncements says what was asked for, the ports' own addresses first, and reports
// whether some external ones are left for the next turn.
func (w *Worker) makeAnnouncements() (more bool) {
	if !w.active {
		w.announcing.under = false
		return false
	}
	if w.announce.Load() != 0 {
		w.announce.Store(0)
		for _, s := range w.shares {
			for _, addr := range s.Addresses {
				w.announceAddress(s, addr)
			}
		}
		w.announcing = announcing{under: true}
	}
	return w.announceForeign()
}

func (w *Worker) announceAddress(s *share, addr packet.Addr) {
	w.stageOwn(s, func(dst []byte) int { return packet.AppendAnnouncement(dst, s.MAC, addr) })
}

// stageOwn stages a frame about the node's addresses. Without room for it there is none:
// announcements are repeated, and who asks asks again.
func (w *Worker) stageOwn(s *share, write func(dst []byte) int) {
	var d [1]xsk.Desc
	if w.umem.Alloc(d[:]) == 0 {
		return
	}
	buf := w.umem.Bytes(d[0])
	n := write(buf[:cap(buf)])
	if n == 0 {
		w.umem.Free(d[:])
		return
	}
	d[0].Len = uint32(n)
	s.stage(d[0])
}
