package conntrack

import (
	"holdfast/dataplane/packet"
)

// SCTP: what an association has shown of itself, and what a packet may do to it. The
// table is nf_conntrack's (net/netfilter/nf_conntrack_proto_sctp.c) where that agrees
// with RFC 9260; the differences are marked "not Linux".
//
//	          INIT            INIT ACK             COOKIE ECHO              COOKIE ACK
//	NONE --------> INIT_SENT --------> COOKIE_WAIT --------> COOKIE_ECHOED --------> ESTABLISHED
//	  |                                                                               |        |
//	  | HEARTBEAT                 HEARTBEAT ACK                              SHUTDOWN |        | SHUTDOWN
//	  +----------> HEARTBEAT_SENT ------------> ESTABLISHED             SHUTDOWN_SENT    SHUTDOWN_RECD
//	                                                                                  |        | SHUTDOWN ACK
//	                                        SHUTDOWN COMPLETE                         v        v
//	               CLOSED <------------------------------------------------- SHUTDOWN_ACK_SENT
//	                  ^ ABORT, from anywhere
//
// The initiator of the shutdown is the original side in SHUTDOWN_SENT, the reply side in
// SHUTDOWN_RECD. INIT_SENT is what Linux calls CLOSED too: RFC 9260 has no state of the
// network between the two ends, and a name for "asked" and "over" alike helps nobody.
//
// # Verification tags (RFC 9260 section 8.5)
//
// Each end chooses a tag and says it in its INIT or INIT ACK; every packet to it carries
// that tag. It takes the place of a window: who does not see the packets must guess 32
// bits. ABORT and SHUTDOWN COMPLETE may, with the T bit, carry the sender's own tag back.
//
// # Decisions
//
//   - INIT opens, and so does a HEARTBEAT alone: that is how the further paths of a
//     multihomed association first show (as Linux). Nothing else does: a SHUTDOWN ACK
//     without an association is dropped (not Linux).
//   - An INIT in a live association changes nothing: it is forwarded and remembered, so is
//     the INIT ACK to it, and only the COOKIE ECHO that carries the new tag begins a new
//     incarnation. Anybody can send an INIT, but nobody can answer one that he does not
//     see, so restarts (section 5.2.4) and stale cookies (5.2.6) work and spoofed INITs do
//     not hurt. Linux believes the INIT at once.
//   - INITs that cross (5.2.1) are one association: both sides keep the tag of their own
//     INIT. An INIT ACK that says another tag is only remembered, as above.
//   - HEARTBEAT with another tag than ours is forwarded and remembered, and believed when
//     the other side sends HEARTBEAT ACK: the association was restarted over another path.
//   - In CLOSED an INIT or a new HEARTBEAT of the original side begins anew in place, one
//     of the reply side is a packet without a connection: the rules decide (E6).
//   - A SHUTDOWN ACK amid a handshake belongs to the association before (8.5.1 E): it and the
//     SHUTDOWN COMPLETE that reflects its tag are forwarded and change nothing.
//   - SHUTDOWN_SENT wins where both sides shut down at once: the state follows from the
//     sets alone.

// SCTPSeen is the set of what a direction of an association has done. It only grows while an
// incarnation lives; the state follows from the two sets.
type SCTPSeen uint8

// The elements of an SCTPSeen.
const (
	SCTPSeenInit        SCTPSeen = 1 << iota // sent an INIT
	SCTPSeenInitAck                          // answered one
	SCTPSeenCookieEcho                       // sent COOKIE ECHO
	SCTPSeenCookieAck                        // answered one
	SCTPSeenShutdown                         // sent SHUTDOWN
	SCTPSeenShutdownAck                      // answered one
	SCTPSeenEnd                              // sent SHUTDOWN COMPLETE or ABORT
	SCTPSeenPath                             // original: opened by HEARTBEAT; reply: the path was proven
)

// SCTPState names what an association is doing; it follows from the two sets. Zero: nothing yet.
type SCTPState uint8

// The states.
const (
	SCTPNone SCTPState = iota
	SCTPInitSent
	SCTPCookieWait
	SCTPCookieEchoed
	SCTPEstablished
	SCTPShutdownSent
	SCTPShutdownRecd
	SCTPShutdownAckSent
	SCTPHeartbeatSent
	SCTPClosed
	sctpStatesCount
)

