package conntrack

import (
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// sctpWant is the table once more, the long way round: what RFC 9260 says about a packet
// with the right tag, an INIT of another tag than before, and an INIT ACK that says the tag
// we know.
func sctpWant(kind sctpKind, state SCTPState, dir Direction, path bool) (want string, next SCTPState) {
	handshake := state == SCTPInitSent || state == SCTPCookieWait
	live := state == SCTPEstablished || state == SCTPShutdownSent || state == SCTPShutdownRecd || state == SCTPShutdownAckSent
	switch kind {
	case sctpKindInit: // 5.2.1, 5.2.2: changes nothing but after the end
		switch {
		case state == SCTPClosed && dir == Original:
			return "reopen", SCTPInitSent
		case state == SCTPClosed:
			return "super", state
		}
		return "fwd", state
	case sctpKindInitAck: // 5.2.3: only who is in COOKIE-WAIT takes it, others discard
		switch {
		case state == SCTPInitSent && dir == Reply:
			return "track", SCTPCookieWait
		case state == SCTPClosed, path, dir == Original:
			return "state", state
		}
		return "fwd", state
	case sctpKindAbort: // 3.3.7: ends it
		if state == SCTPClosed {
			return "fwd", state
		}
		return "track", SCTPClosed
	case sctpKindShutdownComplete: // 9.2: counts in SHUTDOWN-ACK-SENT, at the end that sent SHUTDOWN ACK
		if state == SCTPShutdownAckSent && dir == Original {
			return "track", SCTPClosed
		}
		return "fwd", state
	case sctpKindCookieEcho: // 5.1 C, and repeated 5.2.4 D; needs an INIT ACK
		switch {
		case state == SCTPClosed:
			return "state", state
		case path:
			return "fwd", state
		case dir == Reply || state == SCTPInitSent:
			return "state", state
		case state == SCTPCookieWait:
			return "track", SCTPCookieEchoed
		}
		return "track", state
	case sctpKindCookieAck: // 5.2.5: needs a COOKIE ECHO
		switch {
		case state == SCTPClosed, path:
			return "fwd", state
		case handshake || dir == Original:
			return "state", state
		case state == SCTPCookieEchoed:
			return "track", SCTPEstablished
		}
		return "track", state
	case sctpKindShutdownAck: // 8.5.1 E before it is established; 9.2: answers SHUTDOWN
		switch {
		case live && dir == Reply && state == SCTPShutdownSent, live && dir == Original && state == SCTPShutdownRecd:
			return "track", SCTPShutdownAckSent
		case live:
			return "track", state
		}
		return "fwd", state
	}
	// 8.4: before COOKIE ECHO nobody has an association that could send anything else.
	switch {
	case handshake:
		return "state", state
	case kind == sctpKindHeartbeat && state == SCTPHeartbeatSent:
		return "track", state // it asks again
	case kind == sctpKindHeartbeatAck && state == SCTPHeartbeatSent && dir == Reply:
		return "track", SCTPEstablished // 8.3: the path works
	case kind == sctpKindHeartbeatAck && state == SCTPHeartbeatSent:
		return "track", state
	case !live:
		return "fwd", state
	case kind == sctpKindShutdown && state == SCTPEstablished && dir == Original: // 9.2
		return "track", SCTPShutdownSent
	case kind == sctpKindShutdown && state == SCTPEstablished:
		return "track", SCTPShutdownRecd
	case kind == sctpKindShutdown && state == SCTPShutdownRecd && dir == Original:
		return "track", SCTPShutdownSent // both at once; see doc
	}
	return "track", state
}

// TestG8_EveryStateAndChunk: ten states and two kinds of ESTABLISHED, twelve kinds of
// packets, two directions, with the right tag, a wrong one, and the other side's tag with
// and without the T bit.
func TestG8_EveryStateAndChunk(t *testing.T) {
	const a, b, wrong = 0x61616161, 0x62626262, 0x78787878
	for name, rows := range map[string]string{
		"IS": sctpToIS, "CW": sctpToCW, "CE": sctpToCE, "ES": sctpToES, "SS": sctpToSS, "SR": sctpToSR,
		"SA": sctpToSA, "HS": sctpToHS, "CL": sctpToCL, "ES by path": sctpToPT,
	} {
		start := sctpTrace(t, rows)
		path := start.sets[Original]&SCTPSeenPath != 0
		for kind := range sctpKindsCount {
			chunks := packet.ChunkData
			if kind < sctpKindOther {
				chunks = sctpChunkOf[kind]
			}
			for dir := Original; dir <= Reply; dir++ {
				right, other := start.tag[dir], start.tag[dir^1]
				try := func(what string, chunks packet.SCTPChunks, tag, initiate uint32, want string, next SCTPState) {
					t.Helper()
					v, p := start, sctpParsed(chunks, tag, initiate)
					got := sctpVerdict(v.step(&p, dir))
					if got != want || v.state != next {
						t.Errorf("%s, chunk %04x from %v, %s: %s %v, want %s %v", name, chunks, dir, what, got, v.state, want, next)
					}
					if v.state != SCTPNone && !v.valid() {
						t.Errorf("%s, chunk %04x from %v, %s: not valid: %+v", name, chunks, dir, what, v)
					}
					if got != "reopen" {
						grows(t, &start, &v)
					}
				}
				want, next := sctpWant(kind, start.state, dir, path)
				switch {
				case kind == sctpKindInit:
					if start.state == SCTPInitSent && dir == Reply {
						want = "track" // 5.2.1: crossing
					}
					try("another tag", chunks, 0, 0xcccccccc, want, next)
					continue
				case right == 0: // not known yet: the reply side of HS, the original one of IS
					if want, next = sctpUnknown(kind, start.state); want == "" {
						continue
					}
					try("any tag", chunks, a, b, want, next)
					continue
				}
				initiate := other
				if initiate == 0 {
					initiate = b // an initiate tag is never zero
				}
				try("right tag", chunks, right, initiate, want, next)

				// A wrong tag drops, whatever it is that would be done, but for what 8.5.1
				// and multihoming except.
				want, next = "tag", start.state
				switch sctpTable[kind][start.state] {
				case scIV:
					want = "state"
				case scOS, scHB:
					want = "fwd"
					if start.state == SCTPHeartbeatSent {
						want = "reopen"
					}
				case scHC:
					if want = "super"; dir == Original {
						want, next = "reopen", SCTPHeartbeatSent
					}
				}
				try("wrong tag", chunks, wrong, 0xdddddddd, want, next)
				if chunks&(packet.ChunkAbort|packet.ChunkShutdownComplete) == 0 {
					continue
				}
				try("wrong tag with T", chunks|packet.ChunkReflected, wrong, 0, "tag", start.state)
				try("right tag with T", chunks|packet.ChunkReflected, right, 0, "tag", start.state)
				if other != 0 {
					try("the peer's tag", chunks, other, 0, "tag", start.state)
					want, next = sctpWant(kind, start.state, dir, path)
					try("the peer's tag with T", chunks|packet.ChunkReflected, other, 0, want, next)
				}
			}
		}
	}
}

// sctpUnknown is what a packet meets whose side has no tag yet.
func sctpUnknown(kind sctpKind, state SCTPState) (want string, next SCTPState) {
	switch {
	case state == SCTPHeartbeatSent && kind == sctpKindHeartbeatAck:
		return "track", SCTPEstablished
	case state == SCTPHeartbeatSent && kind == sctpKindHeartbeat:
		return "fwd", state
	case state == SCTPInitSent && kind == sctpKindShutdownAck:
		return "fwd", state
	case sctpTable[kind][state] == scIV:
		return "state", state
	}
	return "tag", state
}

// TestG8_OnlyTwoChunksOpen tries every set of chunks that the decoder passes.
func TestG8_OnlyTwoChunksOpen(t *testing.T) {
	for chunks := range 1 << 16 {
		set := packet.SCTPChunks(chunks)
		p := sctpParsed(set, 1, 1)
		opens := set&packet.ChunkInit != 0 || set == packet.ChunkHeartbeat
		if got := sctpMayOpen(&p); (got == drop.Pass) != opens || !opens && got != drop.SCTPNoConnection {
			t.Fatalf("%016b: %v", chunks, got)
		}
	}
}

// drawSCTP draws a packet with one of a few tags, so that many of them fit.
func drawSCTP(t *rapid.T) (packet.Parsed, Direction) {
	tags := rapid.SampledFrom([]uint32{1, 2, 3, 4})
	chunks := rapid.SampledFrom(sctpChunkOf[:]).Draw(t, "chunk")
	tag, initiate := tags.Draw(t, "tag"), uint32(0)
	switch chunks {
	case packet.ChunkInit:
		tag, initiate = 0, tags.Draw(t, "initiate")
	case packet.ChunkInitAck:
		initiate = tags.Draw(t, "initiate")
	case packet.ChunkAbort, packet.ChunkShutdownComplete:
		chunks |= packet.SCTPChunks(rapid.SampledFrom([]uint16{0, 1 << 15}).Draw(t, "T"))
	default:
		chunks |= packet.SCTPChunks(rapid.SampledFrom([]uint16{0, 1, 1 << 7, 1 << 9}).Draw(t, "more"))
	}
	return sctpParsed(chunks, tag, initiate), Direction(rapid.IntRange(0, 1).Draw(t, "dir"))
}

// TestG8_ViewIsAJoin: after any packets a view is valid, nothing was taken back within an
// incarnation, and merging its views in any order gives the last.
func TestG8_ViewIsAJoin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var v sctpView
		var life []sctpView
		for range rapid.IntRange(1, 60).Draw(rt, "packets") {
			p, dir := drawSCTP(rt)
			reopens := false
			if v.state == SCTPNone {
				if sctpMayOpen(&p) != drop.Pass {
					continue
				}
				v.begin(&p)
			} else {
				before := v
				verdict := v.step(&p, dir)
				reopens = verdict.effect == effectReopen
				if !reopens && verdict.effect != effectTrack && (v.sets != before.sets || v.tag != before.tag) {
					rt.Fatalf("%s changed %+v to %+v", sctpVerdict(verdict), before, v)
				}
			}
			if !v.valid() {
				rt.Fatalf("not valid: %+v", v)
			}
			if reopens {
				life = life[:0]
			}
			life = append(life, v)
		}
		if len(life) == 0 {
			return
		}
		order := rapid.Permutation(life).Draw(rt, "order")
		joined := order[0]
		for i := range order {
			joined.merge(&order[i])
			if !joined.valid() {
				rt.Fatalf("not valid after a merge: %+v", joined)
			}
		}
		if joined.tag != v.tag || joined.sets != v.sets || joined.state != v.state {
			rt.Fatalf("joined %+v, is %+v", joined, v)
		}
	})
}

