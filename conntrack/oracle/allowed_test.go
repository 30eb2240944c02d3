package oracle

import (
	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// allowed is one difference that is a decision. Rows are tried in order; each is as
// narrow as what it describes.
type allowed struct {
	name     string
	decision string // why, and which item of the behaviour checklist asks for it
	match    func(c *comparison) bool
	then     sequel
	used     int
}

// sequel is how a sequence goes on after an allowed difference.
type sequel uint8

const (
	goOn   sequel = iota // nothing that is compared again differs
	adopt                // the kernel is told our state
	finish               // the two know different things from here on: the sequence ends
)

const (
	ss = conntrack.SynSent
	sr = conntrack.SynRecv
	es = conntrack.Established
	fw = conntrack.FinWait
	cw = conntrack.CloseWait
	la = conntrack.LastAck
	tw = conntrack.TimeWait
	cl = conntrack.Close
	s2 = conntrack.SynSent2
)

// step reports whether the packet was of a kind and direction, in a state of ours.
func (c *comparison) step(d conntrack.Direction, kind int, state conntrack.TCPState) bool {
	return c.proto == packet.TCP && c.before.exists && c.dir() == d && kindOf(c.seg.flags) == kind && c.before.state == state
}

// leads reports whether the kernel went to one state and we to another.
func (c *comparison) leads(kernel, ours conntrack.TCPState) bool {
	return c.kernel.exists && c.ours.exists && c.kernel.state == kernel && c.ours.state == ours
}

// only reports whether nothing but these fields differs, and something does.
func (c *comparison) only(f field) bool { return c.differs != 0 && c.differs&^f == 0 }

const (
	orig = conntrack.Original
	repl = conntrack.Reply
)

// differences are all that are allowed.
var differences = []*allowed{
	{
		name:     "checksum",
		decision: "A4: transport checksums are not verified on the path; the receiver finds out",
		match: func(c *comparison) bool {
			return c.seg.flaw == badChecksum && !c.kernel.passed
		},
		then: finish,
	},
	{
		name:     "syn-ack-proves",
		decision: "B6: a SYN/ACK must acknowledge the SYN; Linux takes what its window test takes",
		match: func(c *comparison) bool {
			p := c.past
			return c.step(repl, kindSYNACK, ss) && c.ours.reason == drop.TCPAckUnseen && c.kernel.passed &&
				(!after(c.seg.ack, p.first[orig]) || after(c.seg.ack, p.end[orig]))
		},
		then: finish,
	},
	{
		name:     "crossing-syn-ack-proves",
		decision: "B6, B10: after SYNs that crossed, too, a SYN/ACK must acknowledge the other's; Linux takes what its window test takes",
		match: func(c *comparison) bool {
			p := c.past
			return c.ours.reason == drop.TCPAckUnseen && c.kernel.passed &&
				(c.step(repl, kindSYNACK, s2) && !after(c.seg.ack, p.first[orig]) ||
					(c.step(orig, kindSYNACK, s2) || c.step(orig, kindSYNACK, sr)) && !after(c.seg.ack, p.first[repl]))
		},
		then: finish,
	},
	{
		name:     "sack-of-both",
		decision: "C6: SACK counts where both SYNs permitted it; Linux looks at the receiver's alone",
		match: func(c *comparison) bool {
			return c.proto == packet.TCP && c.seg.sack != nil && c.past.sackOK[0] != c.past.sackOK[1]
		},
		then: finish,
	},
	{
		name:     "syn-ack-with-another-number",
		decision: "1.5: within one life a SYN/ACK has the number of its side's SYN; Linux lets a larger one begin anew",
		match: func(c *comparison) bool {
			return kindOf(c.seg.flags) == kindSYNACK && (c.before.state == sr || c.before.state == s2) && c.seg.seq != c.past.first[c.dir()]
		},
		then: finish,
	},
	{
		name:     "smaller-syn-refused",
		decision: "B5, B14: a reset may answer the smaller of two SYNs; Linux does not remember that one",
		match: func(c *comparison) bool {
			return c.step(repl, kindRST, ss) && c.ours.state == cl && c.ours.passed && c.past.memo != nil && c.seg.ack == c.past.memo.end()
		},
		then: finish,
	},
	{
		name:     "smaller-syn",
		decision: "B5: a SYN/ACK that answers the smaller of two SYNs begins anew from that SYN; Linux keeps the larger one's edges, unseen until data comes",
		match: func(c *comparison) bool {
			return c.step(repl, kindSYNACK, ss) && c.ours.reopened && c.ours.passed && c.kernel.passed
		},
		then: finish,
	},
	{
		name:     "refusal-proves",
		decision: "B14: a reset that answers a SYN must acknowledge it; Linux deletes on what its window test takes",
		match: func(c *comparison) bool {
			return c.step(repl, kindRST, ss) && c.ours.reason == drop.TCPResetInvalid && c.kernel.passed &&
				(c.seg.flags&ack == 0 || c.seg.ack != c.past.end[orig])
		},
		then: finish,
	},
	{
		name:     "abort-proves",
		decision: "D1: a reset by the opener must lie within its SYN; Linux has no edge to test it against yet",
		match: func(c *comparison) bool {
			p := c.past
			return c.step(orig, kindRST, ss) && c.ours.reason == drop.TCPResetInvalid && c.kernel.passed &&
				(after(p.first[orig], c.seg.seq) || after(c.seg.seq, p.end[orig]))
		},
		then: finish,
	},
	{
		name:     "refused-stays",
		decision: "D7: a refused connection stays in CLOSE for its timeout; Linux deletes it at once",
		match: func(c *comparison) bool {
			return (c.step(repl, kindRST, ss) || c.step(orig, kindRST, ss)) && c.only(fieldExists) &&
				c.kernel.passed && !c.kernel.exists && c.ours.state == cl
		},
		then: finish,
	},
	{
		name:     "challenge-is-no-reply",
		decision: "B7: a challenge ACK to a SYN leaves the connection unreplied; Linux marks it replied",
		match: func(c *comparison) bool {
			return c.step(repl, kindACK, ss) && c.only(fieldReplied) && c.kernel.replied && c.kernel.passed && c.ours.passed
		},
		then: goOn,
	},
	{
		name:     "challenged-syn",
		decision: "B4, B7: a repeated SYN restarts no timeout, challenge or not; Linux restarts it once it believes in a reply",
		match: func(c *comparison) bool {
			return c.step(orig, kindSYN, ss) && c.only(fieldRefresh) && c.kernel.refreshed && c.past.used["challenge-is-no-reply"] > 0
		},
		then: goOn,
	},
	{
		name:     "challenge-denied",
		decision: "B7: the reset that answers a challenge ACK closes nothing, the next SYN shall complete; Linux goes to CLOSE once it believes in a reply",
		match: func(c *comparison) bool {
			return c.step(orig, kindRST, ss) && (c.leads(cl, ss) || !c.kernel.passed) && c.ours.passed && !c.ours.refreshed && c.past.used["challenge-is-no-reply"] > 0
		},
		then: adopt,
	},
	{
		name:     "newer-syn-without-options",
		decision: "B5: a newer SYN brings its own options, also none; Linux keeps those of the first where the second has none",
		match: func(c *comparison) bool {
			return c.step(orig, kindSYN, ss) && c.ours.reopened && c.seg.scale < 0 && !c.seg.sackOK
		},
		then: finish,
	},
	{
		name:     "newer-syn-refreshes",
		decision: "B5: a newer SYN before any answer is a new incarnation, with a new timeout",
		match: func(c *comparison) bool {
			return c.step(orig, kindSYN, ss) && c.only(fieldRefresh) && c.ours.reopened && c.ours.refreshed
		},
		then: goOn,
	},
	{
		name:     "crossing-syn-refreshes",
		decision: "B10: the SYN of the other side is progress and restarts the timeout; Linux takes it for a repeated SYN",
		match: func(c *comparison) bool {
			return c.step(repl, kindSYN, ss) && c.only(fieldRefresh) && c.ours.refreshed && c.ours.state == s2
		},
		then: goOn,
	},
	{
		name:     "crossing-syn-again",
		decision: "B4: in a simultaneous open a further SYN is forwarded without effect, whatever its number; Linux tests it and moves the window",
		match: func(c *comparison) bool {
			return (c.step(orig, kindSYN, s2) || c.step(repl, kindSYN, s2)) && c.ours.passed && !c.ours.refreshed
		},
		then: finish,
	},
	{
		name:     "syn-ack-again",
		decision: "B6: a repeated SYN/ACK is forwarded without effect; Linux tests the opener's, and restarts the timeout in a simultaneous open and after a repeated SYN",
		match: func(c *comparison) bool {
			return (c.step(orig, kindSYNACK, sr) || c.step(repl, kindSYNACK, sr)) && c.ours.passed && !c.ours.refreshed
		},
		then: finish,
	},
	{
		name:     "split-handshake",
		decision: "1.5, B11: after SYNs that crossed only a SYN/ACK of each side establishes; Linux takes an ACK",
		match: func(c *comparison) bool {
			p := c.past
			return c.dir() == repl && c.kernel.passed && c.ours.reason == drop.TCPStateInvalid && c.before.state != ss && !after(p.acked[orig], p.first[orig])
		},
		then: finish,
	},
	{
		name:     "crossing-needs-acknowledgement",
		decision: "1.5: a SYN/ACK that acknowledges the SYN establishes; Linux counts any ACK",
		match: func(c *comparison) bool {
			return (c.step(orig, kindACK, sr) || c.step(repl, kindACK, sr)) && c.leads(es, sr) && c.ours.passed
		},
		then: finish,
	},
	{
		name:     "both-syn-acks",
		decision: "1.5, B10: opened from both sides, it is established when each has sent its SYN/ACK; Linux waits for an ACK",
		match: func(c *comparison) bool {
			return (c.step(orig, kindSYNACK, sr) || c.step(repl, kindSYNACK, sr)) && c.leads(sr, es)
		},
		then: finish,
	},
	{
		name:     "handshake-proves",
		decision: "1.5, B13: the last step of a handshake must acknowledge the SYN/ACK; Linux takes any ACK in the window",
		match: func(c *comparison) bool {
			return c.dir() == orig && c.before.state != ss && c.kernel.passed && c.ours.reason == drop.TCPAckUnseen &&
				!after(c.past.acked[repl], c.past.first[repl]) && !after(c.seg.ack, c.past.first[repl])
		},
		then: finish,
	},
	{
		name:     "unacknowledged-data",
		decision: "1.5: data in flight lowers the timeout; Linux knows it by a flag that data on a SYN does not set and a reset does",
		match: func(c *comparison) bool {
			return c.proto == packet.TCP && c.only(fieldTimeout) && c.ours.state == es &&
				(c.ours.timeout == 300) == (c.past.outstandingAfter(c) || c.seg.win == 0)
		},
		then: goOn,
	},
	{
		name:     "three-identical",
		decision: "1.5: repeated segments change no timeout; Linux keeps a repeated connection's even where a reset would lower it",
		match: func(c *comparison) bool {
			return kindOf(c.seg.flags) == kindRST && c.only(fieldTimeout) && c.leads(es, es) && c.ours.timeout == 10 && c.kernel.timeout > 10
		},
		then: goOn,
	},
	{
		name:     "reset-proves",
		decision: "D1, D5: a reset outside the window drops, and one that acknowledges what was never sent; Linux lets it by after a SYN, within its tolerance for overruns, and in half-open connections",
		match: func(c *comparison) bool {
			p, d := c.past, c.dir()
			return kindOf(c.seg.flags) == kindRST && c.ours.reason == drop.TCPResetInvalid && c.kernel.passed &&
				(after(p.acked[d], c.seg.seq) || after(c.seg.seq, p.maxEnd[d]) || c.seg.flags&ack != 0 && after(c.seg.ack, p.end[d^1]))
		},
		then: finish,
	},
	{
		name:     "reset-by-number",
		decision: "D2, D3, D5: a reset is judged by its sequence number; Linux forwards it without effect where it acknowledges what is old, or lies behind what overran the window",
		match: func(c *comparison) bool {
			p, d := c.past, c.dir()
			return kindOf(c.seg.flags) == kindRST && c.ours.passed && c.ours.refreshed && !c.kernel.refreshed &&
				(c.kernel.passed || c.before.state == ss && c.seg.flags&ack != 0) &&
				!after(p.acked[d], c.seg.seq) && !after(c.seg.seq, p.maxEnd[d])
		},
		then: finish,
	},
	{
		name:     "reset-answers-syn",
		decision: "D1, B8: a reset that acknowledges the remembered SYN closes; Linux forgets the SYN with the next packet, also an invalid one",
		match: func(c *comparison) bool {
			return kindOf(c.seg.flags) == kindRST && c.dir() == repl && c.ours.state == cl && c.ours.passed &&
				c.past.memo != nil && c.seg.flags&ack != 0 && c.seg.ack == c.past.memo.end()
		},
		then: finish,
	},
	{
		name:     "late-syn-ack",
		decision: "B6, B10: the SYN/ACK that a simultaneous open still lacks is tracked in whatever state it comes; Linux forwards all once a SYN/ACK of the opener was there",
		match: func(c *comparison) bool {
			return c.dir() == repl && kindOf(c.seg.flags) == kindSYNACK && (c.leads(cl, cl) || c.leads(fw, fw) || c.leads(sr, sr)) && c.kernel.passed && !after(c.past.acked[orig], c.past.first[orig])
		},
		then: finish,
	},
	{
		name:     "syn-softens-no-reset",
		decision: "D1, D6: a reset after a SYN amid the connection is judged as any other; Linux forgoes its check then",
		match: func(c *comparison) bool {
			return kindOf(c.seg.flags) == kindRST && c.before.state == es && c.leads(cl, es) && c.past.recent
		},
		then: finish,
	},
	{
		name:     "closed-half-open",
		decision: "B11, B13: what a handshake demands holds in CLOSE too; Linux forgets it",
		match: func(c *comparison) bool {
			p, d := c.past, c.dir()
			return c.before.state == cl && c.leads(cl, cl) && c.kernel.passed &&
				(c.ours.reason == drop.TCPStateInvalid || c.ours.reason == drop.TCPAckUnseen) && !after(p.acked[d^1], p.first[d^1])
		},
		then: finish,
	},
	{
		name:     "challenge-in-last-ack",
		decision: "E4: an ACK in LAST_ACK is judged by its window and by what it acknowledges; Linux ignores the first after a SYN",
		match: func(c *comparison) bool {
			return c.step(repl, kindACK, la) && c.past.recent && c.kernel.passed && !c.kernel.refreshed && c.kernel.state == la
		},
		then: finish,
	},
	{
		name:     "furthest-byte",
		decision: "1.5, D3: a reset is exact after the sender's furthest byte; Linux compares with its last packet",
		match: func(c *comparison) bool {
			if kindOf(c.seg.flags) != kindRST || c.before.state != es || !c.only(fieldState|fieldTimeout) {
				return false
			}
			if c.leads(cl, es) {
				last := c.past.tracked
				return last.from == c.seg.from && c.seg.seq == last.end()
			}
			return c.leads(es, cl) && c.seg.seq == c.past.end[c.dir()]
		},
		then: finish,
	},
	{
		name:     "both-fins",
		decision: "1.5: LAST_ACK needs a FIN of each side; Linux takes a second FIN of the same side for it",
		match: func(c *comparison) bool {
			d := c.dir()
			return kindOf(c.seg.flags) == kindFIN && (c.before.state == fw || c.before.state == cw) && c.kernel.state == la && (c.ours.state == fw || c.ours.state == cw) &&
				c.past.fin[d] && !c.past.fin[d^1] && c.kernel.passed && c.ours.passed
		},
		then: adopt,
	},
	{
		name:     "fin-acknowledged",
		decision: "1.5: CLOSE_WAIT means that the FIN is acknowledged; Linux takes any ACK for it",
		match: func(c *comparison) bool {
			d := c.dir()
			return kindOf(c.seg.flags) == kindACK && c.before.state == fw && c.leads(cw, fw) && c.kernel.passed && c.ours.passed &&
				!(c.past.fin[d^1] && !after(c.past.end[d^1], c.seg.ack))
		},
		then: adopt,
	},
	{
		name:     "both-fins-acknowledged",
		decision: "1.5, E4: TIME_WAIT means that both FINs are acknowledged; Linux takes any ACK for it",
		match: func(c *comparison) bool {
			d := c.dir()
			return kindOf(c.seg.flags) == kindACK && c.before.state == la && c.leads(tw, la) && c.kernel.passed && c.ours.passed &&
				!(c.past.finAcked[d] && !after(c.past.end[d^1], c.seg.ack))
		},
		then: adopt,
	},
	{
		name:     "fin-acknowledges",
		decision: "1.5: a FIN that acknowledges the other FIN completes the close; Linux waits for a bare ACK",
		match: func(c *comparison) bool {
			return kindOf(c.seg.flags) == kindFIN && c.before.state == la && c.leads(la, tw) && !after(c.past.end[c.dir()^1], c.seg.ack)
		},
		then: adopt,
	},
	{
		name:     "closed-is-answered",
		decision: "1.5, B9: a SYN/ACK that answers a remembered SYN begins anew also where a reset came between them; Linux forgets the SYN then",
		match: func(c *comparison) bool {
			return c.dir() == repl && kindOf(c.seg.flags) == kindSYNACK && c.ours.reopened && c.kernel.passed && !c.kernel.refreshed &&
				c.past.memo != nil && c.past.memo.end() == c.seg.ack
		},
		then: finish,
	},
	{
		name:     "reset-in-time-wait",
		decision: "1.5, E9: a reset does not end TIME_WAIT (RFC 1337); Linux goes to CLOSE",
		match: func(c *comparison) bool {
			return kindOf(c.seg.flags) == kindRST && c.before.state == tw && c.leads(cl, tw) && c.kernel.passed && c.ours.passed
		},
		then: finish,
	},
	{
		name:     "reset-in-close",
		decision: "1.5: a closed connection is not kept longer by more resets; Linux restarts the timeout",
		match: func(c *comparison) bool {
			return kindOf(c.seg.flags) == kindRST && c.before.state == cl && c.leads(cl, cl) && c.only(fieldRefresh) && c.kernel.timeout <= 10
		},
		then: goOn,
	},
	{
		name:     "close-reopens",
		decision: "1.5, E5: a SYN of the original side re-opens CLOSE; Linux only after a FIN, or when the last packet was its own reset",
		match: func(c *comparison) bool {
			return c.step(orig, kindSYN, cl) && c.ours.reopened && c.leads(cl, ss) && c.kernel.passed && !c.kernel.refreshed
		},
		then: finish,
	},
	{
		name:     "new-life-is-not-assured",
		decision: "1.5, B9: a SYN/ACK that answers a remembered SYN begins a new incarnation, assured when its handshake is complete; Linux keeps the flag",
		match: func(c *comparison) bool {
			return c.only(fieldAssured) && c.kernel.assured && c.ours.reopened
		},
		then: goOn,
	},
	{
		name:     "invalid-changes-nothing",
		decision: "D1, O7: an invalid packet changes no timeout; Linux lowers it after an invalid FIN or reset",
		match: func(c *comparison) bool {
			kind := kindOf(c.seg.flags)
			return (kind == kindFIN || kind == kindRST) && c.only(fieldRefresh) && !c.kernel.passed && !c.ours.passed && c.kernel.timeout <= 300
		},
		then: goOn,
	},
	{
		name:     "overrun-by-a-window",
		decision: "C11: a sender may overrun by one whole window; Linux stops one byte short of it",
		match: func(c *comparison) bool {
			d := c.dir()
			return c.ours.passed && !c.ours.refreshed && !c.kernel.passed && c.seg.end()-c.past.maxEnd[d] == c.past.maxWin[d^1]
		},
		then: finish,
	},
	{
		name:     "remembered-window",
		decision: "B9: of a SYN that is only remembered the window is kept rounded up to 256 bytes",
		match: func(c *comparison) bool {
			p, rounded := c.past, c.past.maxWin[orig]+255 // it has grown from there
			if !p.resumed || c.dir() != repl {
				return false
			}
			overran := c.ours.passed && !c.kernel.passed && c.seg.end()-p.maxEnd[repl] <= rounded
			older := c.ours.refreshed && !c.kernel.refreshed && after(p.end[repl]-p.maxWin[orig], c.seg.end()) && !after(p.end[repl]-rounded, c.seg.end())
			return overran || older
		},
		then: finish,
	},
	{
		name:     "overrun-is-remembered",
		decision: "C11: what overran the window counts as sent, however it was reordered; Linux remembers only the last such packet",
		match: func(c *comparison) bool {
			peer := c.dir() ^ 1
			right := c.past.right(c.seg)
			if c.only(fieldRefresh | fieldState) {
				return c.ours.passed && !c.ours.refreshed && (c.past.overran[0] || c.past.overran[1])
			}
			return !c.kernel.passed && c.ours.passed && c.past.overran[peer] && after(right, c.past.backwards[peer]) && !after(right, c.past.end[peer])
		},
		then: finish,
	},
	// The last rows are about what Linux knows and we do not; everything above goes first.
	{
		name:     "reset-moves-no-edge",
		decision: "D2: a reset moves no edge of the window; Linux takes over its numbers",
		match: func(c *comparison) bool {
			return c.past.moved && c.only(fieldVerdict|fieldRefresh|fieldState) && kindOf(c.seg.flags) != kindSYN
		},
		then: finish,
	},
	{
		name:     "refused-syn-ack",
		decision: "B6: a SYN/ACK that was dropped leaves nothing behind; Linux has taken its window and number from it",
		match: func(c *comparison) bool {
			return c.past.refused && c.differs != 0
		},
		then: finish,
	},
	{
		name:     "half-way-around",
		decision: "1.2: about 2^31 away a number is neither before nor after; Linux takes it for one side, we for the other",
		match: func(c *comparison) bool {
			if c.proto != packet.TCP || c.differs == 0 {
				return false
			}
			p, d := c.past, c.dir()
			return opposite(c.seg.seq, p.maxEnd[d]) || opposite(c.seg.end(), p.end[d]) || opposite(c.seg.ack, p.end[d^1]) || opposite(c.seg.seq, p.first[d])
		},
		then: finish,
	},
}

// outstandingAfter is outstanding with the packet itself counted.
func (p *past) outstandingAfter(c *comparison) bool {
	q := *p
	q.note(c)
	return q.outstanding()
}

// opposite reports whether two numbers are about half the circle apart: so far that the
// length of one segment decides which is ahead.
func opposite(a, b uint32) bool { return a-b-(1<<31)+2000 < 4000 }
