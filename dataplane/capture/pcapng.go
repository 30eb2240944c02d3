package capture

import (
	"encoding/binary"
	"math"
	"strings"
	"time"

	"holdfast/dataplane"
	"holdfast/dataplane/packet"
)

// The blocks of a file are written here, because the writer of gopacket (pcapgo) gives packets
// no options, so no comment, and would bring golang.org/x/net into the binary for the rest.
//
//	section header, interface of port 0, 1, ..., packet, packet, ...
//
// All of draft-ietf-opsawg-pcapng, in little-endian order, as the section's magic says.
const (
	blockSection        = 0x0a0d0d0a // section 4.1
	blockInterface      = 1          // section 4.2
	blockEnhancedPacket = 6          // section 4.3

	optionEnd         = 0 // section 3.5
	optionComment     = 1
	optionFlags       = 2 // of a packet
	optionName        = 2 // of an interface
	optionResolution  = 9 // of an interface's times: 10^-n s
	optionApplication = 4 // of a section

	byteOrderMagic   = 0x1a2b3c4d
	linkTypeEthernet = 1
	nanoseconds      = 9

	flagsInbound  = 1 // the two lowest bits of a packet's flags
	flagsOutbound = 2

	commentMax = 16 << 10 // bytes: the stack of a crash
)

// appendHeader appends the beginning of a file: the section, and an interface of each port,
// whose number is the port's.
//
//	0               4               8              12              16
//	+---------------+---------------+---------------+-------+-------+
//	| type 0a0d0d0a | block length  | magic         |   1   |   0   |
//	+---------------+---------------+---------------+-------+-------+
//	| section length, not known: -1 | 4 | n | application, padded   |
//	+-------------------------------+---+---+-----------------------+
//	| 0 end     | 0 | block length  |
//	+---------------+---------------+
//
//	0               4               8              12              16
//	+---------------+---------------+-------+-------+---------------+
//	| type 1        | block length  | link  |   0   | bytes kept    |
//	+---------------+---------------+-------+-------+---------------+
//	| 2 name    | n | name, padded  | 9 | 1 | 9 . . .               |
//	+---------------+---------------+---+---+-----------------------+
//	| 0 end     | 0 | block length  |
//	+---------------+---------------+
func appendHeader(to []byte, ports []string, snap int, application string) []byte {
	le, start := binary.LittleEndian, len(to)
	to = beginBlock(to, blockSection)
	to = le.AppendUint32(to, byteOrderMagic)
	to = le.AppendUint32(to, 1) // version 1.0
	to = le.AppendUint64(to, math.MaxUint64)
	to = appendOption(to, optionApplication, application)
	to = endBlock(to, start)
	for _, name := range ports {
		start = len(to)
		to = beginBlock(to, blockInterface)
		to = le.AppendUint32(to, linkTypeEthernet)
		to = le.AppendUint32(to, uint32(snap))
		to = appendOption(to, optionName, name)
		to = appendOption(to, optionResolution, []byte{nanoseconds})
		to = endBlock(to, start)
	}
	return to
}

// appendPacket appends a packet with its comment: an Enhanced Packet Block.
//
//	0               4               8              12              16
//	+---------------+---------------+---------------+---------------+
//	| type 6        | block length  | interface     | time, high    |
//	+---------------+---------------+---------------+---------------+
//	| time, low     | bytes kept    | frame length  | bytes, padded |
//	+---------------+---------------+---------------+---------------+
//	| 1 comment | n | text, padded  | 2 flags   | 4 | direction     |
//	+---------------+---------------+---------------+---------------+
//	| 0 end     | 0 | block length  |
//	+---------------+---------------+
//
// The time is in ns since 1970.
func appendPacket(to []byte, p *dataplane.LoggedPacket, at time.Time, comment string) []byte {
	le, start := binary.LittleEndian, len(to)
	if len(comment) > commentMax {
		comment = comment[:commentMax]
	}
	ns := uint64(at.UnixNano())
	to = beginBlock(to, blockEnhancedPacket)
	to = le.AppendUint32(to, uint32(p.Port))
	to = le.AppendUint32(to, uint32(ns>>32))
	to = le.AppendUint32(to, uint32(ns))
	to = le.AppendUint32(to, uint32(len(p.Bytes)))
	to = le.AppendUint32(to, uint32(p.FrameLen))
	to = appendPadded(to, p.Bytes)
	to = appendOption(to, optionComment, strings.ToValidUTF8(comment, "?"))
	flags := [4]byte{flagsInbound}
	if p.Sense == dataplane.LogOutbound {
		flags[0] = flagsOutbound
	}
	to = appendOption(to, optionFlags, flags[:])
	return endBlock(to, start)
}

// beginBlock appends the type of a block and room for its length.
func beginBlock(to []byte, kind uint32) []byte {
	to = binary.LittleEndian.AppendUint32(to, kind)
	return binary.LittleEndian.AppendUint32(to, 0)
}

// endBlock ends the options of the block that began at start, and enters its length.
func endBlock(to []byte, start int) []byte {
	to = binary.LittleEndian.AppendUint32(to, optionEnd)
	length := uint32(len(to) - start + 4)
	binary.LittleEndian.PutUint32(to[start+4:], length)
	return binary.LittleEndian.AppendUint32(to, length)
}

// appendOption appends an option; its value has less than 64 KiB.
func appendOption[T string | []byte](to []byte, code uint16, value T) []byte {
	to = binary.LittleEndian.AppendUint16(to, code)
	to = binary.LittleEndian.AppendUint16(to, uint16(len(value)))
	return appendPadded(to, value)
}

// appendPadded appends bytes and zeros up to a multiple of four.
func appendPadded[T string | []byte](to []byte, b T) []byte {
	to = append(to, b...)
	var zeros [3]byte
	return append(to, zeros[:-len(b)&3]...)
}

// portName names a port, or the node itself; "" for none.
func portName(ports []string, id packet.PortID) string {
	switch {
	case id == packet.Self:
		return "self"
	case int(id) < len(ports):
		return ports[id]
	}
	return ""
}
