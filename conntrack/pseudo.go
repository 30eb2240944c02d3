package conntrack

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// Protocols without connections get pseudo-connections: whatever answers the first packet
// belongs to it. The tuple already says what answers what (an echo reply has another type
// than an echo request, G5), so all that is left is to count the answers.
//
//	 first packet           first answer               any packet, 3 s after the first
//	--------------> unreplied -------------> replied ----------------------------------> assured
//
// Both directions refresh (RFC 4787 REQ-6 demands the outbound and allows the inbound).

// streamAge is how old, in s, a pseudo-connection must be to count as a stream rather
// than a question and its answer; Linux wants more than 2 s too (G1).
const streamAge = 2

// trackPseudo notes a packet of a connection that is not TCP. The caller holds the home
// lock. Every such packet passes.
func (c *Conn) trackPseudo(dir Direction, seconds uint32) verdict {
	if dir == Reply {
		c.flags |= Replied
	}
	if c.flags&Replied != 0 && int32(seconds-c.born) > streamAge {
		c.flags |= Assured
	}
	return tracked
}

// MayOpen returns drop.Pass if a packet may begin a connection, otherwise why not.
// Only a SYN begins a TCP connection (B2, B3), but see MayPickUp.
// Only requests begin ICMP ones (G4); ND and MLD never come here (G6).
func MayOpen(p *packet.Parsed) drop.Reason {
	if p.Kind != packet.KindIP {
		return drop.Unset
	}
	if p.Fragment {
		return drop.Fragment
	}
	switch p.Tuple.Proto {
	case packet.TCP:
		if kindOf(p.TCPFlags) != kindSYN {
			return drop.TCPNoConnection
		}
	case packet.SCTP:
		return sctpMayOpen(p)
	case packet.ICMP, packet.ICMPv6:
		switch {
		case p.IsICMPError():
			return drop.ICMPErrorUnmatched
		case !p.IsICMPQuery():
			return drop.ICMPTypeUntracked
		case !isRequest(&p.Tuple):
			return drop.ICMPNoRequest
		}
	}
	return drop.Pass
}

// MayPickUp reports whether a packet may begin a connection in mid-stream, where the rule
// that admits it says so: a segment with ACK, and neither SYN, FIN nor RST (F6).
func MayPickUp(p *packet.Parsed) bool {
	return p.Kind == packet.KindIP && !p.Fragment && p.Tuple.Proto == packet.TCP && kindOf(p.TCPFlags) == kindACK
}

// isRequest reports whether an ICMP tuple is that of a query, not of its answer.
func isRequest(t *packet.Tuple) bool {
	typ := uint8(t.DstPort >> 8)
	if t.Proto == packet.ICMPv6 {
		return typ == packet.ICMPv6EchoRequest
	}
	switch typ {
	case packet.ICMPEchoRequest, packet.ICMPTimestampRequest,
		packet.ICMPInformationRequest, packet.ICMPAddressMaskRequest:
		return true
	}
	return false
}
