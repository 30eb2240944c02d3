package conntrack

import (
	"slices"
	"strings"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// A trace of an association, one packet per row:
//
//	-> INIT      v=0 i=a  => begin IS     v is the verification tag, i the initiate tag
//	<- INITACK   v=a i=b  => track CW
//	<- ABORT+T   v=b      => track CL     T is the T bit; chunks are joined by +
//
// Tags are letters, 0 is zero. Verdicts: begin, refuse (cannot open), track, fwd
// (forwarded, no refresh), reopen, super (the entry ends), tag and state (drop reasons).

var sctpShort = [sctpStatesCount]string{
	SCTPNone: "NO", SCTPInitSent: "IS", SCTPCookieWait: "CW", SCTPCookieEchoed: "CE", SCTPEstablished: "ES",
	SCTPShutdownSent: "SS", SCTPShutdownRecd: "SR", SCTPShutdownAckSent: "SA", SCTPHeartbeatSent: "HS", SCTPClosed: "CL",
}

var sctpChunks = map[string]packet.SCTPChunks{
	"INIT": packet.ChunkInit, "INITACK": packet.ChunkInitAck, "ABORT": packet.ChunkAbort, "T": packet.ChunkReflected,
	"COMPLETE": packet.ChunkShutdownComplete, "ECHO": packet.ChunkCookieEcho, "COOKIEACK": packet.ChunkCookieAck,
	"SHUTDOWN": packet.ChunkShutdown, "SHUTACK": packet.ChunkShutdownAck, "HB": packet.ChunkHeartbeat,
	"HBACK": packet.ChunkHeartbeatAck, "ERROR": packet.ChunkError, "DATA": packet.ChunkData, "SACK": packet.ChunkSACK,
	"ASCONF": 0,
}

func sctpParsed(chunks packet.SCTPChunks, tag, initiate uint32) packet.Parsed {
	p := parsed(tuple(packet.SCTP, "10.0.0.2", 7000, "198.51.100.7", 38412), 0)
	p.Seq, p.Ack, p.Chunks = tag, initiate, chunks
	return p
}

func sctpTag(s string) uint32 {
	_, tag, _ := strings.Cut(s, "=")
	if tag == "0" || tag == "" {
		return 0
	}
	return 0x01010101 * uint32(tag[0])
}

// sctpVerdict names a verdict.
func sctpVerdict(v verdict) string {
	switch v.effect {
	case effectTrack:
		return "track"
	case effectForward:
		return "fwd"
	case effectReopen:
		return "reopen"
	case effectSupersede:
		return "super"
	}
	switch v.reason {
	case drop.SCTPTagInvalid:
		return "tag"
	case drop.SCTPStateInvalid:
		return "state"
	}
	return v.reason.String()
}

// sctpTrace runs a trace and returns the view after it.
func sctpTrace(t testing.TB, rows string) sctpView {
	t.Helper()
	var v sctpView
	for _, row := range strings.Split(strings.TrimSpace(rows), "\n") {
		f := strings.Fields(row)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		var chunks packet.SCTPChunks
		for _, name := range strings.Split(f[1], "+") {
			bit, ok := sctpChunks[name]
			if !ok {
				t.Fatalf("what is %q?", name)
			}
			chunks |= bit
		}
		var initiate uint32
		if f[3] != "=>" {
			initiate = sctpTag(f[3])
		}
		p := sctpParsed(chunks, sctpTag(f[2]), initiate)
		dir := Original
		if f[0] == "<-" {
			dir = Reply
		}
		before, got := v, ""
		if v.state == SCTPNone {
			if got = "refuse"; sctpMayOpen(&p) == drop.Pass {
				got = "begin"
				v.begin(&p)
			}
		} else {
			got = sctpVerdict(v.step(&p, dir))
		}
		want := f[slices.Index(f, "=>")+1:]
		if got != want[0] || sctpShort[v.state] != want[1] {
			t.Fatalf("%s\n\tgot %s %s, tags %x", strings.TrimSpace(row), got, sctpShort[v.state], v.tag)
		}
		if v.state != SCTPNone && !v.valid() {
			t.Fatalf("%s\n\tnot a valid view: %+v", row, v)
		}
		if got != "begin" && got != "reopen" {
			grows(t, &before, &v)
		}
	}
	return v
}

// grows checks that within an incarnation nothing is taken back, so that a view is a join.
func grows(t testing.TB, before, after *sctpView) {
	t.Helper()
	joined := *after
	joined.merge(before)
	if joined.tag != after.tag || joined.sets != after.sets || joined.state != after.state {
		t.Fatalf("taken back: %+v, then %+v", *before, *after)
	}
}

// Associations in every state.
const (
	sctpToIS = "-> INIT v=0 i=a => begin IS\n"
	sctpToCW = sctpToIS + "<- INITACK v=a i=b => track CW\n"
	sctpToCE = sctpToCW + "-> ECHO+DATA v=b => track CE\n"
	sctpToES = sctpToCE + "<- COOKIEACK+DATA v=a => track ES\n"
	sctpToSS = sctpToES + "-> SHUTDOWN v=b => track SS\n"
	sctpToSR = sctpToES + "<- SHUTDOWN+SACK v=a => track SR\n"
	sctpToSA = sctpToSS + "<- SHUTACK v=a => track SA\n"
	sctpToCL = sctpToSA + "-> COMPLETE v=b => track CL\n"
	sctpToHS = "-> HB v=b => begin HS\n"
	sctpToPT = sctpToHS + "<- HBACK v=a => track ES\n"
)

func TestG8_AssociationTraces(t *testing.T) {
	for name, rows := range map[string]string{
		"life": sctpToCL + `
			<- SHUTACK v=a       => fwd CL     SHUTDOWN COMPLETE was lost
			-> COMPLETE+T v=a    => fwd CL     (8.5.1 C)
			-> INIT v=0 i=c      => reopen IS`,
		"closed by the server": sctpToSR + `
			-> DATA v=b          => track SR   what is left
			-> SHUTACK v=b       => track SA
			<- SHUTACK v=a       => track SA   nobody may: it sent SHUTDOWN itself
			-> COMPLETE v=b      => fwd SA     the wrong side
			<- COMPLETE v=a      => track CL`,
		"both shut down (9.2)": sctpToSS + `
			<- SHUTDOWN v=a      => track SS
			-> SHUTACK v=b       => track SA
			<- SHUTACK v=a       => track SA
			-> COMPLETE v=b      => track CL`,
		"COOKIE ACK and SHUTDOWN at once": sctpToCE + "<- COOKIEACK+SHUTDOWN v=a => track SR",
		"what cannot open": `
			-> DATA v=a          => refuse NO
			-> INITACK v=a i=b   => refuse NO
			-> ABORT v=a         => refuse NO
			-> SHUTACK v=a       => refuse NO
			-> COMPLETE+T v=a    => refuse NO
			-> ECHO+DATA v=a     => refuse NO
			-> HBACK v=a         => refuse NO
			-> HB+DATA v=a       => refuse NO
			-> ASCONF v=a        => refuse NO`,
		"refused (8.4)":         sctpToIS + "<- ABORT v=a => track CL\n-> INIT v=0 i=a => reopen IS",
		"blind ABORT":           sctpToES + "<- ABORT v=x => tag ES\n<- ABORT+T v=x => tag ES\n<- ABORT v=b => tag ES\n<- ABORT+T v=b => track CL",
		"INIT again":            sctpToIS + "-> INIT v=0 i=a => fwd IS\n<- INITACK v=a i=b => track CW",
		"closed, server's INIT": sctpToCL + "<- INIT v=0 i=c => super CL",
		"a new attempt": sctpToIS + `
			-> INIT v=0 i=c      => fwd IS     the client was restarted
			<- INITACK v=a i=b   => track CW   to the first INIT
			<- INITACK v=c i=d   => fwd CW     to the second
			-> ECHO v=d          => reopen CE
			<- COOKIEACK v=c     => track ES
			-> DATA v=b          => tag ES`,
		"two INIT ACKs, the first is used": sctpToCW + `
			<- INITACK v=a i=d   => fwd CW
			-> ECHO v=b          => track CE
			<- COOKIEACK v=a     => track ES`,
		"two INIT ACKs, the second is used": sctpToCW + `
			<- INITACK v=a i=d   => fwd CW
			-> ECHO v=d          => reopen CE
			<- COOKIEACK v=a     => track ES`,
		"INITs cross (5.2.1)": sctpToIS + `
			<- INIT v=0 i=b      => track IS
			-> INITACK v=b i=a   => track CW
			<- INITACK v=a i=b   => track CW
			-> ECHO v=b          => track CE
			<- ECHO v=a          => track CE
			<- COOKIEACK v=a     => track ES
			-> COOKIEACK v=b     => track ES`,
		"a spoofed INIT crosses": sctpToIS + `
			<- INIT v=0 i=x      => track IS
			<- INITACK v=a i=b   => fwd IS
			-> ECHO v=b          => reopen CE
			<- COOKIEACK v=a     => track ES`,
		"the server's INIT crosses COOKIE ECHO (5.2.1)": sctpToCE + `
			<- INIT v=0 i=d      => fwd CE
			-> INITACK v=d i=a   => fwd CE     the same tag as in its INIT
			<- ECHO v=a          => reopen CE
			-> COOKIEACK v=d     => track ES
			-> DATA v=b          => tag ES`,
		"restart (5.2.4 A)": sctpToES + `
			-> INIT v=0 i=c      => fwd ES
			-> DATA v=b          => track ES   not yet
			<- INITACK v=c i=d   => fwd ES     a new tag (5.2.2)
			<- DATA v=a          => track ES
			-> ECHO v=x          => tag ES
			-> ECHO v=d          => reopen CE
			<- COOKIEACK v=c     => track ES
			<- DATA v=a          => tag ES`,
		"restart of the server": sctpToES + `
			<- INIT v=0 i=d      => fwd ES
			-> INITACK v=d i=c   => fwd ES
			<- ECHO v=c          => reopen CE
			-> COOKIEACK v=d     => track ES`,
		"restart refused (5.2.2)": sctpToES + `
			-> INIT v=0 i=c      => fwd ES
			<- ABORT v=c         => fwd ES
			<- ABORT v=c         => tag ES`,
		"stale cookie (5.2.6)": sctpToCE + `
			<- ERROR v=a         => fwd CE
			-> INIT v=0 i=a      => fwd CE     the same tag is allowed
			<- INITACK v=a i=d   => fwd CE
			-> ECHO v=d          => reopen CE`,
		"INIT into a shutdown (8.5.1 E, 9.2)": `
			-> INIT v=0 i=a      => begin IS   the old association is not known here
			<- SHUTACK v=x       => fwd IS
			-> COMPLETE+T v=y    => tag IS
			-> COMPLETE v=x      => tag IS
			-> COMPLETE+T v=x    => fwd IS
			-> INIT v=0 i=a      => fwd IS
			<- INITACK v=a i=b   => track CW`,
		"a second path": sctpToHS + `
			<- DATA v=a          => tag HS     not proven yet
			-> DATA v=b          => fwd HS
			<- HB v=a            => fwd HS
			-> HBACK v=b         => track ES
			<- DATA v=a          => track ES
			<- DATA v=c          => tag ES`,
		"a second path, asked anew": sctpToHS + `
			-> HB v=d            => reopen HS
			<- HBACK v=a         => track ES
			-> DATA v=d          => track ES`,
		"a second path to nobody": sctpToHS + "<- ABORT+T v=b => track CL\n-> HB v=b => fwd CL\n-> HB v=c => reopen HS",
		"restarted over another path": sctpToPT + `
			<- HBACK v=c         => tag ES     to nothing
			-> HB v=d            => fwd ES
			-> DATA v=b          => track ES   not yet
			-> HBACK v=d         => tag ES     it cannot answer itself
			<- HBACK v=c         => reopen ES
			-> DATA v=d          => track ES
			<- DATA v=a          => tag ES`,
		"shut down over a second path": sctpToPT + "-> SHUTDOWN v=b => track SS\n<- SHUTACK v=a => track SA\n-> COMPLETE v=b => track CL",
	} {
		t.Run(name, func(t *testing.T) { sctpTrace(t, rows) })
	}
}