var sctpStateNames = [sctpStatesCount]string{
	SCTPNone: "NONE", SCTPInitSent: "INIT_SENT", SCTPCookieWait: "COOKIE_WAIT", SCTPCookieEchoed: "COOKIE_ECHOED",
	SCTPEstablished: "ESTABLISHED", SCTPShutdownSent: "SHUTDOWN_SENT", SCTPShutdownRecd: "SHUTDOWN_RECD",
	SCTPShutdownAckSent: "SHUTDOWN_ACK_SENT", SCTPHeartbeatSent: "HEARTBEAT_SENT", SCTPClosed: "CLOSED",
}

// String returns the name as `conntrack -L` prints it.
func (s SCTPState) String() string {
	if s < sctpStatesCount {
		return sctpStateNames[s]
	}
	return "UNKNOWN"
}

// sctpStateOf returns the state that two sets make.
func sctpStateOf(original, reply SCTPSeen) SCTPState {
	either := original | reply
	switch {
	case either&SCTPSeenEnd != 0:
		return SCTPClosed
	case either&SCTPSeenShutdownAck != 0:
		return SCTPShutdownAckSent
	case original&SCTPSeenShutdown != 0:
		return SCTPShutdownSent
	case reply&SCTPSeenShutdown != 0:
		return SCTPShutdownRecd
	case either&SCTPSeenCookieAck != 0, reply&SCTPSeenPath != 0:
		return SCTPEstablished
	case either&SCTPSeenCookieEcho != 0:
		return SCTPCookieEchoed
	case either&SCTPSeenInitAck != 0:
		return SCTPCookieWait
	case either&SCTPSeenInit != 0:
		return SCTPInitSent
	case original&SCTPSeenPath != 0:
		return SCTPHeartbeatSent
	}
	return SCTPNone
}

// sctpView is what the machine knows of an association. tag and sets are the exported form
// and a join; state follows; the memo stays on the node that saw the packet.
type sctpView struct {
	tag   [2]uint32   // that packets of each direction carry; 0: not known yet
	sets  [2]SCTPSeen // what each direction did
	state SCTPState   // sctpStateOf(sets)

	memo     sctpMemo
	memoBy   Direction // who sent the packet that memo remembers
	memoTags [2]uint32 // that packets of each direction will carry if memo proves right; 0: not known yet
}

// sctpMemo says what a view remembers: a packet that was forwarded although it does not
// fit the association, because the firewall may be the one that is wrong.
type sctpMemo uint8

const (
	sctpMemoNone      sctpMemo = iota
	sctpMemoInit               // an INIT: memoTags[peer] is its initiate tag, [by] that of the INIT ACK to it
	sctpMemoHeartbeat          // a HEARTBEAT with the tag memoTags[by]
	sctpMemoShutdown           // a SHUTDOWN ACK of an earlier association, with the tag memoTags[by]
)

// sctpKind is what a packet is to the table: the first of its chunks in this order.
// INIT, INIT ACK and SHUTDOWN COMPLETE are alone in theirs, the decoder has made sure.
type sctpKind uint8

const (
	sctpKindInit sctpKind = iota
	sctpKindInitAck
	sctpKindAbort
	sctpKindShutdownComplete
	sctpKindCookieEcho
	sctpKindCookieAck
	sctpKindShutdownAck
	sctpKindShutdown
	sctpKindHeartbeat
	sctpKindHeartbeatAck
	sctpKindError
	sctpKindOther // DATA, SACK and all that neither begins nor ends anything
	sctpKindsCount
)

// sctpChunkOf is the chunk that makes a packet of each kind.
var sctpChunkOf = [sctpKindOther]packet.SCTPChunks{
	packet.ChunkInit, packet.ChunkInitAck, packet.ChunkAbort, packet.ChunkShutdownComplete,
	packet.ChunkCookieEcho, packet.ChunkCookieAck, packet.ChunkShutdownAck, packet.ChunkShutdown,
	packet.ChunkHeartbeat, packet.ChunkHeartbeatAck, packet.ChunkError,
}

