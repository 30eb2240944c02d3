package packet

import (
	"encoding/binary"

	"holdfast/dataplane/drop"
)

// The errors about pieces of IPv6 datagrams (RFC 8200 section 4.5). IPv4 has none that a
// firewall should send: there only the destination gives up on a datagram (RFC 1122
// section 3.3.2).
const (
	icmpv6CodeReassembly = 1 // of time exceeded
	icmpv6CodeField      = 0 // of parameter problem: an erroneous field, named by its offset
	ipv6LengthAt         = 4
)

// AppendReassemblyTimeout writes to dst an ICMPv6 time exceeded about a datagram whose pieces
// have not come in time, quoting its first piece, which is the one in frame: without it
// nobody is told. For the rest see AppendTimeExceeded.
func AppendReassemblyTimeout(dst, frame []byte, p *Parsed, from Addr) int {
	if p.Version != 6 || !p.Fragment {
		return 0
	}
	if q, why := PieceOf(frame, p); why != drop.Pass || q.Start != 0 {
		return 0
	}
	return putError(dst, frame, p, &icmpError{from: from, kind: icmpv6TimeExceeded, code: icmpv6CodeReassembly, aboutPiece: true})
}

// AppendPieceProblem writes to dst an ICMPv6 parameter problem about a piece that PieceOf
// has refused: it names the payload length of one that is no multiple of eight long, and
// the fragment offset of one that would end past 65,535 bytes. About an empty piece RFC
// 8200 has no error to send, and it returns 0. For the rest see AppendTimeExceeded.
func AppendPieceProblem(dst, frame []byte, p *Parsed, from Addr) int {
	n := int(p.End) - int(p.L4)
	if p.Version != 6 || !p.Fragment || n == 0 {
		return 0
	}
	if _, why := PieceOf(frame, p); why == drop.Pass {
		return 0 // nothing is wrong with it alone
	}
	pointer := uint32(ipv6LengthAt)
	field := binary.BigEndian.Uint16(frame[p.L4-fragmentLen+fragmentFields:])
	if field&fragmentMore == 0 || n%pieceUnit == 0 {
		pointer = uint32(p.L4-p.L3) - fragmentLen + fragmentFields
	}
	return putError(dst, frame, p, &icmpError{
		from: from, kind: icmpv6ParameterProblem, code: icmpv6CodeField, rest: pointer, aboutPiece: true,
	})
}
