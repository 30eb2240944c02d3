package xsk

import "golang.org/x/sys/unix"

// Kicked is what came of a kick. The zero value is none.
type Kicked uint8

const (
	// KickedAll: nothing is left on the ring, or the driver takes it by itself.
	KickedAll Kicked = iota + 1
	// KickedMore: the kernel took some and left some. Look at the lease and kick again.
	KickedMore
	// KickedNone: the kernel took nothing now; try in the next turn.
	KickedNone
	// KickedDown: the link is down. What is on the ring waits for it to come up, and
	// would leave then, however old it is: close the socket if that must not be.
	KickedDown
	// KickedGone: the device has left. Nothing will leave or arrive; close the socket.
	KickedGone
)

// String names the outcome.
func (k Kicked) String() string {
	switch k {
	case KickedAll:
		return "all"
	case KickedMore:
		return "more"
	case KickedNone:
		return "none"
	case KickedDown:
		return "link down"
	case KickedGone:
		return "device gone"
	}
	return "unset"
}

// Kick publishes what Transmit staged and makes the kernel take it: at most one system
// call, at most Config.TxBudget packets in copy mode. The caller checks its right to
// transmit directly before each call, and repeats it while it says KickedMore. No
// answer of the kernel is an error; the unusual ones are counted by Weather.
func (s *Socket) Kick() Kicked {
	if s.fd < 0 {
		return KickedGone
	}
	s.tx.Submit()
	before := s.tx.Pending()
	if before == 0 || !s.tx.NeedWakeup() {
		return KickedAll
	}
	errno := wakeTransmit(s.fd)
	left := s.tx.Pending()
	if errno != 0 {
		s.weather.note(errno)
	}
	switch {
	case errno == unix.ENETDOWN:
		return KickedDown
	case errno == unix.ENXIO:
		s.unbound = true
		return KickedGone
	case left == 0:
		return KickedAll
	case left < before:
		return KickedMore
	case errno == unix.EBUSY:
		// The device dropped one packet. It is complete, though the kernel shows it as
		// taken only after its next call (xsk_tx_release is skipped when none was sent).
		return KickedMore
	case s.mode == ModeZeroCopy && errno == 0:
		return KickedAll // the driver is awake now and takes them in its own time
	case errno == 0:
		s.weather.Stuck++ // as where the device has fewer transmit queues than receive queues
	}
	return KickedNone
}
