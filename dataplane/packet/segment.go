package packet

import "encoding/binary"

// Segment is a TCP segment of our own, without data, in the name of one end of a connection.
type Segment struct {
	To, From MAC   // the next hop; the port that the frame leaves by
	Tuple    Tuple // as it leaves
	Seq, Ack uint32
	Flags    TCPFlags
	Window   uint16
	Offer    Offer // with SYN
}

// Offer is what a SYN says in its options.
type Offer struct {
	Has    TCPOptions // of HasMSS, HasWScale and HasSACKPermitted
	MSS    uint16     // with HasMSS
	WScale uint8      // with HasWScale
}

// SegmentLen is the longest frame that AppendSegment writes.
const SegmentLen = ethernetLen + ipv6Len + tcpLen + 3*segmentOption

// segmentOption is the length of each option that we write, padded in front with NOPs:
//
//	02 04 mss mss    01 01 04 02    01 03 03 scale
const segmentOption = 4

// AppendSegment writes the segment to dst and returns the length of the frame. It returns 0
// where the tuple is not TCP between two hosts of one family, or dst is too short.
func AppendSegment(dst []byte, s *Segment) int {
	if s.Tuple.Proto != TCP || !between(&s.Tuple) {
		return 0
	}
	var all [3 * segmentOption]byte
	options := s.Offer.put(all[:0])
	h := header{
		to: s.To, from: s.From, src: s.Tuple.Src, dst: s.Tuple.Dst,
		proto: TCP, ttl: ttlOwn, class: classBestEffort, length: tcpLen + len(options),
	}
	tcp, frameLen := h.put(dst)
	if frameLen == 0 {
		return 0
	}
	binary.BigEndian.PutUint16(tcp[0:], s.Tuple.SrcPort)
	binary.BigEndian.PutUint16(tcp[2:], s.Tuple.DstPort)
	binary.BigEndian.PutUint32(tcp[4:], s.Seq)
	binary.BigEndian.PutUint32(tcp[8:], s.Ack)
	tcp[12], tcp[13] = uint8(len(tcp)/4<<4), uint8(s.Flags)
	binary.BigEndian.PutUint16(tcp[tcpWindowAt:], s.Window)
	copy(tcp[tcpLen:], options)
	h.putSum(tcp, tcpSumAt)
	return frameLen
}

// put appends the options.
func (o *Offer) put(all []byte) []byte {
	if o.Has&HasMSS != 0 {
		all = append(all, tcpOptionMSS, tcpOptionMSSLen, byte(o.MSS>>8), byte(o.MSS))
	}
	if o.Has&HasSACKPermitted != 0 {
		all = append(all, tcpOptionNop, tcpOptionNop, tcpOptionSACKPermitted, 2)
	}
	if o.Has&HasWScale != 0 {
		all = append(all, tcpOptionNop, tcpOptionWScale, 3, o.WScale)
	}
	return all
}
