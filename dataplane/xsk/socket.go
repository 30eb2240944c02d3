package xsk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// reclaimBatch is how many completed frames are taken at once: 512 bytes of a socket.
const reclaimBatch = 64

// Socket is one queue of one device. It belongs to its Umem's goroutine.
//
//	Open --> receiving, transmitting --Close--> closed
//	             |   ^
//	  link down  |   |  link up: by itself, nothing to do
//	             v   |
//	         KickedDown --device removed--> KickedGone: only Close is left
//
// A turn of a worker, for each of its sockets:
//
//	n := in.Receive(batch)             // the frames are ours
//	...                                // decide; out.Umem().Free what is dropped
//	sent := out.Transmit(batch[:n])    // the kernel sees nothing yet
//	umem.Free(batch[sent:n])           // no room: dropped, and counted by the caller
//	for lease.Held(now()) {            // directly before each kick
//		if out.Kick() != xsk.KickedMore {
//			break
//		}
//	}
//	out.Reclaim()                      // what has left is free
//	in.Refill()                        // and free frames go out to receive
type Socket struct {
	umem    *Umem
	slot    int // number in umem.slots, and in the owner of this socket's frames
	fd      int // -1 once closed
	ifindex int
	queue   int
	device  string // its name when opened
	mode    Mode
	rings   RingSizes
	unbound bool // the device has left: the kernel has undone the bind

	fill       FillRing
	rx         RxRing
	tx         TxRing
	completion CompletionRing
	mappings   [4]mapping

	posted int // frames out to receive into: put in the fill ring, not yet received; <= rings.Fill
	sent   int // frames out to transmit: staged, not yet reclaimed; <= rings.Completion

	weather Weather
	done    [reclaimBatch]uint64 // Reclaim's, kept to keep it off the stack of every turn
}

// Mode returns what the ladder came to.
func (s *Socket) Mode() Mode { return s.mode }

// Umem returns the packet memory that the socket stands on.
func (s *Socket) Umem() *Umem { return s.umem }

// Device returns the name that the device had when the socket was opened.
func (s *Socket) Device() string { return s.device }

// Queue returns the queue's number.
func (s *Socket) Queue() int { return s.queue }

// Fd returns the descriptor, for an XSKMAP. Waiting for packets is Poller's: poll(2)
// on a socket with published descriptors transmits them. -1 once closed.
func (s *Socket) Fd() int { return s.fd }

// Weather returns what the kernel said to kicks instead of yes.
func (s *Socket) Weather() Weather { return s.weather }

// String names the socket in messages: device and queue.
func (s *Socket) String() string { return fmt.Sprintf("queue %d of %s", s.queue, s.device) }

// Receive fills batch with received packets and returns their count. Their frames are
// the caller's: each must go to Transmit of some socket of this Umem, or to Umem.Free.
func (s *Socket) Receive(batch []Desc) int {
	n := s.rx.Peek(batch)
	if n == 0 {
		return 0
	}
	s.rx.Release()
	s.posted -= n
	mine, u := ownerOf(s.slot, placeReceive), s.umem
	kept := 0
	for i := range batch[:n] {
		if !u.move(batch[i].Addr, mine, ownerHeld) {
			continue // counted as a fault; not ours to touch
		}
		batch[kept] = batch[i]
		kept++
	}
	return kept
}

// Refill gives the kernel free frames to receive into, as many as the socket may have
// and the Umem still has, and returns their count. A driver that sleeps is woken.
func (s *Socket) Refill() int {
	n := min(s.rings.Fill-s.posted, len(s.umem.free))
	if n <= 0 {
		return 0
	}
	n = s.fill.Reserve(n) // all of them: the ring holds at most what is posted
	mine := ownerOf(s.slot, placeReceive)
	frames := s.umem.pop(n)
	for _, frame := range frames {
		s.umem.owners[frame>>frameShift] = mine
	}
	s.fill.Put(frames)
	s.fill.Submit()
	s.posted += n
	if s.mode == ModeZeroCopy && s.fill.NeedWakeup() {
		// Down or gone is the only answer of interest, and the next kick has it too.
		_ = wakeReceive(s.fd)
	}
	return n
}

