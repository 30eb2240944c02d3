package saved

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	magic       = "HOLDFAST"
	version     = 1
	headerSize  = 64
	trailerSize = 16
)

// Boot is the id of a boot of the machine: clocks that count since then compare only within
// one.
type Boot [16]byte

// Header says where and when a file was written.
type Header struct {
	Boot     Boot
	Boottime int64  // CLOCK_BOOTTIME, ns
	Wall     int64  // ns since 1970
	Policy   uint64 // hash of the policy: where it is another, rules may decide otherwise
	Meaning  uint64 // hash of what numbers of ports and gateways mean: where it is another, they name others
}

// Errors of Open, each with what it found. The file is gone in each case.
var (
	ErrForeign = errors.New("it is no state of this version")
	ErrTorn    = errors.New("it is torn or was changed")
)

// append writes the header as the package comment draws it.
func (h *Header) append(dst []byte) []byte {
	dst = append(dst, magic...)
	dst = binary.BigEndian.AppendUint32(dst, version)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = append(dst, h.Boot[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Boottime))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Wall))
	dst = binary.BigEndian.AppendUint64(dst, h.Policy)
	return binary.BigEndian.AppendUint64(dst, h.Meaning)
}

// decode reads one.
func (h *Header) decode(b *[headerSize]byte) error {
	if string(b[:8]) != magic {
		return fmt.Errorf("%w: it does not begin with %s", ErrForeign, magic)
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != version {
		return fmt.Errorf("%w: version %d, and this daemon reads %d", ErrForeign, v, version)
	}
	if binary.BigEndian.Uint32(b[12:]) != 0 {
		return fmt.Errorf("%w: its header has bits that mean nothing", ErrForeign)
	}
	*h = Header{
		Boot:     Boot(b[16:32]),
		Boottime: int64(binary.BigEndian.Uint64(b[32:])), Wall: int64(binary.BigEndian.Uint64(b[40:])),
		Policy: binary.BigEndian.Uint64(b[48:]), Meaning: binary.BigEndian.Uint64(b[56:]),
	}
	return nil
}

// Age returns how long ago a file was written, as a daemon that reads it now knows it: by the
// clock of the boot, or after a reboot by the one on the wall. One that was set back says 0.
func (h *Header) Age(now *Header) time.Duration {
	if h.Boot == now.Boot && h.Boot != (Boot{}) {
		return time.Duration(max(0, now.Boottime-h.Boottime))
	}
	return time.Duration(max(0, now.Wall-h.Wall))
}
