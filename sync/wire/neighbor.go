package wire

import (
	"encoding/binary"

	"holdfast/dataplane/packet"
)

// NeighborMax is the longest Neighbor, in bytes with its frame header.
const NeighborMax = FrameHeaderSize + 1 + 6 + 4 + 16

const neighborV6 = 1 << 0 // frame flag: the address has 16 bytes

// Neighbor tells the link address of a host beside a port, so that a promoted node
// sends its first frame without asking.
type Neighbor struct {
	Port     packet.PortID
	Address  packet.Addr
	MAC      packet.MAC
	Validity uint32 // ms that it may be used without asking
}

// Append appends n. Nothing is allocated if dst has room.
//
//	frame flags: bit 0: the address has 16 bytes
//
//	 0       1                       7               11
//	+-------+-----------------------+---------------+---------------
//	| port  | MAC                   | validity, ms  | address, 4 or 16 bytes
//	+-------+-----------------------+---------------+---------------
func (n *Neighbor) Append(dst []byte) []byte {
	start := len(dst)
	fam := familyOf(&n.Address)
	dst = beginFrame(dst, TypeNeighbor, uint8(fam))
	dst = append(dst, uint8(n.Port))
	dst = append(dst, n.MAC[:]...)
	dst = binary.BigEndian.AppendUint32(dst, n.Validity)
	dst = appendAddress(dst, fam, &n.Address)
	return endFrame(dst, start)
}

// Decode reads a Neighbor. Only unicast addresses have one.
func (n *Neighbor) Decode(f *Frame) error {
	c := f.open(TypeNeighbor, neighborV6)
	n.Port = packet.PortID(c.u8())
	n.MAC = packet.MAC{}
	copy(n.MAC[:], c.take(6))
	n.Validity = c.u32()
	n.Address = c.address(family(f.Flags & neighborV6))
	ip := n.Address.Netip()
	c.must(n.MAC[0]&1 == 0 && n.MAC != packet.MAC{}, BadAddress)
	c.must(!ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLoopback(), BadAddress)
	return c.end()
}
