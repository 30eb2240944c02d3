package conntrack

import "holdfast/dataplane/packet"

// An SCTP association in an entry. It has no windows, so its two tags, which prove what
// windows prove in TCP, lie where TCP has its edges:
//
//	edge[d].maxAck   the tag that packets of direction d carry
//	edge[d].maxEnd   the same of what is remembered
//	sets[d]          what direction d did, as SCTPSeen
//	memoIs           what is remembered << 1 | who sent it
//
// In State the tag is Dir[d].MaxAck and the set Dir[d].Seen; both are joins as TCP's are.

// sctp unpacks the association. The caller holds the home lock.
func (c *Conn) sctp() (v sctpView) {
	for d := range c.edge {
		v.tag[d], v.memoTags[d], v.sets[d] = c.edge[d].maxAck, c.edge[d].maxEnd, SCTPSeen(c.sets[d])
	}
	v.state = c.sctpState()
	v.memo, v.memoBy = sctpMemo(c.memoIs>>1), Direction(c.memoIs&1)
	return v
}

// setSCTP packs it.
func (c *Conn) setSCTP(v *sctpView) {
	for d := range c.edge {
		c.edge[d].maxAck, c.edge[d].maxEnd, c.sets[d] = v.tag[d], v.memoTags[d], Seen(v.sets[d])
	}
	c.memoIs = uint8(v.memo)<<1 | uint8(v.memoBy&1)
}

// sctpState returns the state of an association.
func (c *Conn) sctpState() SCTPState {
	return sctpStateOf(SCTPSeen(c.sets[Original]), SCTPSeen(c.sets[Reply]))
}

// associate starts a life with the first packet of an association.
func (c *Conn) associate(p *packet.Parsed) {
	c.forget()
	var v sctpView
	v.begin(p)
	c.setSCTP(&v)
}

// trackSCTP judges a packet of an association and notes what it did. due says that the
// exported form has changed. The caller holds the home lock.
func (c *Conn) trackSCTP(p *packet.Parsed, dir Direction) (v verdict, due bool) {
	was := c.sctp()
	view, flags := was, c.flags
	v = view.step(p, dir)
	switch v.effect {
	case effectReopen:
		c.flags &= bothNAT
	case effectTrack, effectForward:
	default:
		return v, false
	}
	c.setSCTP(&view)
	if v.effect != effectForward {
		if dir == Reply {
			c.flags |= Replied
		}
		if c.flags&Replied != 0 && view.state == SCTPEstablished {
			c.flags |= Assured
		}
	}
	return v, view.tag != was.tag || view.sets != was.sets || c.flags != flags
}

// validSCTP reports whether packets could have brought an association into this state.
func (s *State) validSCTP() bool {
	var v sctpView
	for d := range s.Dir {
		x := &s.Dir[d]
		if x.Scale != 0 || x.MaxWin != 0 || x.End != 0 || x.MaxEnd != 0 || x.MaxAck >= 1<<32 {
			return false
		}
		v.tag[d], v.sets[d] = uint32(x.MaxAck), SCTPSeen(x.Seen)
	}
	v.state = sctpStateOf(v.sets[Original], v.sets[Reply])
	return v.valid()
}

// SCTP returns the state of an association, SCTPNone for other protocols.
func (s *State) SCTP() SCTPState {
	if s.Original.Proto != packet.SCTP {
		return SCTPNone
	}
	return sctpStateOf(SCTPSeen(s.Dir[Original].Seen), SCTPSeen(s.Dir[Reply].Seen))
}

// sctpTimerOf is the timer of each state.
var sctpTimerOf = [sctpStatesCount]Timer{
	SCTPNone: TimerSCTPInit, SCTPInitSent: TimerSCTPInit, SCTPCookieWait: TimerSCTPCookieWait, SCTPCookieEchoed: TimerSCTPCookieEchoed,
	SCTPEstablished: TimerSCTPEstablished, SCTPShutdownSent: TimerSCTPShutdownSent, SCTPShutdownRecd: TimerSCTPShutdownRecd,
	SCTPShutdownAckSent: TimerSCTPShutdownAckSent, SCTPHeartbeatSent: TimerSCTPHeartbeat, SCTPClosed: TimerSCTPClosed,
}
