package gen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Size is the length of frames in bytes, without the FCS. 0 is the smallest that holds a
// mark: 60 for UDP, 72 for TCP.
type Size uint16

// IMIX is a mix of three sizes: of each flow's frames in turn 7 of 12 are the smallest, 4
// have 590 bytes and 1 has 1514.
const IMIX Size = 0xffff

// The smallest frames that hold a mark, and the largest of an MTU of 1500.
const (
	smallestUDP = 14 + 20 + 8 + MarkBytes
	smallestTCP = 14 + 20 + 20 + MarkBytes
	largest     = 1514
	frameSYN    = 14 + 20 + 28
)

// AllNew is a number of flows that does not come round in a run: at a million frames/s it
// takes 18 minutes. Every frame is of another flow then. Sources take up 32768 addresses.
const AllNew = 1 << 30

// portsPerAddress is how many flows share a source address; their ports begin at firstPort.
const (
	portsPerAddress = 1 << 15
	firstPort       = 16384
)

// Flows says what a source sends: Count flows, in turn. Flow f has source address
// Src + f/32768 and source port 16384 + f%32768.
type Flows struct {
	DstMAC, SrcMAC net.HardwareAddr
	Src, Dst       netip.Addr // IPv4
	DstPort        uint16
	Count          uint32
	Ifindex        int // the link to send out of, in the namespace of the caller's thread
	Size           Size
	Rate           uint64 // frames/s, evenly spaced; 0: as fast as can be
}

// check refuses what no source can send, smallest bytes being the smallest frame.
func (f *Flows) check(smallest Size) error {
	switch {
	case !f.Src.Is4() || !f.Dst.Is4() || len(f.DstMAC) != 6 || len(f.SrcMAC) != 6:
		return errors.New("flows: two IPv4 addresses and two MACs are needed")
	case f.Count == 0 || f.Count > AllNew:
		return fmt.Errorf("flows: the number of flows is 1 to %d, not %d", AllNew, f.Count)
	case f.Size != 0 && f.Size != IMIX && (f.Size < smallest || f.Size > largest):
		return fmt.Errorf("flows: a frame has %d to %d bytes, not %d", smallest, largest, f.Size)
	}
	return nil
}

// sizeOf returns the size of a flow's frame; size_of of live.bpf.c is the same.
func (f *Flows) sizeOf(flow, number uint32, smallest int) int {
	switch f.Size {
	case 0:
		return smallest
	case IMIX:
		switch turn := (flow + number) % 12; {
		case turn < 7:
			return smallest
		case turn < 11:
			return 590
		}
		return largest
	}
	return int(f.Size)
}

// source returns where a flow comes from.
func (f *Flows) source(flow uint32) netip.AddrPort {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(f.Src)+flow/portsPerAddress)
	return netip.AddrPortFrom(netip.AddrFrom4(b), uint16(firstPort+flow%portsPerAddress))
}

// number is an IPv4 address in host order.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
