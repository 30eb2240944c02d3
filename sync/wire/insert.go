package wire

import (
	"encoding/binary"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// Flags of an Insert's frame.
const (
	insertV6       = 1 << 0 // addresses have 16 bytes
	insertReplySrc = 1 << 1 // the reply's source is translated, and carried
	insertReplyDst = 1 << 2 // the reply's destination is translated, and carried
	insertZone     = 1 << 3 // the zone is not 0, and carried
	insertIdle     = 1 << 4 // the idle time is not 0, and carried
	insertSync     = 5      // shift of the SyncMode, two bits
	insertClass    = 1 << 7 // gateway, mode, timeouts, pick-up or logged are not 0, and carried
	insertFlags    = 1<<8 - 1
)

// InsertMax is the longest Insert, in bytes with its frame header: TCP over IPv6, both
// ends translated, with zone and idle time.
const InsertMax = FrameHeaderSize + insertFixed + 4*18 + 2 + 4 + 2 + traitsSize + 2*endSize + 2*3 + 4

const (
	insertFixed = 20
	endSize     = 7
)

// AppendInsert appends the whole of a connection:
//
//	 0               4                               12              16
//	+---------------+-------------------------------+---------------+
//	| sender's index| incarnation                   | rule          |
//	+-------+-------+-------+-------+---------------+---------------+
//	|ingress|egress | flags | proto |   flags: the low 8 of conntrack.Flags
//	+-------+-------+-------+-------+---------------+-------+-------+
//	| source, 4 or 16 bytes         | destination   |SrcPort|DstPort|  of the original
//	+-------------------------------+-------+-------+-------+-------+
//	| source of the reply           |SrcPort|   if insertReplySrc
//	| destination of the reply      |DstPort|   if insertReplyDst; otherwise each is that
//	+-------------------------------+-------+   of packet.Tuple.Reply of the original
//	| zone (2)      |   if insertZone
//	| idle, ms (4)  |   if insertIdle
//	+-------+-------+
//	|gateway| class |   if insertClass; class: 1,0 mode; 2 pick-up; 6 to 3 set of timeouts; 7 logged
//	+-------+-------+
//
// and, for TCP, the traits (appendTraits), End of each direction that was seen (56 bits:
// 64 PiB, 66 days at 100 Gbit/s), and MaxAck of each direction whose peer was seen (20 of
// 24 bits):
//
//	+---------------+-----------------------+-----------------------+--------------+--------------+
//	| traits (4)    | End, original (7)     | End, reply (7)        | MaxAck o. (3)| MaxAck r. (3)|
//	+---------------+-----------------------+-----------------------+--------------+--------------+
//
// and the offset, if the flags say that it is proxied:
//
//	+---------------+
//	| offset (4)    |
//	+---------------+
//
// and, for SCTP, what each direction did and the tag that its packets carry:
//
//	+---------------+---------------+---------------+---------------+
//	|seen o.|seen r.| tag, original                 | tag, reply    |
//	+---------------+-------------------------------+---------------+
//
// The four addresses must be of one family. Nothing is allocated if dst has room.
func AppendInsert(dst []byte, s *conntrack.State) []byte {
	start := len(dst)
	fam := familyOf(&s.Original.Src, &s.Original.Dst, &s.Reply.Src, &s.Reply.Dst)
	srcPort, dstPort := s.Original.ReplyPorts()
	flags := uint8(fam) | uint8(s.Sync)<<insertSync
	if s.Reply.Src != s.Original.Dst || s.Reply.SrcPort != srcPort {
		flags |= insertReplySrc
	}
	if s.Reply.Dst != s.Original.Src || s.Reply.DstPort != dstPort {
		flags |= insertReplyDst
	}
	if s.Original.Zone != 0 {
		flags |= insertZone
	}
	if s.Idle != 0 {
		flags |= insertIdle
	}
	if s.Gateway|classByte(&s.Class) != 0 {
		flags |= insertClass
	}
	dst = beginFrame(dst, TypeInsert, flags)
	dst = binary.BigEndian.AppendUint32(dst, s.Index)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.Incarnation))
	dst = binary.BigEndian.AppendUint32(dst, s.Rule)
	dst = append(dst, byte(s.Ingress), byte(s.Egress), byte(s.Flags), byte(s.Original.Proto))
	dst = appendAddress(dst, fam, &s.Original.Src)
	dst = appendAddress(dst, fam, &s.Original.Dst)
	dst = binary.BigEndian.AppendUint16(dst, s.Original.SrcPort)
	dst = binary.BigEndian.AppendUint16(dst, s.Original.DstPort)
	if flags&insertReplySrc != 0 {
		dst = appendAddress(dst, fam, &s.Reply.Src)
		dst = binary.BigEndian.AppendUint16(dst, s.Reply.SrcPort)
	}
	if flags&insertReplyDst != 0 {
		dst = appendAddress(dst, fam, &s.Reply.Dst)
		dst = binary.BigEndian.AppendUint16(dst, s.Reply.DstPort)
	}
	if flags&insertZone != 0 {
		dst = binary.BigEndian.AppendUint16(dst, s.Original.Zone)
	}
	if flags&insertIdle != 0 {
		dst = binary.BigEndian.AppendUint32(dst, s.Idle)
	}
	if flags&insertClass != 0 {
		dst = append(dst, s.Gateway, classByte(&s.Class))
	}
	switch s.Original.Proto {
	case packet.TCP:
		dst = appendEdges(dst, &s.Dir)
		if s.Flags&conntrack.Proxied != 0 {
			dst = binary.BigEndian.AppendUint32(dst, s.Offset)
		}
	case packet.SCTP:
		dst = appendTags(dst, &s.Dir)
	}
	return endFrame(dst, start)
}