// TestG8_ImpossibleViews: what no packets could have brought about is refused.
func TestG8_ImpossibleViews(t *testing.T) {
	for name, v := range map[string]sctpView{
		"nothing":                    {},
		"no tag":                     {sets: [2]SCTPSeen{SCTPSeenInit, 0}},
		"INIT ACK to nothing":        {tag: [2]uint32{1, 2}, sets: [2]SCTPSeen{0, SCTPSeenInitAck}},
		"COOKIE ECHO of nothing":     {tag: [2]uint32{1, 2}, sets: [2]SCTPSeen{SCTPSeenInit | SCTPSeenCookieEcho, 0}},
		"COOKIE ACK to nothing":      {tag: [2]uint32{1, 2}, sets: [2]SCTPSeen{SCTPSeenInit, SCTPSeenInitAck | SCTPSeenCookieAck}},
		"SHUTDOWN in the handshake":  {tag: [2]uint32{1, 2}, sets: [2]SCTPSeen{SCTPSeenInit | SCTPSeenShutdown, SCTPSeenInitAck}},
		"SHUTDOWN ACK to nothing":    {tag: [2]uint32{1, 2}, sets: [2]SCTPSeen{SCTPSeenPath | SCTPSeenShutdownAck, SCTPSeenPath}},
		"a path from the other side": {tag: [2]uint32{1, 2}, sets: [2]SCTPSeen{SCTPSeenInit, SCTPSeenPath}},
		"a path and an INIT":         {tag: [2]uint32{1, 2}, sets: [2]SCTPSeen{SCTPSeenPath | SCTPSeenInit, 0}},
		"a path without tag":         {tag: [2]uint32{1, 0}, sets: [2]SCTPSeen{SCTPSeenPath, SCTPSeenPath}},
	} {
		v.state = sctpStateOf(v.sets[Original], v.sets[Reply])
		if v.valid() {
			t.Errorf("%s: valid", name)
		}
	}
	v := sctpTrace(t, sctpToES)
	if v.state = SCTPClosed; v.valid() {
		t.Error("valid with a state that the sets do not make")
	}
	for s := range sctpStatesCount + 1 {
		if (s.String() == "UNKNOWN") != (s == sctpStatesCount) {
			t.Errorf("state %d: %v", s, s)
		}
	}
}

func TestSCTPStepDoesNotAllocate(t *testing.T) {
	v := sctpTrace(t, sctpToES)
	p := sctpParsed(packet.ChunkData, v.tag[Original], 0)
	if n := testing.AllocsPerRun(100, func() { v.step(&p, Original) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSCTPStep(b *testing.B) {
	v := sctpTrace(b, sctpToES)
	p := sctpParsed(packet.ChunkData, v.tag[Original], 0)
	for b.Loop() {
		if v.step(&p, Original) != tracked {
			b.Fatal("dropped")
		}
	}
}
