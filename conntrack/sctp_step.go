package conntrack

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// sctpMayOpen returns drop.Pass if a packet may begin an association, otherwise why not.
func sctpMayOpen(p *packet.Parsed) drop.Reason {
	switch sctpKindOf(p.Chunks) {
	case sctpKindInit:
		return drop.Pass
	case sctpKindHeartbeat:
		if p.Chunks == packet.ChunkHeartbeat { // alone, as one that probes a path is
			return drop.Pass
		}
	}
	return drop.SCTPNoConnection
}

// begin starts a life with an INIT or HEARTBEAT of the original direction, which
// sctpMayOpen has let through.
func (v *sctpView) begin(p *packet.Parsed) {
	*v = sctpView{}
	if p.Chunks&packet.ChunkInit != 0 {
		v.tag[Reply] = p.InitiateTag()
		v.sets[Original] = SCTPSeenInit
	} else {
		v.tag[Original] = p.VerificationTag()
		v.sets[Original] = SCTPSeenPath
	}
	v.state = sctpStateOf(v.sets[Original], v.sets[Reply])
}

// step judges a packet of an association and notes what it did.
func (v *sctpView) step(p *packet.Parsed, dir Direction) verdict {
	dir &= 1
	action := sctpTable[sctpKindOf(p.Chunks)][v.state]
	switch action {
	case scIN:
		return v.initAgain(p, dir)
	case scIA:
		return v.initAck(p, dir)
	case scCE:
		return v.cookieEcho(p, dir)
	case scAB:
		return v.abort(p, dir)
	case scSC:
		return v.shutdownComplete(p, dir)
	case scOS:
		v.remember(sctpMemoShutdown, dir)
		v.memoTags[dir] = p.VerificationTag()
		return forward
	case scHB:
		return v.heartbeat(p, dir)
	case scHA:
		return v.heartbeatAck(p, dir)
	case scRE:
		return v.reopen(p, dir)
	case scHC:
		switch {
		case p.VerificationTag() == v.tag[dir]:
			return forward
		case sctpMayOpen(p) != drop.Pass:
			return dropped(drop.SCTPTagInvalid)
		}
		return v.reopen(p, dir)
	case scIV:
		return dropped(drop.SCTPStateInvalid)
	}
	if p.VerificationTag() != v.tag[dir] {
		return dropped(drop.SCTPTagInvalid)
	}
	switch {
	case action == scFW:
		return forward
	case action == scCA && v.sets[dir^1]&SCTPSeenCookieEcho == 0:
		if v.sets[Original]&SCTPSeenPath != 0 {
			return forward // repeated, over another path
		}
		return dropped(drop.SCTPStateInvalid) // section 5.2.5
	}
	return v.note(p, dir)
}

// note adds to the sets what the chunks of an accepted packet did, each as far as what the
// other side did allows it: several may stand together, such as COOKIE ACK and SHUTDOWN.
func (v *sctpView) note(p *packet.Parsed, dir Direction) verdict {
	if p.Chunks&sctpRare == 0 {
		return tracked
	}
	set, peer := &v.sets[dir], v.sets[dir^1]
	if p.Chunks&packet.ChunkCookieEcho != 0 && peer&SCTPSeenInitAck != 0 {
		*set |= SCTPSeenCookieEcho
	}
	if p.Chunks&packet.ChunkCookieAck != 0 && peer&SCTPSeenCookieEcho != 0 {
		*set |= SCTPSeenCookieAck
	}
	if v.state = sctpStateOf(v.sets[Original], v.sets[Reply]); v.state >= SCTPEstablished && v.state < SCTPHeartbeatSent {
		if p.Chunks&packet.ChunkShutdown != 0 {
			*set |= SCTPSeenShutdown
		}
		if p.Chunks&packet.ChunkShutdownAck != 0 && peer&SCTPSeenShutdown != 0 {
			*set |= SCTPSeenShutdownAck
		}
	}
	v.state = sctpStateOf(v.sets[Original], v.sets[Reply])
	return tracked
}

// remember begins a memo.
func (v *sctpView) remember(memo sctpMemo, by Direction) {
	v.memo, v.memoBy, v.memoTags = memo, by, [2]uint32{}
}

// isAnswered reports whether a packet of direction dir may answer a remembered one.
func (v *sctpView) isAnswered(memo sctpMemo, dir Direction) bool {
	return v.memo == memo && v.memoBy == dir^1
}

