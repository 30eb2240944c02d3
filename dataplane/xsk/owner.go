package xsk

// owner says where a frame is: the place in the low bits, the socket's slot above. It
// costs one store each time a frame changes hands, and buys two things: a frame cannot
// be freed or sent twice, and when a socket goes, all that it had can be found, also
// what the kernel held in no ring.
//
//	 15                    3 2     0
//	+-----------------------+-------+
//	| slot of the socket    | place |
//	+-----------------------+-------+
type owner uint16

const (
	ownerFree owner = 0 // slot 0, placeFree
	ownerHeld owner = 1 // slot 0, placeHeld: the caller's

	placeReceive  owner = 2 // fill ring, kernel or rx ring
	placeTransmit owner = 3 // staged, tx ring, kernel or completion ring
	placeLimbo    owner = 4 // of a closed socket, and the kernel may still touch it

	placeBits = 3
	slotsMax  = 1 << (16 - placeBits)
)

// ownerOf combines a slot and a place.
func ownerOf(slot int, place owner) owner { return owner(slot)<<placeBits | place }

func (o owner) slot() int    { return int(o >> placeBits) }
func (o owner) place() owner { return o & (1<<placeBits - 1) }

// slot is what a Umem knows of one socket. It outlives the socket while some of its
// frames are in limbo.
//
//	unused --Open--> open --Close--> limbo --queue opened again, or device gone--> unused
//	                           +-----------(no frame in limbo)-------------------> unused
type slot struct {
	socket  *Socket // open, or nil
	limbo   int     // frames in limbo
	ifindex int
	queue   int
}

// claimSlot returns an unused slot's number, or -1 where all are in use.
func (u *Umem) claimSlot() int {
	for i := range u.slots {
		if u.slots[i].socket == nil && u.slots[i].limbo == 0 {
			return i
		}
	}
	if len(u.slots) == slotsMax {
		return -1
	}
	u.slots = append(u.slots, slot{})
	return len(u.slots) - 1
}

// retire takes the frames of a socket that was just closed: at once where the kernel
// is done with them, into limbo where it may not be.
//
// In copy mode the kernel writes received packets only while the socket is bound, and
// close(2) has waited for that (xsk_unbind_dev, synchronize_net). A packet on its way
// out may still be the frame's own page (IFF_TX_SKB_NO_LINEAR). In zero-copy the device
// keeps what it has until the kernel's worker has taken the queue from it, after
// close(2) (xp_release_deferred).
func (u *Umem) retire(number int, mode Mode) {
	receive, transmit, limbo := ownerOf(number, placeReceive), ownerOf(number, placeTransmit), ownerOf(number, placeLimbo)
	slot := &u.slots[number]
	for frame, o := range u.owners {
		switch {
		case o == receive && mode == ModeCopy:
			u.give(uint64(frame)<<frameShift, receive)
		case o == receive, o == transmit:
			u.owners[frame] = limbo
			slot.limbo++
		}
	}
	slot.socket = nil
}

// settle frees the frames that earlier sockets on a queue left in limbo. The caller has
// just bound that queue anew, which the kernel allows only after the last packet of the
// old socket is gone and the driver has let go (EBUSY until then), or knows that the
// device is no more.
func (u *Umem) settle(ifindex, queue int) {
	for number := range u.slots {
		s := &u.slots[number]
		if s.limbo == 0 || s.ifindex != ifindex || s.queue != queue {
			continue
		}
		limbo := ownerOf(number, placeLimbo)
		for frame, o := range u.owners {
			if o == limbo && u.give(uint64(frame)<<frameShift, limbo) {
				s.limbo--
			}
		}
	}
}

// settleGone settles the queues of devices that are no more: the kernel has stopped
// them before it takes their index away.
func (u *Umem) settleGone() {
	for i := range u.slots {
		s := &u.slots[i]
		if s.limbo == 0 {
			continue
		}
		if _, gone := deviceName(u.control, s.ifindex); gone != nil {
			u.settle(s.ifindex, s.queue)
		}
	}
}

// holds returns the open socket on a queue, or nil.
func (u *Umem) holds(ifindex, queue int) *Socket {
	for i := range u.slots {
		if s := &u.slots[i]; s.socket != nil && s.ifindex == ifindex && s.queue == queue {
			return s.socket
		}
	}
	return nil
}
