package recording

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket/layers"
)

// datagram is a UDP datagram of a capture; payload lies in the frame.
type datagram struct {
	from, to netip.AddrPort
	payload  []byte
}

// Link types that gopacket has no name for; it keeps the low 8 bits of one.
const (
	linkRaw  layers.LinkType = 12        // DLT_RAW of Linux
	linkSLL2 layers.LinkType = 276 % 256 // LINKTYPE_LINUX_SLL2, which `tcpdump -i any` writes
)

// Ethernet types.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100
	etherQinQ = 0x88a8
)

// read finds the UDP datagram in a frame and reports whether there is a whole one: not of
// another protocol, and no fragment.
func (d *datagram) read(f *frame) bool {
	b := f.data
	var ether uint16
	switch f.link {
	case layers.LinkTypeEthernet:
		if len(b) < 14 {
			return false
		}
		ether, b = binary.BigEndian.Uint16(b[12:]), b[14:]
	case layers.LinkTypeLinuxSLL:
		if len(b) < 16 {
			return false
		}
		ether, b = binary.BigEndian.Uint16(b[14:]), b[16:]
	case linkSLL2:
		if len(b) < 20 {
			return false
		}
		ether, b = binary.BigEndian.Uint16(b), b[20:]
	case layers.LinkTypeRaw, linkRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		return d.readIP(b)
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		if len(b) < 4 {
			return false
		}
		return d.readIP(b[4:])
	default:
		return false
	}
	for (ether == etherVLAN || ether == etherQinQ) && len(b) >= 4 {
		ether, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	return (ether == etherIPv4 || ether == etherIPv6) && d.readIP(b)
}

const protoUDP = 17

func (d *datagram) readIP(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	switch b[0] >> 4 {
	case 4:
		header := int(b[0]&15) * 4
		if len(b) < 20 || header < 20 || b[9] != protoUDP || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
			return false
		}
		total := int(binary.BigEndian.Uint16(b[2:]))
		if total < header || total > len(b) {
			return false
		}
		src, dst := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		return d.readUDP(src, dst, b[header:total])
	case 6:
		if len(b) < 40 || b[6] != protoUDP { // a node sends no extension headers
			return false
		}
		total := 40 + int(binary.BigEndian.Uint16(b[4:]))
		if total > len(b) {
			return false
		}
		return d.readUDP(netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])), b[40:total])
	}
	return false
}

func (d *datagram) readUDP(src, dst netip.Addr, b []byte) bool {
	if len(b) < 8 {
		return false
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < 8 || length > len(b) {
		return false
	}
	d.from = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
	d.to = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
	d.payload = b[8:length]
	return true
}
