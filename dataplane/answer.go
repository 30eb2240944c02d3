package dataplane

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
	"holdfast/rules/config"
)

// Budget of our own errors and resets, per port and worker: answersPerPeriod in every
// answerPeriod, so that a flood of packets that ask for errors gets few (H9, RFC 4443
// section 2.4 f).
const (
	answersPerPeriod = 100
	answerPeriod     = int64(100e6) // ns
)

// mayAnswer takes one answer off the port's budget.
func (w *Worker) mayAnswer(s *share) bool {
	if period := w.now / answerPeriod; period != s.answerPeriod {
		s.answerPeriod, s.answersLeft = period, answersPerPeriod
	}
	if s.answersLeft == 0 {
		return false
	}
	s.answersLeft--
	return true
}

// answer sends a frame of our own back out of the port that a packet came in by. write
// fills the buffer and returns the length, 0 where nothing may be sent.
func (w *Worker) answer(b *burst, i int, write func(dst, frame []byte, p *packet.Parsed) int) bool {
	if !w.mayAnswer(b.in) {
		return false
	}
	var d [1]xsk.Desc
	if w.umem.Alloc(d[:]) == 0 {
		b.in.TxDrops.Add(drop.NoFreeFrame, 1)
		return false
	}
	buf := w.umem.Bytes(d[0])
	n := write(buf[:cap(buf)], b.frame[i], &b.parsed[i])
	if n == 0 {
		w.umem.Free(d[:])
		return false
	}
	d[0].Len = uint32(n)
	b.in.stage(d[0])
	return true
}

// addressFor returns the source of our errors about a packet that came in by a port: that
// port's own address (H9: ingress-side), or where it has none of the packet's family, some
// other port's (RFC 1812 section 4.3.2.4).
func (w *Worker) addressFor(in *share, p *packet.Parsed) (packet.Addr, bool) {
	from, ok := in.address(p.Version == 4)
	for k := 0; !ok && k < len(w.shares); k++ {
		from, ok = w.shares[k].address(p.Version == 4)
	}
	return from, ok
}

// address returns the port's own address of a family.
func (s *share) address(v4 bool) (packet.Addr, bool) {
	for _, a := range s.Addresses {
		if a.Is4() == v4 && !a.IsLinkLocal() {
			return a, true
		}
	}
	return packet.Addr{}, false
}

// refuseTTL drops a packet whose TTL is used up and tells its sender (L1).
//
// It is asked before the connection is verified, so the source is looked at here too.
func (w *Worker) refuseTTL(b *burst, i int) fate {
	if !w.comesFrom(b.in, b.parsed[i].Tuple.Src) {
		return dropped(drop.SourceInvalid)
	}
	from, ok := w.addressFor(b.in, &b.parsed[i])
	if ok && w.answer(b, i, func(dst, frame []byte, p *packet.Parsed) int {
		return packet.AppendTimeExceeded(dst, frame, p, from)
	}) {
		return dropped(drop.TTLExceeded)
	}
	return dropped(drop.TTLExceededQuiet)
}

// refuseRoute drops a packet for whose destination there is no way, and tells its sender
// what the route says: nothing where it discards (L2, ip-route(8)).
func (w *Worker) refuseRoute(b *burst, i int, kind fib.Kind) fate {
	switch kind {
	case fib.Blackhole:
		return dropped(drop.NoRoute)
	case fib.Unreachable:
		return w.refuseUnreachable(b, i, packet.UnreachableHost)
	case fib.Prohibited:
		return w.refuseUnreachable(b, i, packet.UnreachableProhibited)
	}
	return w.refuseUnreachable(b, i, packet.UnreachableRoute)
}

// refuseUnreachable drops a packet that cannot be delivered and tells its sender (L2).
func (w *Worker) refuseUnreachable(b *burst, i int, why packet.Unreachable) fate {
	if from, ok := w.addressFor(b.in, &b.parsed[i]); ok {
		w.answer(b, i, func(dst, frame []byte, p *packet.Parsed) int {
			return packet.AppendUnreachable(dst, frame, p, from, why)
		})
	}
	return dropped(drop.NoRoute)
}

// refuseTooBig drops a packet that the next link cannot carry and tells its sender (L3).
func (w *Worker) refuseTooBig(b *burst, i int, mtu int) fate {
	if from, ok := w.addressFor(b.in, &b.parsed[i]); ok {
		w.answer(b, i, func(dst, frame []byte, p *packet.Parsed) int {
			return packet.AppendTooBig(dst, frame, p, from, uint16(mtu))
		})
	}
	return dropped(drop.TooBig)
}

// reject is a reject rule's verdict, within the budget: a reset to TCP where the rule does
// not want an error for it too, an error to others.
func (w *Worker) reject(b *burst, i int, how config.Answer) fate {
	why, resets := errorOf(how)
	if resets && b.parsed[i].Tuple.Proto == packet.TCP {
		w.answer(b, i, packet.AppendReset)
	} else if from, ok := w.addressFor(b.in, &b.parsed[i]); ok {
		w.answer(b, i, func(dst, frame []byte, p *packet.Parsed) int {
			return packet.AppendUnreachable(dst, frame, p, from, why)
		})
	}
	return dropped(drop.RuleReject)
}

// errorOf returns the error that an answer is, and whether TCP gets a reset in its place.
func errorOf(how config.Answer) (why packet.Unreachable, resets bool) {
	switch how {
	case config.AnswerUnreachable:
		return packet.UnreachableProhibited, false
	case config.AnswerPort:
		return packet.UnreachablePort, false
	}
	return packet.UnreachableProhibited, true
}
