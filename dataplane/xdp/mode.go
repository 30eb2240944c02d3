package xdp

import "holdfast/dataplane/xsk"

// Hook is where the receive program runs. The zero value is nowhere.
type Hook uint8

const (
	// HookNative: in the driver, before a packet buffer is made.
	HookNative Hook = iota + 1
	// HookGeneric: behind the driver, on the kernel's packet buffers (skb). Works on
	// every device, at a fraction of the speed. Sockets must be opened in copy mode.
	HookGeneric
)

// String returns the hook as log lines show it.
func (h Hook) String() string {
	switch h {
	case HookNative:
		return "native"
	case HookGeneric:
		return "generic"
	}
	return "none"
}

// Mode is the whole way of a frame from the device to packet memory: what the driver
// gave to the program and to the socket together. The zero value is no mode.
type Mode uint8

const (
	// ModeZeroCopy: native hook, and the device writes packet memory by itself.
	ModeZeroCopy Mode = iota + 1
	// ModeNativeCopy: native hook, and the kernel copies each frame once.
	ModeNativeCopy
	// ModeGeneric: generic hook; the kernel makes a packet buffer and copies it.
	ModeGeneric
)

// String returns the mode as `status` shows it.
func (m Mode) String() string {
	switch m {
	case ModeZeroCopy:
		return "zero-copy"
	case ModeNativeCopy:
		return "native-copy"
	case ModeGeneric:
		return "generic"
	}
	return "none"
}

// compose joins the two answers. A port with several sockets is reported by its
// slowest.
func compose(hook Hook, socket xsk.Mode) Mode {
	switch {
	case socket != xsk.ModeZeroCopy && socket != xsk.ModeCopy:
		return 0
	case hook == HookGeneric:
		return ModeGeneric
	case hook == HookNative && socket == xsk.ModeZeroCopy:
		return ModeZeroCopy
	case hook == HookNative:
		return ModeNativeCopy
	}
	return 0
}
