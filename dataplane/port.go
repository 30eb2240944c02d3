package dataplane

import (
	"sync/atomic"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// Port is a logical port as all workers share it. It does not change while workers run.
type Port struct {
	ID        packet.PortID
	Name      string // as rules name it
	Device    string // as the kernel names it
	Ifindex   int
	VLAN      packet.VLAN   // whose tag its frames carry; ports with one Ifindex differ by it, and have the same Modes and Program
	MAC       packet.MAC    // shared: it goes with the role
	MTU       int           // bytes of an IP packet
	Clamp     Clamp         // of the MSS in SYNs that cross it
	Addresses []packet.Addr // shared addresses, also the source of our own errors
	Antispoof Antispoof
	Modes     []xsk.Mode // what sockets may try, see xsk.Config; nil: all
	Program   SocketMap
	Kernel    KernelFace
}

// SocketMap is where a receive queue's socket is entered so that frames reach it
// (dataplane/xdp.Program).
type SocketMap interface {
	SetSocket(queue int, fd int) error
}

// KernelFace is the port's TAP (dataplane/tap.Tap). Neither call blocks: 0 bytes means
// not now.
type KernelFace interface {
	Read(frame []byte) (int, error)
	Write(frame []byte) (int, error)
	Fd() int
}

// Traffic counts frames and their bytes, Ethernet header and tag included. The owning
// worker adds, anybody reads.
type Traffic struct {
	packets, bytes atomic.Uint64
}

func (t *Traffic) add(packets, bytes uint64) {
	t.packets.Store(t.packets.Load() + packets)
	t.bytes.Store(t.bytes.Load() + bytes)
}

// Read returns the counts.
func (t *Traffic) Read() (packets, bytes uint64) { return t.packets.Load(), t.bytes.Load() }

// share is one worker's share of a port.
type share struct {
	*Port
	device *device
	staged []xsk.Desc // to be transmitted at the end of the turn

	handed, handedBytes int // scratch of transmit: what of it the kernel's ring took

	arrived      []xsk.Desc // scratch of demultiplex: this port's frames of a burst
	arrivedBytes uint64     // and how many bytes they had, tags included

	Received, Sent            Traffic
	ReceiveDrops, TxDrops     drop.Counters
	answersLeft, answerPeriod int64 // budget of our own errors and resets, see answer.go
}
