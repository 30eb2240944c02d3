package packet

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Addr is an IP address in one 16-byte form: IPv6 as it is, IPv4 mapped as
// ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). The family matters only to decode and rewrite.
// No IPv6 packet can pretend to be IPv4 by this: Decode refuses mapped addresses on the wire.
type Addr [16]byte

// mappedHigh is the high half of the low 8 bytes of a mapped address: ::ffff:0:0/96.
const mappedHigh = 0x0000ffff

// AddrFrom converts a, of either family, without its zone.
func AddrFrom(a netip.Addr) Addr { return a.As16() }

// Netip returns the address in the standard library's form, IPv4 unmapped.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// String returns the usual text form.
func (a Addr) String() string { return a.Netip().String() }

// halves returns the address as two numbers in host order.
func (a *Addr) halves() (high, low uint64) {
	return binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
}

// set4 makes a, which is zero or an IPv4 address so far, the mapped form of the four bytes
// that wire begins with. One load and one store: in little-endian order ffff stands below.
func (a *Addr) set4(wire []byte) {
	v4 := uint64(binary.LittleEndian.Uint32(wire))
	binary.LittleEndian.PutUint64(a[8:], v4<<32|mappedHigh<<16)
}

// Is4 reports whether a holds an IPv4 address.
func (a *Addr) Is4() bool {
	high, low := a.halves()
	return high == 0 && low>>32 == mappedHigh
}

// IsMulticast reports whether a names a group: 224.0.0.0/4 or ff00::/8. The limited
// broadcast 255.255.255.255 counts as the group of everybody.
func (a *Addr) IsMulticast() bool {
	high, low := a.halves()
	if high == 0 && low>>32 == mappedHigh {
		v4 := uint32(low)
		return v4>>28 == 0xe || v4 == 0xffffffff
	}
	return high>>56 == 0xff
}

// IsLinkLocal reports whether a is valid on one link only: 169.254.0.0/16 (RFC 3927) or
// fe80::/10 (RFC 4291 section 2.5.6).
func (a *Addr) IsLinkLocal() bool {
	high, low := a.halves()
	if high == 0 && low>>32 == mappedHigh {
		return uint32(low)>>16 == 0xa9fe
	}
	return high>>54 == 0xfe80>>6
}

// MAC is an Ethernet address.
type MAC [6]byte

// Broadcast is the Ethernet address of every station.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// IsGroup reports whether m is a multicast or broadcast address (IEEE 802 I/G bit).
func (m MAC) IsGroup() bool { return m[0]&1 != 0 }

// String returns the usual text form, aa:bb:cc:dd:ee:ff.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }
