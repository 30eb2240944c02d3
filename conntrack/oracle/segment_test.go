package oracle

import (
	"encoding/binary"
	"fmt"
	"strings"

	"holdfast/dataplane/packet"
)

// side is where a packet comes from. The client is on the lan, the server on the wan.
type side uint8

const (
	lan side = iota
	wan
)

func (s side) peer() side { return s ^ 1 }

func (s side) String() string {
	if s == lan {
		return "->"
	}
	return "<-"
}

// flow is the pair of ends that a sequence of packets runs between, as on the lan's side.
type flow struct {
	client, server         [4]byte
	clientPort, serverPort uint16 // identifier and 0 for ICMP
	proto                  packet.Proto
}

// segment is one packet of a flow.
type segment struct {
	from     side
	flags    packet.TCPFlags
	seq, ack uint32
	win      uint16
	length   uint16 // payload
	scale    int8   // window scale option, or -1
	sackOK   bool
	sack     []uint32 // left and right edges
	icmp     uint8    // ICMP type
	quote    bool     // ICMP: a quoted packet instead of an echo
	flaw     flaw
	note     string // why the generator sent it
}

// flaw is what is wrong with a frame.
type flaw uint8

const (
	sound flaw = iota
	badChecksum
	badOffset    // TCP data offset of 4, or past the packet; UDP length of 7
	badHeaderSum // IPv4 header checksum
	shortSegment // the transport header is cut
	flawsCount
)

var flawNames = [flawsCount]string{"", "bad-checksum", "bad-offset", "bad-header-sum", "short"}

var flagNames = []struct {
	flag packet.TCPFlags
	name byte
}{
	{packet.FlagSYN, 'S'}, {packet.FlagFIN, 'F'}, {packet.FlagRST, 'R'}, {packet.FlagPSH, 'P'}, {packet.FlagACK, 'A'},
	{packet.FlagURG, 'U'}, {packet.FlagECE, 'E'}, {packet.FlagCWR, 'C'},
}

// String returns the segment as a row of a trace; numbers are absolute.
func (s *segment) String() string {
	var b strings.Builder
	b.WriteString(s.from.String())
	b.WriteByte(' ')
	n := b.Len()
	for _, f := range flagNames {
		if s.flags&f.flag != 0 {
			b.WriteByte(f.name)
		}
	}
	if b.Len() == n {
		b.WriteByte('-')
	}
	fmt.Fprintf(&b, " seq=%d ack=%d win=%d len=%d", s.seq, s.ack, s.win, s.length)
	if s.scale >= 0 {
		fmt.Fprintf(&b, " ws=%d", s.scale)
	}
	if s.sackOK {
		b.WriteString(" sackok")
	}
	if s.sack != nil {
		fmt.Fprintf(&b, " sack=%d", s.sack)
	}
	if s.icmp != 0 {
		fmt.Fprintf(&b, " icmp=%d", s.icmp)
	}
	if s.flaw != sound {
		fmt.Fprintf(&b, " %s", flawNames[s.flaw])
	}
	if s.note != "" {
		fmt.Fprintf(&b, "  (%s)", s.note)
	}
	return b.String()
}

// span is how much sequence space the segment takes.
func (s *segment) span() uint32 {
	n := uint32(s.length)
	if s.flags&packet.FlagSYN != 0 {
		n++
	}
	if s.flags&packet.FlagFIN != 0 {
		n++
	}
	return n
}

// end is the sequence number after the segment.
func (s *segment) end() uint32 { return s.seq + s.span() }

const (
	etherLen = 14
	ipLen    = 20
)

