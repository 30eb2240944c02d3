package dataplane

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// kernelBurst is how many frames of one port's kernel face are taken per turn.
const kernelBurst = 16

// toKernel hands a copy of a frame to the kernel's face of the port it came in by.
func (w *Worker) toKernel(s *share, frame []byte) fate {
	n, err := s.Kernel.Write(frame)
	switch {
	case err != nil:
		return dropped(drop.TapUnanswered)
	case n == 0:
		return dropped(drop.TapFull)
	}
	return fate{why: drop.Pass}
}

// toSelf decides on a packet to one of the node's own addresses: ICMP echo is let in,
// everything else is not, yet.
func (w *Worker) toSelf(b *burst, i int) fate {
	p := &b.parsed[i]
	if !isEcho(p) {
		return dropped(drop.ToSelf)
	}
	return w.toKernel(b.in, b.frame[i])
}

// isEcho reports whether a packet is an echo request or reply.
func isEcho(p *packet.Parsed) bool {
	switch p.Tuple.Proto {
	case packet.ICMP:
		return p.Version == 4 && (p.ICMPType == packet.ICMPEchoRequest || p.ICMPType == packet.ICMPEchoReply)
	case packet.ICMPv6:
		return p.Version == 6 && (p.ICMPType == packet.ICMPv6EchoRequest || p.ICMPType == packet.ICMPv6EchoReply)
	}
	return false
}

// serveKernel takes what the kernel wants to say through its faces: ARP, ND and echo
// go out, everything else does not, yet. While this node is mute all of it is read and
// dropped, so that nothing old leaves at a promotion.
func (w *Worker) serveKernel() (busy bool) {
	for _, s := range w.shares {
		for range kernelBurst {
			if !w.fromKernel(s) {
				break
			}
			busy = true
		}
	}
	return busy
}

// fromKernel takes one frame, and reports whether there was one.
func (w *Worker) fromKernel(s *share) bool {
	var d [1]xsk.Desc
	if w.umem.Alloc(d[:]) == 0 {
		return false // the frame waits in the TAP's queue
	}
	frame := w.umem.Bytes(d[0])
	n, err := s.Kernel.Read(frame[:cap(frame)])
	if err != nil || n == 0 {
		w.umem.Free(d[:])
		return false
	}
	d[0].Len = uint32(n)
	if why := w.letOut(w.umem.Bytes(d[0])); why != drop.Pass {
		s.TxDrops.Add(why, 1)
		w.umem.Free(d[:])
		return true
	}
	s.stage(d[0])
	return true
}

// letOut decides on a frame made by the kernel.
func (w *Worker) letOut(frame []byte) drop.Reason {
	if !w.active {
		return drop.Mute
	}
	p := &w.own
	if why := packet.Decode(frame, p); why != drop.Pass {
		return why
	}
	switch {
	case p.Kind == packet.KindARP, p.Kind == packet.KindND, p.Kind == packet.KindMLD:
		return drop.Pass
	case p.Kind == packet.KindIP && isEcho(p):
		return drop.Pass
	}
	return drop.FromSelf
}
