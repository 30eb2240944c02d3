package conntrack

import (
	"fmt"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// TCPState is the name of a TCP connection's state. It is never stored on its own
// account: it follows from what the two directions have done (stateOf), so that two nodes
// that agree on the sets agree on the name.
//
//	 SYN        SYN/ACK      ACK             FIN          its ACK        FIN          its ACK
//	----> SS --------> SR -------> ES ----------> FW ---------> CW ---------> LA ---------> TW
//	      |             ^                          |                           ^
//	      | SYN back    | SYN/ACK from one side    +--- FIN of the other ------+
//	      +----> S2 ----+     (from both: ES)
//
//	a reset that the peer believes leads from anywhere but TW to CL
type TCPState uint8

// The states, in the order of nf_conntrack. StateNone is any other protocol.
const (
	StateNone TCPState = iota
	SynSent
	SynRecv
	Established
	FinWait
	CloseWait
	LastAck
	TimeWait
	Close
	SynSent2 // simultaneous open
	statesCount
)

var stateNames = [statesCount]string{
	"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2",
}

// String returns the name that `conntrack -L` prints.
func (s TCPState) String() string {
	if s < statesCount {
		return stateNames[s]
	}
	return fmt.Sprintf("STATE_%d", uint8(s))
}

// states is stateOf ready for the path: by the five elements of each set that matter.
var states = func() (all [1 << (2 * seenStateBits)]TCPState) {
	for i := range all {
		all[i] = nameState(Seen(i>>seenStateBits), Seen(i&(1<<seenStateBits-1)))
	}
	return all
}()

// stateOf names the state that two sets amount to.
func stateOf(original, reply Seen) TCPState {
	const mask = 1<<seenStateBits - 1
	return states[int(original&mask)<<seenStateBits|int(reply&mask)]
}

// nameState is stateOf, worked out.
func nameState(original, reply Seen) TCPState {
	both, either := original&reply, original|reply
	switch {
	case either&SeenRST != 0:
		return Close
	case both&SeenFINAcked != 0:
		return TimeWait
	case both&SeenFIN != 0:
		return LastAck // also after FINs that crossed
	case either&SeenFINAcked != 0:
		return CloseWait
	case either&SeenFIN != 0:
		return FinWait
	case both&SeenSYNAcked != 0:
		return Established
	case either&SeenSYNAcked != 0:
		return SynRecv
	case both&SeenSYN != 0:
		return SynSent2
	case either&SeenSYN != 0:
		return SynSent
	}
	return StateNone
}

// timerOf is the timer of each state.
var timerOf = [statesCount]Timer{
	SynSent: TimerSynSent, SynRecv: TimerSynRecv, Established: TimerEstablished, FinWait: TimerFinWait,
	CloseWait: TimerCloseWait, LastAck: TimerLastAck, TimeWait: TimerTimeWait, Close: TimerClose, SynSent2: TimerSynSent,
}

// kind is what a segment is to the table. Where several flags are set the first in the
// order reset, SYN, FIN, ACK counts (BEHAVIOUR 1.1).
type kind uint8

const (
	kindSYN kind = iota
	kindSYNACK
	kindFIN
	kindACK
	kindRST
	kindNone
	kindsCount
)

// kindOf classifies a segment.
func kindOf(f packet.TCPFlags) kind {
	switch {
	case f&packet.FlagRST != 0:
		return kindRST
	case f&packet.FlagSYN != 0:
		if f&packet.FlagACK != 0 {
			return kindSYNACK
		}
		return kindSYN
	case f&packet.FlagFIN != 0:
		return kindFIN
	case f&packet.FlagACK != 0:
		return kindACK
	}
	return kindNone
}

// action is what the table says about a kind of segment in a state.
type action uint8

const (
	iv action = iota // invalid: dropped. The zero value, so that a gap drops
	tr               // track: window test, then note what it did
	fw               // forward: no test, no change, no refresh
	rs               // SYN again: the same, a newer one, or an older one to remember
	am               // SYN amid a live connection: forward and remember
	re               // reopen: a new life of the connection begins
	su               // supersede: the entry ends, and the packet is looked up again
	xs               // SYN that crosses ours: simultaneous open
	sa               // SYN/ACK: first, repeated, or the answer to a remembered SYN
	ch               // ACK to a SYN: a challenge, forward and remember
	ab               // reset by the side whose SYN was not answered yet
	an               // reset that answers a SYN
	rx               // reset that must prove itself (RFC 5961)
	rc               // reset while closing: believed
)

// tcpTable is the table of BEHAVIOUR 1.1 as actions; the next state follows from the sets.
// S2 stands after CL as in nf_conntrack.
var tcpTable = [2][kindsCount][statesCount]action{
	Original: {
		//        NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
		kindSYN: {iv, rs, am, am, am, am, am, re, re, fw}, // TW, CL: RFC 9293 section 3.6.1; only here may it come back (E5)
		//        a SYN/ACK from this side exists only where both sides sent a SYN
		kindSYNACK: {iv, iv, sa, iv, iv, iv, iv, iv, iv, sa},
		//        a FIN before the peer answered cannot be: it must acknowledge
		kindFIN: {iv, iv, tr, tr, tr, tr, tr, tr, tr, iv},
		//        SR: completes the handshake, with or without data (B13)
		kindACK: {iv, iv, tr, tr, tr, tr, tr, tr, tr, iv},
		//        TW: RFC 1337, a reset does not end it; FW to LA: positions may be old (D4)
		kindRST: {iv, ab, rx, rx, rc, rc, rc, fw, fw, rx},
		//        no flag that counts: the decoder refuses it too (A6)
		kindNone: {iv, iv, iv, iv, iv, iv, iv, iv, iv, iv},
	},
	Reply: {
		//        NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
		kindSYN: {iv, xs, iv, iv, iv, iv, iv, su, iv, fw}, // TW: the rules decide about the other side's connection (E6)
		//        SR and later: repeated, or the answer to a SYN that we only remembered (B9)
		kindSYNACK: {iv, sa, sa, sa, sa, sa, sa, sa, sa, sa},
		//        SR: a server may close before it was heard
		kindFIN: {iv, iv, tr, tr, tr, tr, tr, tr, tr, iv},
		//        SS: challenge ACK of an old connection (B7). S2: split handshake (B11)
		kindACK: {iv, ch, tr, tr, tr, tr, tr, tr, tr, fw},
		kindRST: {iv, an, rx, rx, rc, rc, rc, fw, fw, rx},
		//        as above
		kindNone: {iv, iv, iv, iv, iv, iv, iv, iv, iv, iv},
	},
}

// verdict is what tracking says of a packet. The zero value drops.
type verdict struct {
	effect effect
	reason drop.Reason // where it drops
}

// effect is what a packet that tracking has judged does.
type effect uint8

const (
	effectDrop      effect = iota
	effectTrack            // forwarded, and it refreshes the connection
	effectForward          // forwarded, without refresh
	effectReopen           // forwarded, and a new life has begun: the caller gives it its incarnation
	effectSupersede        // the caller removes the connection, and the packet is as without one
)

var (
	tracked  = verdict{effect: effectTrack}
	forward  = verdict{effect: effectForward}
	reopened = verdict{effect: effectReopen}
)

// dropped returns the verdict that drops for a reason.
func dropped(r drop.Reason) verdict { return verdict{reason: r} }

// trackTCP judges a segment of a connection and notes what it did. The caller holds the
// home lock.
func (c *Conn) trackTCP(p *packet.Parsed, dir Direction, mode Mode) verdict {
	v := c.step(p, dir, c.tcp(), mode)
	if v.effect != effectTrack && v.effect != effectReopen {
		return v
	}
	if dir == Reply {
		c.flags |= Replied
	}
	if c.tcp() == Established {
		if c.flags&Replied != 0 || mode == ModeSloppy {
			c.flags |= Assured | Replied
		}
		if p.TCPFlags&packet.FlagRST == 0 && mode != ModeSloppy { // else resetChecked has set it
			c.setWait(c.waitFor(p))
		}
	}
	return v
}

// step does what the table says.
func (c *Conn) step(p *packet.Parsed, dir Direction, state TCPState, mode Mode) verdict {
	k := kindOf(p.TCPFlags)
	if mode == ModeSloppy {
		return c.stepSloppy(p, dir, k, state)
	}
	switch tcpTable[dir&1][k][state] {
	case tr:
		if v := c.handshake(p, dir); v.effect != effectTrack {
			return v
		}
		v := c.window(p, dir)
		if v.effect == effectDrop && mode == ModeLiberal {
			v = tracked // it counts, but moves no edge (nf_conntrack_tcp_be_liberal)
		}
		if v.effect == effectTrack {
			c.note(p, dir)
		}
		return v
	case fw:
		return forward
	case rs:
		return c.synAgain(p)
	case am:
		if state != SynRecv || p.Seq+p.SegmentLen() != uint32(c.edge[Original].end) {
			c.rememberSYN(p)
		} // else the same SYN again: its SYN/ACK was lost behind us
		return forward
	case re:
		c.begin(p)
		return reopened
	case su:
		return verdict{effect: effectSupersede}
	case xs:
		c.open(p, Reply)
		return tracked
	case sa:
		return c.synAck(p, dir)
	case ch:
		c.remember(memo{kind: memoChallenge, pos: p.Ack})
		return forward
	case ab:
		return c.resetAborts(p)
	case an:
		return c.resetAnswers(p)
	case rx:
		return c.resetChecked(p, dir)
	case rc:
		c.sets[dir] |= SeenRST
		return tracked
	}
	return dropped(drop.TCPStateInvalid)
}

// note adds to the sets what an accepted ACK or FIN did.
func (c *Conn) note(p *packet.Parsed, dir Direction) {
	peer := dir ^ 1
	c.sets[peer] |= SeenSYNAcked
	if p.TCPFlags&packet.FlagFIN != 0 {
		c.sets[dir] |= SeenFIN
		if c.marks.ahead(dir) { // nothing comes after it: now the edge is known
			e := &c.edge[dir]
			e.setPosition(unwrap(e.position(), p.Seq+p.SegmentLen()))
			c.clearAhead(dir)
		}
	}
	if c.sets[peer]&SeenFIN != 0 && !after(uint32(c.edge[peer].end), p.Ack) {
		c.sets[peer] |= SeenFINAcked
	}
	if dir == Original {
		c.memoIs = 0 // whoever sent that SYN, the connection lives on
	}
}

// waitFor returns what an established connection waits for after an accepted segment.
func (c *Conn) waitFor(p *packet.Parsed) wait {
	if p.Window == 0 {
		return waitWindow
	}
	for d := Original; d <= Reply; d++ {
		if !c.marks.ahead(d) && after(uint32(c.edge[d].end), c.edge[d^1].maxAck) {
			return waitAck
		}
	}
	return waitNothing
}