// initAgain judges an INIT while there is an association. Its tag needs no check: it is
// zero, as the decoder has seen.
func (v *sctpView) initAgain(p *packet.Parsed, dir Direction) verdict {
	tag := p.InitiateTag()
	switch v.state {
	case SCTPInitSent, SCTPCookieWait:
		if v.sets[dir]&SCTPSeenInit != 0 {
			if tag == v.tag[dir^1] && v.state == SCTPInitSent {
				return forward // repeated. No refresh: who only asks keeps no port (Linux too)
			}
			break
		}
		// The two INITs cross (section 5.2.1). An INIT ACK that the sender gave before
		// may have said another tag; then this is another association.
		if v.tag[dir^1] == 0 || v.tag[dir^1] == tag {
			v.tag[dir^1] = tag
			v.sets[dir] |= SCTPSeenInit
			return tracked
		}
	}
	v.remember(sctpMemoInit, dir)
	v.memoTags[dir^1] = tag
	return forward
}

// initAck judges an INIT ACK: the answer to our INIT, once more with another tag, as a
// server without state of its own gives it to a repeated INIT, or the answer to a
// remembered INIT.
func (v *sctpView) initAck(p *packet.Parsed, dir Direction) verdict {
	peer := dir ^ 1
	tag, ours := p.InitiateTag(), p.VerificationTag() == v.tag[dir] && v.sets[peer]&SCTPSeenInit != 0
	if ours && (v.tag[peer] == 0 || v.tag[peer] == tag) {
		if v.sets[dir]&SCTPSeenInitAck != 0 || v.state > SCTPCookieEchoed {
			return forward // repeated, ignored where it is not waited for (section 5.2.3)
		}
		v.tag[peer] = tag
		v.sets[dir] |= SCTPSeenInitAck
		v.state = sctpStateOf(v.sets[Original], v.sets[Reply])
		return tracked
	}
	if !v.isAnswered(sctpMemoInit, dir) || p.VerificationTag() != v.memoTags[dir] {
		switch {
		case p.VerificationTag() != v.tag[dir]:
			return dropped(drop.SCTPTagInvalid)
		case !ours || v.state > SCTPCookieEchoed:
			return dropped(drop.SCTPStateInvalid) // nobody asked for it
		}
		v.remember(sctpMemoInit, peer)
		v.memoTags[dir] = p.VerificationTag()
	}
	v.memoTags[peer] = tag
	return forward
}

// cookieEcho judges a COOKIE ECHO: it proves that its sender has seen the INIT ACK whose
// tag it carries.
func (v *sctpView) cookieEcho(p *packet.Parsed, dir Direction) verdict {
	peer, tag := dir^1, p.VerificationTag()
	if tag == v.tag[dir] {
		switch {
		case v.sets[peer]&SCTPSeenInitAck != 0:
			return v.note(p, dir)
		case v.sets[Original]&SCTPSeenPath != 0:
			return forward // repeated, over another path
		}
	}
	if v.memo == sctpMemoInit && v.memoBy == dir && tag == v.memoTags[dir] {
		tags := v.memoTags
		*v = sctpView{tag: tags}
		v.sets[dir] = SCTPSeenInit
		v.sets[peer] = SCTPSeenInitAck
		v.note(p, dir)
		return reopened
	}
	if tag != v.tag[dir] {
		return dropped(drop.SCTPTagInvalid)
	}
	return dropped(drop.SCTPStateInvalid)
}

// reflected reports whether an ABORT or SHUTDOWN COMPLETE has the tag that its T bit
// promises (section 8.5.1 B and C).
func (v *sctpView) reflected(p *packet.Parsed, dir Direction) bool {
	if p.Chunks&packet.ChunkReflected != 0 {
		dir ^= 1
	}
	return p.VerificationTag() == v.tag[dir]
}

func (v *sctpView) abort(p *packet.Parsed, dir Direction) verdict {
	switch {
	case v.reflected(p, dir):
		if v.state == SCTPClosed {
			return forward
		}
		v.sets[dir] |= SCTPSeenEnd
		v.state = SCTPClosed
		return tracked
	case v.isAnswered(sctpMemoInit, dir) && p.Chunks&packet.ChunkReflected == 0 && p.VerificationTag() == v.memoTags[dir]:
		v.memo = sctpMemoNone // it refuses the INIT, and the association lives on
		return forward
	}
	return dropped(drop.SCTPTagInvalid)
}

func (v *sctpView) shutdownComplete(p *packet.Parsed, dir Direction) verdict {
	switch {
	case v.reflected(p, dir):
		if v.state != SCTPShutdownAckSent || v.sets[dir^1]&SCTPSeenShutdownAck == 0 {
			return forward // its receiver ignores it (section 9.2)
		}
		v.sets[dir] |= SCTPSeenEnd
		v.state = SCTPClosed
		return tracked
	case v.isAnswered(sctpMemoShutdown, dir) && p.Chunks&packet.ChunkReflected != 0 && p.VerificationTag() == v.memoTags[dir^1]:
		return forward
	}
	return dropped(drop.SCTPTagInvalid)
}

