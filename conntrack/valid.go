package conntrack

import (
	"time"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// idleMax is the longest idleness that a living connection can have.
const idleMax = uint32(timeoutMax/time.Millisecond) / 2 * 3

// valid reports whether packets could have brought a connection into this state. It is
// the border between what a peer says and what the table believes: whatever it lets
// through, tracking copes with.
func (s *State) valid() bool {
	nat, possible := natFlags(&s.Original, &s.Reply)
	switch {
	case !possible || s.Flags&^flagsKnown != 0 || s.Flags&(SourceNAT|DestinationNAT) != nat:
		return false
	case s.Flags&Assured != 0 && s.Flags&Replied == 0:
		return false
	case s.Flags&PickedUp != 0 && (s.Original.Proto != packet.TCP || nat != 0):
		return false
	case s.Flags&Proxied != 0 && (s.Original.Proto != packet.TCP || s.Flags&PickedUp != 0):
		return false
	case s.Flags&Spliced != 0 && s.Flags&Proxied == 0, s.Offset != 0 && s.Flags&Proxied == 0:
		return false
	case s.Incarnation == 0 || s.Incarnation>>63 != 0 || s.Idle > idleMax || !s.Class.valid():
		return false
	case !validTuple(&s.Original) || !validTuple(&s.Reply):
		return false
	}
	if s.Original.Proto == packet.SCTP {
		return s.validSCTP()
	}
	if s.Original.Proto != packet.TCP {
		return s.Dir == [2]DirState{}
	}
	o, r := &s.Dir[Original], &s.Dir[Reply]
	if o.MaxWin == 0 || r.MaxWin == 0 && o.Seen&SeenSYNAcked != 0 {
		return false // the first SYN, and a SYN/ACK, show a window
	}
	return o.valid(r) && r.valid(o)
}

// valid does the same for one direction of a TCP connection.
func (s *DirState) valid(peer *DirState) bool {
	if s.Seen&^seenKnown != 0 || s.Scale > 14 || s.Scale > 0 && s.Seen&SeenScale == 0 {
		return false
	}
	if peer.MaxWin == 0 {
		if s.MaxAck != 0 {
			return false
		}
	} else if s.MaxAck > peer.End || peer.End-s.MaxAck >= 1<<31 {
		return false
	}
	if s.MaxWin == 0 { // not seen, but for a reset that answers the first SYN
		return s.Seen&^SeenRST == 0 && s.End == 0 && s.MaxEnd == 0
	}
	switch {
	case s.MaxWin > windowMax || s.Seen&SeenSYN == 0:
		return false
	case s.Seen&SeenFINAcked != 0 && s.Seen&SeenFIN == 0:
		return false
	case s.End < 1<<32 || s.End >= 1<<55:
		return false
	}
	return s.MaxEnd >= s.End && s.MaxEnd-s.End <= windowMax
}

// validPort reports whether a logical port can exist.
func validPort(p packet.PortID) bool { return p < drop.PortsMax || p == packet.NoPort }

// validTuple reports whether the decoder could find this tuple in a packet that begins or
// answers a connection.
func validTuple(t *packet.Tuple) bool {
	if t.Src == t.Dst || !validAddr(&t.Src) || !validAddr(&t.Dst) {
		return false
	}
	switch t.Proto {
	case packet.TCP, packet.UDP, packet.UDPLite, packet.SCTP, dccp:
		return true
	case packet.ICMP, packet.ICMPv6:
		reply := t.Reply()
		return t.Src.Is4() == (t.Proto == packet.ICMP) && (isRequest(t) || isRequest(&reply))
	}
	return t.SrcPort == 0 && t.DstPort == 0
}

// dccp has ports too, whether or not the decoder reads them.
const dccp packet.Proto = 33

// validAddr reports whether a connection can have an end there.
func validAddr(a *packet.Addr) bool {
	unspecified4 := packet.Addr{10: 0xff, 11: 0xff}
	return *a != packet.Addr{} && *a != unspecified4 && !a.IsMulticast()
}
