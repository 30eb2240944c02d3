package packet

import "encoding/binary"

// AppendReset writes to dst a TCP reset in answer to the segment in frame, in the name of
// its destination, and returns the length of the frame. The sequence numbers are those of
// a closed port (RFC 9293 section 3.10.7.1): with ACK, the reset carries the number that
// the sender expects; without, number 0, and it acknowledges the whole segment.
//
// frame must still be as it was received. It returns 0 where no reset may be sent: in
// answer to a reset, to what is not TCP, to a fragment, to anything to or from a group,
// or when dst is too short. dst must not overlap frame. Limiting the rate is up to the caller.
func AppendReset(dst, frame []byte, p *Parsed) int {
	if p.Tuple.Proto != TCP || !answerable(frame, p) || p.TCPFlags&FlagRST != 0 {
		return 0
	}
	h := header{
		to: SrcMAC(frame), from: DstMAC(frame), src: p.Tuple.Dst, dst: p.Tuple.Src,
		proto: TCP, ttl: ttlOwn, class: classBestEffort, length: tcpLen,
	}
	tcp, frameLen := h.put(dst)
	if frameLen == 0 {
		return 0
	}
	binary.BigEndian.PutUint16(tcp[0:], p.Tuple.DstPort)
	binary.BigEndian.PutUint16(tcp[2:], p.Tuple.SrcPort)
	if p.TCPFlags&FlagACK != 0 {
		binary.BigEndian.PutUint32(tcp[4:], p.Ack)
		tcp[13] = uint8(FlagRST)
	} else {
		binary.BigEndian.PutUint32(tcp[8:], p.Seq+p.SegmentLen())
		tcp[13] = uint8(FlagRST | FlagACK)
	}
	tcp[12] = tcpLen / 4 << 4
	h.putSum(tcp, tcpSumAt)
	return frameLen
}
