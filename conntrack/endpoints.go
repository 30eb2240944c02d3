package conntrack

import (
	"encoding/binary"

	"holdfast/dataplane/packet"
)

// Tuples are packed. Both tuples of a connection have one protocol, zone and family, so
// that much is kept once, and IPv4 addresses have their four bytes:
//
//	IPv4   Conn.addrs   original source | destination    reply source | destination
//	IPv6   Conn.addrs   original source
//	       Table.six    original destination, and the reply's source or destination, as far
//	                    as it is translated
//	       Table.twice  the reply's destination where both are translated
//
// The other addresses of an IPv6 reply are those of the original. six and twice are
// arrays beside the entries, with the same index: memory that is never written is never
// taken, so IPv4 alone costs nothing there.

// six is what of an IPv6 connection does not fit into its entry: 32 bytes.
type six struct {
	dst        packet.Addr // of the original direction
	translated packet.Addr
}

// words6 packs one IPv6 address, addr6 unpacks it.
func words6(a *packet.Addr) [2]uint64 {
	return [2]uint64{binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:])}
}

func addr6(words [2]uint64) (out packet.Addr) {
	binary.LittleEndian.PutUint64(out[:8], words[0])
	binary.LittleEndian.PutUint64(out[8:], words[1])
	return out
}

// setTuples packs the tuples, which natFlags has found possible, into an entry that
// nobody else can find; nat is what it returned.
func (t *Table) setTuples(c *Conn, index uint32, original, reply *packet.Tuple, nat Flags) {
	c.zone, c.proto = original.Zone, original.Proto
	c.ports = [2]uint32{
		uint32(original.SrcPort) | uint32(original.DstPort)<<16,
		uint32(reply.SrcPort) | uint32(reply.DstPort)<<16,
	}
	if original.Src.Is4() {
		c.addrs = [2]uint64{uint64(packet.PairOf(original)), uint64(packet.PairOf(reply))}
		return
	}
	c.marks |= markSix
	c.addrs = words6(&original.Src)
	s := &t.six.all[index]
	s.dst = original.Dst
	switch nat {
	case SourceNAT:
		s.translated = reply.Dst
	case DestinationNAT:
		s.translated = reply.Src
	case bothNAT:
		s.translated = reply.Src
		t.twice.all[index] = reply.Dst
	}
}

// tupleOf unpacks one tuple. The caller holds the entry's home, or a shard one of whose
// slots names it.
func (t *Table) tupleOf(c *Conn, index uint32, dir Direction) (out packet.Tuple) {
	ports := c.ports[dir&1]
	out.SrcPort, out.DstPort, out.Zone, out.Proto = uint16(ports), uint16(ports>>16), c.zone, c.proto
	if c.marks&markSix == 0 {
		out.Src, out.Dst = packet.Pair(c.addrs[dir&1]).Addresses()
		return out
	}
	s := &t.six.all[index]
	if dir == Original {
		out.Src, out.Dst = addr6(c.addrs), s.dst
		return out
	}
	switch c.flags & bothNAT {
	case 0:
		out.Src, out.Dst = s.dst, addr6(c.addrs)
	case SourceNAT:
		out.Src, out.Dst = s.dst, s.translated
	case DestinationNAT:
		out.Src, out.Dst = s.translated, addr6(c.addrs)
	case bothNAT:
		out.Src, out.Dst = s.translated, t.twice.all[index]
	}
	return out
}

// hasTuple reports whether the tuple of a direction is this one. The lock is as for
// tupleOf.
func (t *Table) hasTuple(c *Conn, index uint32, dir Direction, tuple *packet.Tuple) bool {
	if c.marks&markSix == 0 {
		last := uint64(c.ports[dir&1]) | uint64(c.zone)<<32 | uint64(c.proto)<<48
		return uint64(packet.PairOf(tuple)) == c.addrs[dir&1] && lastWord(tuple) == last && tuple.Src.Is4() && tuple.Dst.Is4()
	}
	own := t.tupleOf(c, index, dir)
	return sameTuple(&own, tuple)
}