// frame appends the segment of flow f as an Ethernet frame to dst. id goes into the IPv4
// header, to know the packet by.
func (s *segment) frame(dst []byte, f *flow, id uint16) []byte {
	dst = append(dst, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0)
	ip := len(dst)
	src, to := f.client, f.server
	sport, dport := f.clientPort, f.serverPort
	if s.from == wan {
		src, to, sport, dport = to, src, dport, sport
	}
	dst = append(dst, 0x45, 0, 0, 0, byte(id>>8), byte(id), 0x40, 0, 64, byte(f.proto), 0, 0)
	dst = append(dst, src[:]...)
	dst = append(dst, to[:]...)
	l4 := len(dst)
	sumAt := 0
	switch f.proto {
	case packet.TCP:
		dst, sumAt = s.tcp(dst, sport, dport), 16
	case packet.UDP:
		dst = binary.BigEndian.AppendUint16(dst, sport)
		dst = binary.BigEndian.AppendUint16(dst, dport)
		dst = binary.BigEndian.AppendUint16(dst, 8+s.length)
		dst, sumAt = append(dst, 0, 0), 6
	case packet.ICMP:
		dst = append(dst, s.icmp, 0, 0, 0)
		dst = binary.BigEndian.AppendUint16(dst, f.clientPort)
		dst, sumAt = append(dst, 0, 1), 2
	}
	dst = append(dst, make([]byte, s.length)...)
	if s.quote { // of a packet that was never sent: to port 9 of the source
		quoted := dst[l4+8:]
		copy(quoted, []byte{0x45, 0, 0, 28, 0, 0, 0x40, 0, 60, 17, 0, 0})
		copy(quoted[12:], to[:])
		copy(quoted[16:], src[:])
		copy(quoted[20:], []byte{0xbf, 0xff, 0, 9, 0, 8, 0, 0})
		binary.BigEndian.PutUint16(quoted[10:], ^fold(sum16(quoted[:20])))
	}
	switch s.flaw {
	case badOffset:
		if f.proto == packet.TCP {
			dst[l4+12] = dst[l4+12]&0x0f | 0x40
		} else if f.proto == packet.UDP {
			binary.BigEndian.PutUint16(dst[l4+4:], 7)
		}
	case shortSegment:
		dst = dst[:l4+7]
		sumAt = 0
	}
	s.finish(dst, ip, l4, sumAt, f)
	return dst
}

// tcp appends the TCP header, with zero for a checksum.
func (s *segment) tcp(dst []byte, sport, dport uint16) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, sport)
	dst = binary.BigEndian.AppendUint16(dst, dport)
	dst = binary.BigEndian.AppendUint32(dst, s.seq)
	dst = binary.BigEndian.AppendUint32(dst, s.ack)
	dst = append(dst, 0, byte(s.flags))
	dst = binary.BigEndian.AppendUint16(dst, s.win)
	dst = append(dst, 0, 0, 0, 0)
	if s.scale >= 0 {
		dst = append(dst, 1, 3, 3, byte(s.scale))
	}
	if s.sackOK {
		dst = append(dst, 1, 1, 4, 2)
	}
	if len(s.sack) > 0 {
		dst = append(dst, 1, 1, 5, byte(2+4*len(s.sack)))
		for _, edge := range s.sack {
			dst = binary.BigEndian.AppendUint32(dst, edge)
		}
	}
	dst[start+12] = byte((len(dst) - start) / 4 << 4)
	return dst
}

// finish fills in lengths and checksums.
func (s *segment) finish(dst []byte, ip, l4, sumAt int, f *flow) {
	binary.BigEndian.PutUint16(dst[ip+2:], uint16(len(dst)-ip))
	binary.BigEndian.PutUint16(dst[ip+10:], ^fold(sum16(dst[ip:l4])))
	if s.flaw == badHeaderSum {
		dst[ip+10] ^= 0x55
	}
	if sumAt == 0 {
		return
	}
	total := sum16(dst[l4:])
	if f.proto != packet.ICMP {
		total += sum16(dst[ip+12:l4]) + uint32(f.proto) + uint32(len(dst)-l4)
	}
	sum := ^fold(total)
	if s.flaw == badChecksum {
		sum ^= 0x1111
	}
	if sum == 0 && f.proto == packet.UDP {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(dst[l4+sumAt:], sum)
}

func sum16(b []byte) (total uint32) {
	for ; len(b) >= 2; b = b[2:] {
		total += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		total += uint32(b[0]) << 8
	}
	return total
}

func fold(total uint32) uint16 {
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}