// Transmit takes packets off the caller's hands, from the front of batch, and returns
// how many; the rest is still the caller's. They are staged: nothing leaves before
// Kick.
//
// It takes fewer than all when as many frames are on their way out as the completion
// ring holds, so that ring cannot overflow, or when the tx ring is full. A descriptor
// that the kernel would refuse (shorter than an Ethernet header, reaching out of its
// frame, not held by the caller) is taken, not sent, and counted by Umem.Faults.
func (s *Socket) Transmit(batch []Desc) int {
	if len(batch) > s.rings.Completion-s.sent {
		s.Reclaim()
	}
	n := s.tx.Reserve(min(len(batch), s.rings.Completion-s.sent))
	start := 0
	for i := range batch[:n] {
		if s.lend(&batch[i]) {
			continue
		}
		s.tx.Put(batch[start:i])
		start = i + 1
	}
	s.tx.Put(batch[start:n])
	return n
}

// lend moves a frame from the caller to this socket's transmit side, and reports
// whether it may go onto the ring.
func (s *Socket) lend(d *Desc) bool {
	if d.Len < lengthMin || d.Addr&offsetMask+uint64(d.Len) > FrameSize || d.Options != 0 {
		if s.umem.give(d.Addr, ownerHeld) {
			s.umem.faults++
		}
		return false
	}
	if !s.umem.move(d.Addr, ownerHeld, ownerOf(s.slot, placeTransmit)) {
		return false
	}
	s.sent++
	return true
}

// Unsent returns how many descriptors have not been taken by the kernel: staged, or
// published by an earlier Kick.
func (s *Socket) Unsent() int { return s.tx.Staged() + s.tx.Pending() }

// Reclaim frees the frames whose packets have left, and returns their count.
func (s *Socket) Reclaim() int {
	mine, freed := ownerOf(s.slot, placeTransmit), 0
	for s.sent > 0 {
		n := s.completion.Peek(s.done[:])
		for _, addr := range s.done[:n] {
			if s.umem.give(addr, mine) {
				freed++
				s.sent--
			}
		}
		if n < len(s.done) {
			break
		}
	}
	s.completion.Release()
	return freed
}

// Close ends the socket and takes its frames back; the few that the kernel may still
// touch stay in limbo (see the package's comment). What was transmitted and not yet taken by the kernel never leaves.
// The XSKMAP loses the socket by itself; whoever keeps the map empties the entry first.
// Closing twice is harmless.
func (s *Socket) Close() error {
	if s.fd < 0 {
		return nil
	}
	err := unix.Close(s.fd) // waits until the kernel's receive path has left the socket
	s.fd = -1
	s.Reclaim()
	s.takeBackUnsent()
	s.umem.retire(s.slot, s.mode)
	s.fill, s.rx, s.tx, s.completion = FillRing{}, RxRing{}, TxRing{}, CompletionRing{}
	s.posted, s.sent = 0, 0
	for i := range s.mappings {
		err = errors.Join(err, s.mappings[i].unmap())
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", s, err)
	}
	return nil
}

// takeBackUnsent frees the frames of descriptors that the kernel has not taken. It may
// have completed a few without showing them as taken (see Kick, EBUSY), and these may
// even have been staged once more: so the owner decides, and no mismatch is a fault.
func (s *Socket) takeBackUnsent() {
	mine := ownerOf(s.slot, placeTransmit)
	for at := s.tx.next - uint32(s.Unsent()); at != s.tx.next; at++ {
		addr := s.tx.slots[at&(s.tx.size-1)].Addr
		if s.umem.owners[addr>>frameShift] == mine {
			s.umem.give(addr, mine)
		}
	}
}
