package wire

import (
	"encoding/binary"

	"holdfast/dataplane/gate"
)

// HeartbeatMax is the longest Heartbeat, in bytes with its frame header.
const HeartbeatMax = FrameHeaderSize + 18 + 2*lanesMax

// Condition is a set of what a node says of itself besides its role.
type Condition uint8

// The elements of a Condition.
const (
	Ready  Condition = 1 << iota // its table is complete
	Wants                        // it asks the active node to hand over
	Yields                       // it has just given up the role and lets others claim first

	conditions = Ready | Wants | Yields
)

// Heartbeat tells that a node lives, and how far it is.
type Heartbeat struct {
	Node      uint16
	Role      gate.Role
	Condition Condition
	Group     uint16 // of ports; 0 is the only one yet
	Priority  int32
	Term      uint64 // the highest that the node has seen
	Sent      Lanes  // the last batch that each of its lanes has sent
	Acked     Lanes  // the last batch that it has from each of the receiver's lanes, without a gap
}

// Append appends h. Nothing is allocated if dst has room.
//
//	frame flags: Condition
//
//	 0               2       3       4               6              10              18
//	+---------------+-------+-------+---------------+---------------+---------------+
//	| node          | role  | 0     | group         | priority      | term          |
//	+---------------+-------+-------+---------------+---------------+---------------+
//	| Lanes, sent (1 + 8n)          | Lanes, acked (1 + 8m)         |
//	+-------------------------------+-------------------------------+
func (h *Heartbeat) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeHeartbeat, uint8(h.Condition))
	dst = binary.BigEndian.AppendUint16(dst, h.Node)
	dst = append(dst, uint8(h.Role), 0)
	dst = binary.BigEndian.AppendUint16(dst, h.Group)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.Priority))
	dst = binary.BigEndian.AppendUint64(dst, h.Term)
	dst = h.Sent.append(dst)
	dst = h.Acked.append(dst)
	return endFrame(dst, start)
}

// Decode reads a Heartbeat.
func (h *Heartbeat) Decode(f *Frame) error {
	c := f.open(TypeHeartbeat, uint8(conditions))
	h.Node, h.Role, h.Condition = c.u16(), gate.Role(c.u8()), Condition(f.Flags)
	c.must(h.Role <= gate.Active, BadValue)
	c.must(c.u8() == 0, BadValue)
	h.Group, h.Priority, h.Term = c.u16(), int32(c.u32()), c.u64()
	c.lanes(&h.Sent)
	c.lanes(&h.Acked)
	return c.end()
}