// heartbeat judges a HEARTBEAT of a live association. The reply side of a path that was
// opened by HEARTBEAT has no tag yet, so its first one is remembered too.
func (v *sctpView) heartbeat(p *packet.Parsed, dir Direction) verdict {
	switch {
	case p.VerificationTag() == v.tag[dir]:
		return v.note(p, dir)
	case sctpMayOpen(p) != drop.Pass:
		return dropped(drop.SCTPTagInvalid) // with DATA or more: not one that probes a path
	}
	if v.state == SCTPHeartbeatSent && dir == Original {
		v.begin(p) // it asks anew; nothing is lost
		return reopened
	}
	v.remember(sctpMemoHeartbeat, dir)
	v.memoTags[dir] = p.VerificationTag()
	return forward
}

// heartbeatAck judges a HEARTBEAT ACK. Only who has received the HEARTBEAT and believed
// its tag sends one, so it proves both tags.
func (v *sctpView) heartbeatAck(p *packet.Parsed, dir Direction) verdict {
	tag := p.VerificationTag()
	alone := p.Chunks&packet.ChunkData == 0
	switch {
	case v.state == SCTPHeartbeatSent && dir == Reply && v.tag[Reply] == 0 && alone:
		v.tag[Reply] = tag
		v.sets[Reply] |= SCTPSeenPath
		return v.note(p, dir)
	case v.state == SCTPHeartbeatSent && dir == Original && tag == v.tag[dir] && v.isAnswered(sctpMemoHeartbeat, dir):
		v.tag[Reply] = v.memoTags[Reply]
		v.sets[Reply] |= SCTPSeenPath
		v.memo = sctpMemoNone
		return v.note(p, dir)
	case tag == v.tag[dir]:
		return v.note(p, dir)
	case v.isAnswered(sctpMemoHeartbeat, dir) && alone:
		tags := v.memoTags
		tags[dir] = tag
		*v = sctpView{tag: tags}
		v.sets[Original], v.sets[Reply] = SCTPSeenPath, SCTPSeenPath
		v.state = sctpStateOf(v.sets[Original], v.sets[Reply])
		return reopened
	}
	return dropped(drop.SCTPTagInvalid)
}

// reopen judges what would open an association where one has ended.
func (v *sctpView) reopen(p *packet.Parsed, dir Direction) verdict {
	if dir == Reply {
		return verdict{effect: effectSupersede}
	}
	v.begin(p)
	return reopened
}

// merge makes v the join of two views of one incarnation: sets unite, and a tag is either
// not known or the one that its incarnation has. Memos are not part of it.
func (v *sctpView) merge(o *sctpView) {
	for d := range v.tag {
		v.tag[d] = max(v.tag[d], o.tag[d])
		v.sets[d] |= o.sets[d]
	}
	v.state = sctpStateOf(v.sets[Original], v.sets[Reply])
}

// valid reports whether packets could have brought a view into this state: the border
// between what a peer says and what the table believes.
func (v *sctpView) valid() bool {
	if v.state != sctpStateOf(v.sets[Original], v.sets[Reply]) || v.state == SCTPNone {
		return false
	}
	path := v.sets[Original]&SCTPSeenPath != 0
	for d := Original; d <= Reply; d++ {
		s, peer := v.sets[d], v.sets[d^1]
		switch {
		case s&SCTPSeenPath != 0 && !path:
			return false
		case path && (s|peer)&(SCTPSeenInit|SCTPSeenInitAck|SCTPSeenCookieEcho|SCTPSeenCookieAck) != 0:
			return false
		case s&(SCTPSeenShutdown|SCTPSeenShutdownAck) != 0 && (s|peer)&SCTPSeenCookieAck == 0 && v.sets[Reply]&SCTPSeenPath == 0:
			return false
		case s&(SCTPSeenInit|SCTPSeenInitAck) != 0 && v.tag[d^1] == 0:
			return false
		case s&SCTPSeenInitAck != 0 && peer&SCTPSeenInit == 0, s&SCTPSeenCookieEcho != 0 && peer&SCTPSeenInitAck == 0:
			return false
		case s&SCTPSeenCookieAck != 0 && peer&SCTPSeenCookieEcho == 0, s&SCTPSeenShutdownAck != 0 && peer&SCTPSeenShutdown == 0:
			return false
		}
	}
	if path {
		return v.tag[Original] != 0 && (v.sets[Reply]&SCTPSeenPath == 0 || v.tag[Reply] != 0)
	}
	return v.tag[Reply] != 0 || v.tag[Original] != 0
}
