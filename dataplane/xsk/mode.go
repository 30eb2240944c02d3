package xsk

// Mode is how frames travel between device and packet memory. The zero value is no mode.
type Mode uint8

const (
	// ModeZeroCopy: the device reads and writes packet memory by itself.
	ModeZeroCopy Mode = iota + 1
	// ModeCopy: the kernel copies each frame once. Whether the XDP program runs in
	// the driver (native) or after it (generic) is the attachment's matter.
	ModeCopy
)

// String returns the mode as `status` shows it.
func (m Mode) String() string {
	switch m {
	case ModeZeroCopy:
		return "zero-copy"
	case ModeCopy:
		return "copy"
	}
	return "none"
}