// sctpRare is every chunk that makes a packet other than sctpKindOther.
const sctpRare = packet.ChunkInit | packet.ChunkInitAck | packet.ChunkAbort | packet.ChunkShutdownComplete |
	packet.ChunkCookieEcho | packet.ChunkCookieAck | packet.ChunkShutdownAck | packet.ChunkShutdown |
	packet.ChunkHeartbeat | packet.ChunkHeartbeatAck | packet.ChunkError

// sctpKindOf classifies a packet.
func sctpKindOf(chunks packet.SCTPChunks) sctpKind {
	if chunks&sctpRare == 0 {
		return sctpKindOther
	}
	kind := sctpKindInit
	for chunks&sctpChunkOf[kind] == 0 {
		kind++
	}
	return kind
}

// sctpAction is what the table says about a kind of packet in a state.
type sctpAction uint8

const (
	scIV sctpAction = iota // invalid: dropped. The zero value, so that a gap drops
	scTR                   // with the right tag: note what it did
	scFW                   // with the right tag: forward, no change, no refresh
	scIN                   // INIT: repeated, crossing, or to remember
	scIA                   // INIT ACK: to our INIT or to a remembered one
	scCE                   // COOKIE ECHO: ours, or the one that makes a remembered INIT true
	scCA                   // COOKIE ACK: to a COOKIE ECHO of the other side
	scAB                   // ABORT, with the tag as its T bit says
	scSC                   // SHUTDOWN COMPLETE, likewise
	scOS                   // SHUTDOWN ACK amid a handshake: of an older association
	scHB                   // HEARTBEAT: with the right tag, or to remember
	scHA                   // HEARTBEAT ACK: with the right tag, or to a remembered HEARTBEAT
	scRE                   // INIT in CLOSED: begins anew, or supersedes
	scHC                   // HEARTBEAT in CLOSED: a straggler, or the same
)

// sctpTable is the table. Both directions share it: who may do what follows from the tags
// and from what the other side did.
var sctpTable = [sctpKindsCount][sctpStatesCount]sctpAction{
	//                          NO    IS    CW    CE    ES    SS    SR    SA    HS    CL
	sctpKindInit: {scIV, scIN, scIN, scIN, scIN, scIN, scIN, scIN, scIN, scRE},
	//                          CL: nobody waits for it any more
	sctpKindInitAck: {scIV, scIA, scIA, scIA, scIA, scIA, scIA, scIA, scIA, scIV},
	sctpKindAbort:   {scIV, scAB, scAB, scAB, scAB, scAB, scAB, scAB, scAB, scAB},
	//                          ends only SA (9.2); IS to CE: reflects the SHUTDOWN ACK of scOS
	sctpKindShutdownComplete: {scIV, scSC, scSC, scSC, scSC, scSC, scSC, scSC, scSC, scSC},
	//                          CL: a late one would make an association that we say is over
	sctpKindCookieEcho: {scIV, scCE, scCE, scCE, scCE, scCE, scCE, scCE, scCE, scIV},
	//                          ES and later: answers a repeated COOKIE ECHO (5.2.4 D)
	sctpKindCookieAck: {scIV, scIV, scIV, scCA, scCA, scCA, scCA, scCA, scFW, scFW},
	//                          CL: repeated, since the SHUTDOWN COMPLETE was lost
	sctpKindShutdownAck: {scIV, scOS, scOS, scOS, scTR, scTR, scTR, scTR, scFW, scFW},
	//                          CE: the server is established already, the client will ignore it (9.2)
	sctpKindShutdown: {scIV, scIV, scIV, scFW, scTR, scTR, scTR, scTR, scFW, scFW},
	//                          IS, CW: there is no association that could send it; below the same
	sctpKindHeartbeat:    {scIV, scIV, scIV, scFW, scHB, scHB, scHB, scHB, scHB, scHC},
	sctpKindHeartbeatAck: {scIV, scIV, scIV, scFW, scHA, scHA, scHA, scHA, scHA, scFW},
	//                          CE: a stale cookie; the client asks again with INIT (5.2.6)
	sctpKindError: {scIV, scIV, scIV, scFW, scTR, scTR, scTR, scTR, scFW, scFW},
	//                          CE: overtook the COOKIE ACK; HS: the path is not proven yet
	sctpKindOther: {scIV, scIV, scIV, scFW, scTR, scTR, scTR, scTR, scFW, scFW},
}
