package xsk

// Account says where the frames of a Umem are. Sum equals Total, always; the split of
// what the sockets have is as of one moment of a moving kernel, the rest is exact.
type Account struct {
	Total int // frames there are

	Free       int // in the free list
	Held       int // held by the caller: received or allocated, not yet freed or transmitted
	Fill       int // in fill rings
	Rx         int // in rx rings, not yet received
	Tx         int // staged or in tx rings, not yet taken by the kernel
	Completion int // in completion rings, not yet reclaimed
	Kernel     int // taken by the kernel from a fill or tx ring, and not back in any ring
	Limbo      int // of closed sockets, see Umem
}

// Sum adds up all places.
func (a Account) Sum() int {
	return a.Free + a.Held + a.Fill + a.Rx + a.Tx + a.Completion + a.Kernel + a.Limbo
}

// Account counts the frames. It walks the owner of every frame: microseconds, for
// `status` and tests, not for every batch.
func (u *Umem) Account() Account {
	a := Account{Total: len(u.owners), Free: len(u.free)}
	receive, transmit := make([]int, len(u.slots)), make([]int, len(u.slots))
	for _, o := range u.owners {
		switch o.place() {
		case ownerHeld.place():
			a.Held++
		case placeReceive:
			receive[o.slot()]++
		case placeTransmit:
			transmit[o.slot()]++
		case placeLimbo:
			a.Limbo++
		}
	}
	for i := range u.slots {
		if s := u.slots[i].socket; s != nil {
			s.split(&a, receive[i], transmit[i])
		}
	}
	return a
}

// split tells the rings' shares of what a socket has from the kernel's. The ring at
// which a frame arrives is read first, so that a frame on its way is counted as the
// kernel's and not twice; min catches the moment in which the kernel has shown it in
// one ring and not yet taken it off the other (xsk_flush).
func (s *Socket) split(a *Account, receive, transmit int) {
	rx := min(s.rx.Waiting(), receive)
	fill := min(s.fill.Pending(), receive-rx)
	completion := min(s.completion.Waiting(), transmit)
	tx := min(s.Unsent(), transmit-completion)
	a.Rx += rx
	a.Fill += fill
	a.Completion += completion
	a.Tx += tx
	a.Kernel += receive - rx - fill + transmit - completion - tx
}
