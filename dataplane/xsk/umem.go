package xsk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A frame, FrameSize bytes, starts at a multiple of FrameSize:
//
//	 0            256                                    2048
//	+------------+--------------------------------------+
//	| headroom   | packet, as the device brought it     |
//	+------------+--------------------------------------+
//
// The kernel leaves the headroom free (XDP_PACKET_HEADROOM) and so does Alloc: a
// packet may grow to the front. FrameRoom is what a received packet may be long.
const (
	frameShift = 11
	FrameSize  = 1 << frameShift          // bytes; the smallest the kernel takes, two to a page
	Headroom   = unix.XDP_PACKET_HEADROOM // bytes
	FrameRoom  = FrameSize - Headroom     // bytes
	framesMax  = 1 << 24                  // 32 GiB, far beyond any use
	lengthMin  = 14                       // bytes: an Ethernet header
	offsetMask = uint64(FrameSize - 1)    // of an address: where in its frame
	frameMask  = ^offsetMask              // of an address: the frame
	memfdName  = "holdfast-umem"          // as /proc/PID/maps shows it
	seals      = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
)

// Umem is the packet memory of one worker. It belongs to one goroutine, and its
// sockets to one network namespace.
//
// The memory is a memfd, so that a successor of this process can be handed the same
// packets. It is sealed: nobody who holds the descriptor can shrink it, which would
// turn an access of ours into SIGBUS.
type Umem struct {
	memory  []byte // the mapping: whole pages, so it may be half a page longer than the frames
	fd      int
	control int // a socket in the sockets' namespace, for questions about devices; -1 before the first Open

	free    []uint64 // starts of free frames; the last freed is the first taken, its lines are warm
	owners  []owner  // of each frame, by number
	slots   []slot   // of sockets, open or with frames in limbo
	faults  uint64
	touched byte // what Touch has read: it is read so that it is loaded
}

// NewUmem makes packet memory of so many frames (RingSizes.Frames says how many a set
// of sockets can use).
func NewUmem(frames int) (*Umem, error) {
	if frames < 1 || frames > framesMax {
		return nil, fmt.Errorf("packet memory of %d frames: must be from 1 to %d", frames, framesMax)
	}
	length := (int64(frames)*FrameSize + int64(unix.Getpagesize()) - 1) &^ int64(unix.Getpagesize()-1)
	fd, err := unix.MemfdCreate(memfdName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("packet memory of %d bytes: memfd: %w", length, err)
	}
	memory, err := reserve(fd, length)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("packet memory of %d bytes: %w", length, err), unix.Close(fd))
	}
	u := &Umem{
		memory:  memory,
		fd:      fd,
		control: -1,
		free:    make([]uint64, frames),
		owners:  make([]owner, frames), // all free: the zero value
	}
	for i := range u.free {
		u.free[i] = uint64(frames-1-i) << frameShift
	}
	return u, nil
}

// reserve gives the memfd its length and all its pages now, so that lack of memory is
// an error here and not a signal later, and maps it.
func reserve(fd int, length int64) ([]byte, error) {
	if err := unix.Fallocate(fd, 0, 0, length); err != nil {
		return nil, fmt.Errorf("reserve pages: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	memory, err := unix.Mmap(fd, 0, int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return memory, nil
}

// Close gives the memory back. Every socket on it must be closed.
func (u *Umem) Close() error {
	for i := range u.slots {
		if u.slots[i].socket != nil {
			return fmt.Errorf("packet memory is in use: %s is open; close it first", u.slots[i].socket)
		}
	}
	if u.fd < 0 {
		return nil
	}
	err := errors.Join(unix.Munmap(u.memory), unix.Close(u.fd))
	if u.control >= 0 {
		err = errors.Join(err, unix.Close(u.control))
	}
	u.memory, u.free, u.owners, u.slots = nil, nil, nil, nil
	u.fd, u.control = -1, -1
	return err
}

// Fd returns the memfd, for handing the memory on. It stays the Umem's.
func (u *Umem) Fd() int { return u.fd }

// Frames returns how many frames there are.
func (u *Umem) Frames() int { return len(u.owners) }

// Bytes returns the packet that d names, with capacity up to the end of its frame. The
// slice is valid while the caller holds the frame.
func (u *Umem) Bytes(d Desc) []byte {
	return u.memory[d.Addr : d.Addr+uint64(d.Len) : d.Addr&frameMask+FrameSize]
}

// Touch loads the first line of every packet, and does nothing else: so short, that the
// processor has a dozen misses in flight before it must wait. What the kernel has copied
// on another core is in that one's cache, and read one by one it costs more than the
// whole look at a packet.
func (u *Umem) Touch(batch []Desc) {
	var all byte
	for i := range batch {
		all |= u.memory[batch[i].Addr]
	}
	u.touched = all
}

// Alloc takes free frames for packets of the caller's own making: up to len(batch),
// each behind its headroom and of length 0. It returns how many there were; they are
// held by the caller, as received ones are.
func (u *Umem) Alloc(batch []Desc) int {
	n := min(len(batch), len(u.free))
	for i, frame := range u.pop(n) {
		u.owners[frame>>frameShift] = ownerHeld
		batch[i] = Desc{Addr: frame + Headroom}
	}
	return n
}

// Free takes back frames that the caller holds and does not want: dropped packets.
func (u *Umem) Free(batch []Desc) {
	for i := range batch {
		u.give(batch[i].Addr, ownerHeld)
	}
}

// FreeStrays takes back frames that the caller holds by what the Umem knows and that none of
// known names: a panic has lost them. It returns how many there were.
func (u *Umem) FreeStrays(known []Desc) (strays int) {
	named := make(map[uint64]bool, len(known))
	for _, d := range known {
		named[d.Addr>>frameShift] = true
	}
	for frame, o := range u.owners {
		if o == ownerHeld && !named[uint64(frame)] {
			u.give(uint64(frame)<<frameShift, ownerHeld)
			strays++
		}
	}
	return strays
}

// SameFrame reports whether two descriptors name packets in one frame.
func SameFrame(a, b Desc) bool { return a.Addr>>frameShift == b.Addr>>frameShift }

// Faults counts frames that came from where they could not be: freed or transmitted
// without being held, or brought by the kernel without having been given to it. Such a
// frame is left where it is. It is zero unless a program, ours or the kernel, is wrong.
func (u *Umem) Faults() uint64 { return u.faults }

// pop takes the last n free frames. The caller sets their owners before anything else
// happens to the Umem.
func (u *Umem) pop(n int) []uint64 {
	rest := len(u.free) - n
	taken := u.free[rest:]
	u.free = u.free[:rest]
	return taken
}

// move changes the owner of the frame around addr and reports whether from was its owner.
func (u *Umem) move(addr uint64, from, to owner) bool {
	frame := addr >> frameShift
	if frame >= uint64(len(u.owners)) || u.owners[frame] != from {
		u.faults++
		return false
	}
	u.owners[frame] = to
	return true
}

// give frees the frame around addr, which from owns, and reports whether it did.
func (u *Umem) give(addr uint64, from owner) bool {
	if !u.move(addr, from, ownerFree) {
		return false
	}
	u.free = append(u.free, addr&frameMask) // never grows: each frame is in it at most once
	return true
}
