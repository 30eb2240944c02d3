package wire

import (
	"encoding/binary"
	"fmt"
)

// Version is the version of this language.
const Version = 1

// NameMax bounds the name of a node, in bytes.
const NameMax = 64

// Capabilities is a set of things that a node can do beyond the version;
// unknown ones are ignored.
type Capabilities uint32

// Start says how a node's table began.
type Start uint8

const (
	// StartedFilled: with connections, adopted from a predecessor.
	StartedFilled Start = iota
	// StartedEmpty: with none, as after a boot.
	StartedEmpty
)

// Hello is the first message of a session, and tells who the sender is.
type Hello struct {
	VersionMin, VersionMax uint8 // of this language; the highest common one is spoken
	Capabilities           Capabilities
	Name                   string // of the node: 1 to NameMax bytes of printable ASCII without space
	Node                   uint16 // its number in the cluster
	Boot                   uint64 // names its life; random; streams count since it began
	Policy                 uint64 // hash of the policy it runs
	Priority               int32
	Start                  Start
	Sent                   Lanes // the last batch that each of its lanes has sent
	MTUs                   MTUs  // of its ports
}

// Append appends h:
//
//	frame flags: bit 0: StartedEmpty
//
//	 0       1       2               4               8
//	+-------+-------+---------------+---------------+
//	|ver min|ver max| node          | capabilities  |
//	+-------+-------+---------------+---------------+
//	| boot                                          | 16
//	| policy                                        | 24
//	+-----------------------+-----------------------+
//	| priority (4)          | Lanes (1 + 8n)  ...   |
//	+-----------------------+-----------------------+
//	| length of name (1)    | name            ...   |
//	+-----------------------+-----------------------+
//	| MTUs (1 + 2n)   ...                           |
//	+-----------------------------------------------+
//
// The name must be one that ValidName accepts.
func (h *Hello) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeHello, uint8(h.Start))
	dst = append(dst, h.VersionMin, h.VersionMax)
	dst = binary.BigEndian.AppendUint16(dst, h.Node)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.Capabilities))
	dst = binary.BigEndian.AppendUint64(dst, h.Boot)
	dst = binary.BigEndian.AppendUint64(dst, h.Policy)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.Priority))
	dst = h.Sent.append(dst)
	dst = append(dst, uint8(len(h.Name)))
	dst = append(dst, h.Name...)
	dst = h.MTUs.append(dst)
	return endFrame(dst, start)
}

// Decode reads a Hello.
func (h *Hello) Decode(f *Frame) error {
	c := f.open(TypeHello, 1)
	*h = Hello{
		VersionMin: c.u8(), VersionMax: c.u8(),
		Node: c.u16(), Capabilities: Capabilities(c.u32()),
		Boot: c.u64(), Policy: c.u64(), Priority: int32(c.u32()),
		Start: Start(f.Flags),
	}
	c.lanes(&h.Sent)
	name := c.take(int(c.u8()))
	c.mtus(&h.MTUs)
	c.must(h.VersionMin >= 1 && h.VersionMin <= h.VersionMax && h.Boot != 0, BadValue)
	if c.bad == 0 {
		h.Name = string(name)
		c.must(ValidName(h.Name) == nil, BadValue)
	}
	return c.end()
}

// ValidName returns why name cannot be that of a node, nil if it can.
func ValidName(name string) error {
	if name == "" || len(name) > NameMax {
		return fmt.Errorf("node name %q: needs 1 to %d bytes", name, NameMax)
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return fmt.Errorf("node name %q: only printable ASCII without spaces", name)
		}
	}
	return nil
}
