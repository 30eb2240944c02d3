package packet

import "encoding/binary"

// Options that later pieces repeat have this bit in their type (RFC 791 section 3.1).
const ipv4OptionCopied = 0x80

// Cutter cuts a packet into pieces, each a frame of its own: an IPv4 packet that is too long
// for the next link (RFC 791 section 3.2), or a datagram that came in pieces, which leave as
// they came. Make one with its fields set; Start comes before all else.
type Cutter struct {
	Frame []byte   // the packet, rewritten and addressed already. It is only read
	Ends  []uint16 // where the pieces end that it came in, in bytes of what is cut; nil: it was whole
	Split int      // where in Frame what is cut begins: IPv4, its L4
	MTU   int      // bytes of an IP packet, at least 68; IPv6 is not cut further than it came
	ID    uint32   // what all pieces get; IPv4: the lower 16 bits

	at, left int // of what is cut: done, and to do
	piece    int // in Ends
	later    [ipv4LenMax]byte
	laterLen int // of the headers of pieces after the first, Fragment header included
	firstLen int // of those of the first
}

const ipv4LenMax = 60

// Start begins with a packet that p describes.
func (c *Cutter) Start(p *Parsed) {
	c.at, c.left, c.piece = 0, int(p.End)-c.Split, 0
	c.firstLen = c.Split - ethernetLen
	if p.Version == 6 {
		c.firstLen += fragmentLen
		c.laterLen = c.firstLen
		return
	}
	header := c.Frame[ethernetLen:c.Split]
	n := ipv4Len
	copy(c.later[:], header[:ipv4Len])
	for options := header[ipv4Len:]; len(options) > 0 && options[0] != ipv4OptionEnd; {
		size := 1
		if options[0] != ipv4OptionNop {
			size = int(options[1]) // Decode has proven it
		}
		if options[0]&ipv4OptionCopied != 0 {
			n += copy(c.later[n:], options[:size])
		}
		options = options[size:]
	}
	for ; n%4 != 0; n++ {
		c.later[n] = ipv4OptionEnd
	}
	c.later[0] = 4<<4 | uint8(n/4)
	c.laterLen = n
}

// headerLen returns how long the headers of the next piece are, without Ethernet.
func (c *Cutter) headerLen() int {
	if c.at == 0 {
		return c.firstLen
	}
	return c.laterLen
}

// size returns how much the next piece takes: up to where one ended that came, and of that
// as many units of eight bytes as fit.
func (c *Cutter) size() int {
	n := c.left
	if c.Ends != nil {
		n = int(c.Ends[c.piece]) - c.at
	}
	if room := c.MTU - c.headerLen(); n > room && c.Frame[ethernetLen]>>4 == 4 {
		n = room &^ (pieceUnit - 1)
	}
	return n
}

func (c *Cutter) take(n int) {
	c.at, c.left = c.at+n, c.left-n
	if c.Ends != nil && c.at == int(c.Ends[c.piece]) {
		c.piece++
	}
}

// Count returns how many pieces are still to come.
func (c *Cutter) Count() (n int) {
	for rest := *c; rest.left > 0; n++ {
		rest.take(rest.size())
	}
	return n
}

// Largest returns the length in bytes of the largest IP packet among the pieces as they
// came: by it a datagram that nobody may cut fits the next link or not.
func (c *Cutter) Largest() (n int) {
	at, header := 0, c.firstLen
	for _, end := range c.Ends {
		n = max(n, header+int(end)-at)
		at, header = int(end), c.laterLen
	}
	return n
}

// Next writes the next piece to dst and returns the length of the frame, 0 after the last
// or where dst is too short.
func (c *Cutter) Next(dst []byte) int {
	if c.left == 0 {
		return 0
	}
	n, header := c.size(), ethernetLen+c.headerLen()
	frameLen := max(header+n, frameMin)
	if len(dst) < frameLen {
		return 0
	}
	copy(dst[:ethernetLen], c.Frame)
	if c.Frame[ethernetLen]>>4 == 4 {
		c.putHeader4(dst[ethernetLen:header], n)
	} else {
		c.putHeaders6(dst[:header], n)
	}
	at := c.Split + c.at
	copy(dst[header:], c.Frame[at:at+n])
	clear(dst[header+n : frameLen])
	c.take(n)
	return frameLen
}

// putHeader4 writes the IPv4 header of the next piece, of n bytes.
func (c *Cutter) putHeader4(h []byte, n int) {
	if c.at == 0 {
		copy(h, c.Frame[ethernetLen:])
	} else {
		copy(h, c.later[:])
	}
	field := binary.BigEndian.Uint16(h[ipv4FragAt:])&^ipv4FragMask | uint16(c.at/pieceUnit)
	if n < c.left {
		field |= ipv4MoreFrags
	}
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+n))
	binary.BigEndian.PutUint16(h[ipv4IDAt:], uint16(c.ID))
	binary.BigEndian.PutUint16(h[ipv4FragAt:], field)
	putSum4(h)
}

// putHeaders6 writes the IPv6 headers of the next piece, of n bytes: those in front of what
// is cut, and a Fragment header.
func (c *Cutter) putHeaders6(h []byte, n int) {
	copy(h, c.Frame[:c.Split])
	named := nextAt(h, c.Split)
	f := h[c.Split:]
	f[0], f[1] = h[named], 0
	h[named] = uint8(extFragment)
	field := uint16(c.at)
	if n < c.left {
		field |= fragmentMore
	}
	binary.BigEndian.PutUint16(f[fragmentFields:], field)
	binary.BigEndian.PutUint32(f[fragmentIDAt:], c.ID)
	binary.BigEndian.PutUint16(h[ethernetLen+4:], uint16(len(h)-ethernetLen-ipv6Len+n))
}
