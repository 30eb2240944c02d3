package xsk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Statistics are the kernel's counts of one socket since it was opened (XDP_STATISTICS).
type Statistics struct {
	RxDropped     uint64 // packets: no free frame, or longer than FrameRoom
	RxInvalid     uint64 // fill addresses outside the packet memory
	TxInvalid     uint64 // descriptors refused; each would be a lost frame, so Transmit checks first
	RxRingFull    uint64 // packets: the worker did not receive in time
	FillRingEmpty uint64 // times the kernel found no frame to receive into
	TxRingEmpty   uint64 // times the kernel found nothing to transmit
}

// Statistics reads the kernel's counts.
func (s *Socket) Statistics() (Statistics, error) {
	raw, err := getOption[unix.XDPStatistics](s.fd, unix.XDP_STATISTICS)
	if err != nil {
		return Statistics{}, fmt.Errorf("statistics of %s: %w", s, err)
	}
	return Statistics{
		RxDropped:     raw.Rx_dropped,
		RxInvalid:     raw.Rx_invalid_descs,
		TxInvalid:     raw.Tx_invalid_descs,
		RxRingFull:    raw.Rx_ring_full,
		FillRingEmpty: raw.Rx_fill_ring_empty_descs,
		TxRingEmpty:   raw.Tx_ring_empty_descs,
	}, nil
}

// Weather counts what the kernel said to kicks instead of yes. None of it is an error
// of ours, none stops a worker.
type Weather struct {
	Again       uint64 // EAGAIN: budget spent, driver or send buffer full; the rest stays on the ring
	Busy        uint64 // EBUSY: the device dropped one packet (no carrier, queue stopped)
	NoBuffers   uint64 // ENOBUFS, ENOMEM: no memory for a packet; it stays on the ring
	Down        uint64 // ENETDOWN: the link is administratively down
	Gone        uint64 // ENXIO: the device has left; close the socket
	Interrupted uint64 // EINTR
	Other       uint64 // any other
	Stuck       uint64 // kicks that said yes and took nothing
	LastOther   unix.Errno
}

// note counts an errno.
func (w *Weather) note(errno unix.Errno) {
	switch errno {
	case unix.EAGAIN:
		w.Again++
	case unix.EBUSY:
		w.Busy++
	case unix.ENOBUFS, unix.ENOMEM:
		w.NoBuffers++
	case unix.ENETDOWN:
		w.Down++
	case unix.ENXIO:
		w.Gone++
	case unix.EINTR:
		w.Interrupted++
	default:
		w.Other++
		w.LastOther = errno
	}
}