// DecodeInsert reads an Insert; every field of s is overwritten. On an error s is undefined.
func DecodeInsert(f *Frame, s *conntrack.State) error {
	c := f.open(TypeInsert, insertFlags)
	fam := family(f.Flags & insertV6)
	*s = conntrack.State{Index: c.u32(), Incarnation: conntrack.Incarnation(c.u64())}
	s.Rule = c.u32()
	s.Ingress, s.Egress = packet.PortID(c.u8()), packet.PortID(c.u8())
	s.Flags = conntrack.Flags(c.u8())
	s.Sync = conntrack.SyncMode(f.Flags >> insertSync & 3)
	c.must(s.Sync <= conntrack.SyncNone, BadFlags)
	s.Original.Proto = packet.Proto(c.u8())
	c.tuples(f.Flags, fam, &s.Original, &s.Reply)
	if f.Flags&insertZone != 0 {
		s.Original.Zone = c.u16()
		s.Reply.Zone = s.Original.Zone
		c.must(s.Original.Zone != 0, BadFlags)
	}
	if f.Flags&insertIdle != 0 {
		s.Idle = c.u32()
		c.must(s.Idle != 0, BadFlags)
	}
	if f.Flags&insertClass != 0 {
		c.class(&s.Class)
	}
	switch s.Original.Proto {
	case packet.TCP:
		c.edges(&s.Dir)
		if s.Flags&conntrack.Proxied != 0 {
			s.Offset = c.u32()
		}
	case packet.SCTP:
		c.tags(&s.Dir)
	}
	return c.end()
}

// classByte packs what a class has beside rule, ports, gateway and sync mode.
func classByte(k *conntrack.Class) byte {
	b := byte(k.Mode) | k.Timeouts<<3
	if k.PickUp {
		b |= 1 << 2
	}
	if k.Logged {
		b |= 1 << 7
	}
	return b
}

// class reads gateway and class byte.
func (c *cursor) class(k *conntrack.Class) {
	k.Gateway = c.u8()
	b := c.u8()
	k.Mode, k.PickUp, k.Timeouts = conntrack.Mode(b&3), b>>2&1 != 0, b>>3&0xf
	k.Logged = b>>7 != 0
	c.must(k.Gateway|b != 0 && k.Mode <= conntrack.ModeSloppy && k.Timeouts < conntrack.TimeoutSetsMax && k.Gateway <= conntrack.GatewaysMax, BadFlags)
}

// tuples reads the addresses and ports of an Insert. o has its protocol already.
func (c *cursor) tuples(flags uint8, fam family, o, r *packet.Tuple) {
	o.Src, o.Dst = c.address(fam), c.address(fam)
	o.SrcPort, o.DstPort = c.u16(), c.u16()
	plain := o.Reply()
	*r = plain
	if flags&insertReplySrc != 0 {
		r.Src, r.SrcPort = c.address(fam), c.u16()
		c.must(r.Src != plain.Src || r.SrcPort != plain.SrcPort, BadFlags)
	}
	if flags&insertReplyDst != 0 {
		r.Dst, r.DstPort = c.address(fam), c.u16()
		c.must(r.Dst != plain.Dst || r.DstPort != plain.DstPort, BadFlags)
	}
}

// appendTags appends the SCTP part of Insert and Update.
func appendTags(dst []byte, dir *[2]conntrack.DirState) []byte {
	dst = append(dst, byte(dir[0].Seen), byte(dir[1].Seen))
	dst = binary.BigEndian.AppendUint32(dst, uint32(dir[0].MaxAck))
	return binary.BigEndian.AppendUint32(dst, uint32(dir[1].MaxAck))
}

// tags reads it.
func (c *cursor) tags(dir *[2]conntrack.DirState) {
	dir[0].Seen, dir[1].Seen = conntrack.Seen(c.u8()), conntrack.Seen(c.u8())
	dir[0].MaxAck, dir[1].MaxAck = uint64(c.u32()), uint64(c.u32())
}

// appendEdges appends the TCP part of an Insert.
func appendEdges(dst []byte, dir *[2]conntrack.DirState) []byte {
	dst = appendTraits(dst, dir)
	for d := range dir {
		if dir[d].MaxWin != 0 {
			dst = appendUint(dst, dir[d].End, endSize)
		}
	}
	for d := range dir {
		if peer := &dir[d^1]; peer.MaxWin != 0 {
			dst = appendUint(dst, uint64(ackField(dir[d].MaxAck, peer.End)), 3)
		}
	}
	return dst
}

// edges reads what appendEdges has written.
func (c *cursor) edges(dir *[2]conntrack.DirState) {
	c.traits(dir)
	for d := range dir {
		if dir[d].MaxWin != 0 {
			dir[d].End = c.uint(endSize)
		}
	}
	for d := range dir {
		if peer := &dir[d^1]; peer.MaxWin != 0 {
			dir[d].MaxAck = ackPosition(c.ack(c.uint(3)), peer.End)
		}
	}
	complete(dir)
}
