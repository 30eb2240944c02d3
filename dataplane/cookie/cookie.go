package cookie

import (
	"encoding/binary"

	"holdfast/dataplane/packet"
)

// Secret is what makes cookies, and what accepts them.
type Secret [2]uint64

// SecretOf takes a secret out of 16 random or derived bytes.
func SecretOf(raw [16]byte) Secret {
	return Secret{binary.LittleEndian.Uint64(raw[:8]), binary.LittleEndian.Uint64(raw[8:])}
}

// Generation is a stretch of time. Cookies of one generation are made alike.
type Generation uint32

// generationSeconds is how long a generation lasts: a client that lost its first
// acknowledgement has at least so much time to come back with data, as under Linux
// (COOKIE_VALID, two minutes at most).
const generationSeconds = 64

// GenerationAt returns the generation of a time in seconds since 1970.
func GenerationAt(unix int64) Generation { return Generation(unix / generationSeconds) }

// segmentSizes are the sizes that a cookie can tell, in bytes: the smallest that hosts use,
// both defaults (RFC 9293 section 3.7.1, for IPv6 rounded down), and what is left of
// Ethernet's by IPv6, tunnels and PPPoE.
var segmentSizes = [8]uint16{216, 536, 1200, 1300, 1360, 1400, 1440, 1460}

// Where things are in a cookie.
const (
	infoBits   = 9
	infoMask   = 1<<infoBits - 1
	macShift   = infoBits
	spread     = 32 - infoBits // the MAC's high nine bits
	sizeShift  = 6
	scaleShift = 2
	scaleMask  = 15
	scaleNone  = 15
	sackBit    = 1 << 1
	parityBit  = 1
)

// Fit returns what a cookie can tell of a SYN's offer, with a segment size of most at most.
// A size below the smallest counts as that; without one the default holds.
func Fit(p *packet.Parsed, most uint16) packet.Offer {
	size := uint16(536)
	if p.Version == 6 {
		size = 1220
	}
	if p.TCPOptions&packet.HasMSS != 0 {
		size = p.MSS
	}
	o := packet.Offer{Has: packet.HasMSS | p.TCPOptions&(packet.HasWScale|packet.HasSACKPermitted), MSS: segmentSizes[sizeIndex(min(size, most))]}
	if o.Has&packet.HasWScale != 0 {
		o.WScale = p.WScale
	}
	return o
}

// sizeIndex returns the largest size of the table that is not above size.
func sizeIndex(size uint16) uint32 {
	i := len(segmentSizes) - 1
	for i > 0 && segmentSizes[i] > size {
		i--
	}
	return uint32(i)
}

// Make returns the cookie that answers a SYN with a tuple and a first number, in an offer
// that Fit has made.
func (s *Secret) Make(t *packet.Tuple, first uint32, o *packet.Offer, g Generation) uint32 {
	info := sizeIndex(o.MSS)<<sizeShift | scaleNone<<scaleShift | uint32(g)&parityBit
	if o.Has&packet.HasWScale != 0 {
		info = info&^(scaleMask<<scaleShift) | uint32(o.WScale&scaleMask)<<scaleShift
	}
	if o.Has&packet.HasSACKPermitted != 0 {
		info |= sackBit
	}
	return s.seal(t, first, info, g)
}

// Check reports whether a number is the cookie that a client with this tuple and first
// number has got, not long before the generation now.
func (s *Secret) Check(t *packet.Tuple, first, cookie uint32, now Generation) bool {
	info := infoOf(cookie)
	if (info^uint32(now))&parityBit == 0 {
		return s.seal(t, first, info, now) == cookie
	}
	return s.seal(t, first, info, now-1) == cookie || s.seal(t, first, info, now+1) == cookie
}

// OfferOf reads the offer out of a cookie.
func OfferOf(cookie uint32) packet.Offer {
	info := infoOf(cookie)
	o := packet.Offer{Has: packet.HasMSS, MSS: segmentSizes[info>>sizeShift]}
	if scale := info >> scaleShift & scaleMask; scale != scaleNone {
		o.Has |= packet.HasWScale
		o.WScale = uint8(scale)
	}
	if info&sackBit != 0 {
		o.Has |= packet.HasSACKPermitted
	}
	return o
}

func infoOf(cookie uint32) uint32 { return (cookie ^ cookie>>spread) & infoMask }

// seal makes the cookie of the low nine bits.
func (s *Secret) seal(t *packet.Tuple, first, info uint32, g Generation) uint32 {
	le := binary.LittleEndian
	mac := s.sum([7]uint64{
		le.Uint64(t.Src[:8]), le.Uint64(t.Src[8:]), le.Uint64(t.Dst[:8]), le.Uint64(t.Dst[8:]),
		uint64(t.SrcPort) | uint64(t.DstPort)<<16 | uint64(t.Zone)<<32 | uint64(t.Proto)<<48,
		uint64(first) | uint64(g)<<32, uint64(info),
	})
	high := uint32(mac) >> macShift << macShift
	return high | info ^ high>>spread
}
