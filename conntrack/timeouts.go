package conntrack

import (
	"fmt"
	"math/bits"
	"time"

	"holdfast/dataplane/packet"
)

// Timer names what an idle connection is waiting for, and by that how long it may wait.
type Timer uint8

// The timers. The zero value is illegal.
const (
	TimerNone Timer = iota
	TimerSynSent
	TimerSynRecv
	TimerEstablished
	TimerFinWait
	TimerCloseWait
	TimerLastAck
	TimerTimeWait
	TimerClose
	TimerUnacknowledged // established, data not acknowledged yet
	TimerZeroWindow     // established, and the last packet closed the window
	TimerResetInexact   // established, and a reset in the window but not exact came by
	TimerUDP
	TimerUDPStream
	TimerICMP
	TimerGRE
	TimerGREStream
	TimerGeneric
	TimerSCTPInit
	TimerSCTPCookieWait
	TimerSCTPCookieEchoed
	TimerSCTPEstablished
	TimerSCTPShutdownSent
	TimerSCTPShutdownRecd
	TimerSCTPShutdownAckSent
	TimerSCTPHeartbeat
	TimerSCTPClosed
	timersCount
)

// transitory is the floor of everything in TCP but established: RFC 5382 REQ-5 for what
// opens and closes, RFC 7857 section 2.2 for what a reset has ended (D7).
const transitory = 240 * time.Second

// timerTable is the normal table: the one place that timeouts come from, of which every
// Profile is a function. Plain connections get what Linux gives (6.18,
// net/netfilter/nf_conntrack_proto_*.c). For translated ones RFCs set floors, since there
// a forgotten connection loses its port to a stranger; they get the floor where it is
// longer, or what the RFC recommends.
var timerTable = [timersCount]struct {
	name                     string
	plain, translated, floor time.Duration
	source                   string // of the floor
}{
	TimerNone:           {"none", 0, 0, 0, ""},
	TimerSynSent:        {"tcp-syn-sent", 120 * time.Second, 240 * time.Second, transitory, "RFC 5382 REQ-5"},
	TimerSynRecv:        {"tcp-syn-recv", 60 * time.Second, 240 * time.Second, transitory, "RFC 5382 REQ-5"},
	TimerEstablished:    {"tcp-established", 432000 * time.Second, 7440 * time.Second, 7440 * time.Second, "RFC 5382 REQ-5"},
	TimerFinWait:        {"tcp-fin-wait", 120 * time.Second, 240 * time.Second, transitory, "RFC 5382 REQ-5"},
	TimerCloseWait:      {"tcp-close-wait", 60 * time.Second, 240 * time.Second, transitory, "RFC 5382 REQ-5"},
	TimerLastAck:        {"tcp-last-ack", 30 * time.Second, 240 * time.Second, transitory, "RFC 5382 REQ-5"},
	TimerTimeWait:       {"tcp-time-wait", 120 * time.Second, 240 * time.Second, transitory, "RFC 5382 REQ-5"},
	TimerClose:          {"tcp-close", 10 * time.Second, 240 * time.Second, transitory, "RFC 7857 section 2.2"},
	TimerUnacknowledged: {"tcp-unacknowledged", 300 * time.Second, 300 * time.Second, transitory, "RFC 5382 REQ-5"},
	TimerZeroWindow:     {"tcp-zero-window", 300 * time.Second, 300 * time.Second, transitory, "RFC 5382 REQ-5"},
	TimerResetInexact:   {"tcp-reset-inexact", 10 * time.Second, 240 * time.Second, transitory, "RFC 7857 section 2.2"},
	TimerUDP:            {"udp", 30 * time.Second, 120 * time.Second, 120 * time.Second, "RFC 4787 REQ-5"},
	TimerUDPStream:      {"udp-stream", 120 * time.Second, 300 * time.Second, 120 * time.Second, "RFC 4787 REQ-5"}, // which recommends 300 s
	TimerICMP:           {"icmp", 30 * time.Second, 60 * time.Second, 60 * time.Second, "RFC 5508 REQ-2"},
	TimerGRE:            {"gre", 30 * time.Second, 120 * time.Second, 0, ""}, // no RFC; as udp
	TimerGREStream:      {"gre-stream", 180 * time.Second, 300 * time.Second, 0, ""},
	TimerGeneric:        {"generic", 600 * time.Second, 600 * time.Second, 0, ""},

	// No RFC speaks of translated SCTP: 60 s is RTO.Max, the longest between two tries (RFC
	// 9260 section 16); established as TCP, because heartbeats can be switched off.
	TimerSCTPInit:            {"sctp-init", 10 * time.Second, 60 * time.Second, 0, ""},
	TimerSCTPCookieWait:      {"sctp-cookie-wait", 3 * time.Second, 60 * time.Second, 0, ""},
	TimerSCTPCookieEchoed:    {"sctp-cookie-echoed", 3 * time.Second, 60 * time.Second, 0, ""},
	TimerSCTPEstablished:     {"sctp-established", 210 * time.Second, 7440 * time.Second, 0, ""},
	TimerSCTPShutdownSent:    {"sctp-shutdown-sent", 3 * time.Second, 60 * time.Second, 0, ""},
	TimerSCTPShutdownRecd:    {"sctp-shutdown-recd", 3 * time.Second, 60 * time.Second, 0, ""},
	TimerSCTPShutdownAckSent: {"sctp-shutdown-ack-sent", 3 * time.Second, 60 * time.Second, 0, ""},
	TimerSCTPHeartbeat:       {"sctp-heartbeat", 30 * time.Second, 60 * time.Second, 0, ""},
	TimerSCTPClosed:          {"sctp-closed", 10 * time.Second, 60 * time.Second, 0, ""},
}

// String returns the name of the timer.
func (t Timer) String() string {
	if t < timersCount {
		return timerTable[t].name
	}
	return fmt.Sprintf("timer-%d", uint8(t))
}

// Timers returns every timer.
func Timers() []Timer {
	all := make([]Timer, 0, timersCount-1)
	for t := TimerNone + 1; t < timersCount; t++ {
		all = append(all, t)
	}
	return all
}

// ParseTimer returns the timer of a name that String gives.
func ParseTimer(name string) (Timer, bool) {
	for t := TimerNone + 1; t < timersCount; t++ {
		if timerTable[t].name == name {
			return t, true
		}
	}
	return TimerNone, false
}

// Floor returns the least that an RFC allows for translated connections, and which. It is
// zero where none speaks.
func (t Timer) Floor() (least time.Duration, source string) {
	if t >= timersCount {
		return 0, ""
	}
	return timerTable[t].floor, timerTable[t].source
}

// Timeouts says how long a connection may be idle, for each timer, by whether its
// addresses or ports are translated.
type Timeouts struct {
	Plain, Translated [timersCount]time.Duration
}

// DefaultTimeouts returns the normal table: Linux's values for plain connections and the
// floors of the RFCs for translated ones.
func DefaultTimeouts() *Timeouts { return ProfileNormal.Timeouts() }

// timeoutMax keeps one and a half timeouts (GraceShadow) within the range in which two
// 32-bit stamps in milliseconds can be compared: 24.8 days.
const timeoutMax = 14 * 24 * time.Hour

// limits is a Timeouts made ready for the path: milliseconds, and for each timer the
// length of an export period as a power of two.
type limits struct {
	idle   [2][timersCount]uint32 // ms; [0] plain, [1] translated
	period [2][timersCount]uint8  // log2 of ms; see Conn.periodOver
}

// compile checks the timeouts and makes them ready.
func (t *Timeouts) compile() (limits, error) {
	var l limits
	for i, set := range [2]*[timersCount]time.Duration{&t.Plain, &t.Translated} {
		for timer := TimerNone + 1; timer < timersCount; timer++ {
			d := set[timer]
			if d < time.Millisecond || d > timeoutMax {
				return limits{}, fmt.Errorf("conntrack: timeout %v = %v: must lie between 1ms and %v", timer, d, timeoutMax)
			}
			ms := uint32(d / time.Millisecond)
			l.idle[i][timer] = ms
			l.period[i][timer] = uint8(bits.Len32(ms/3|1) - 1)
		}
	}
	return l, nil
}

// translated returns which of the two columns holds for connections with these flags.
func translated(f Flags) int {
	if f&(SourceNAT|DestinationNAT) != 0 {
		return 1
	}
	return 0
}

// Grace says how patient a sweep is.
type Grace uint8

// The graces. The zero value is illegal.
const (
	GraceUnset   Grace = iota
	GraceOwner         // the timeout itself: this node forwards the connection's packets
	GraceShadow        // one and a half times: a living peer forwards them, and refreshes ours after a third
	GraceEternal       // whatever is idle stays: only what a kill has ended goes
)

// apply stretches a timeout, in ms.
func (g Grace) apply(limit uint32) uint32 {
	if g == GraceShadow {
		return limit + limit/2
	}
	return limit
}

// pseudoTimer returns the timer of a connection that is not TCP.
func pseudoTimer(proto packet.Proto, f Flags) Timer {
	stream := f&Assured != 0
	switch proto {
	case packet.UDP, packet.UDPLite:
		if stream {
			return TimerUDPStream
		}
		return TimerUDP
	case packet.ICMP, packet.ICMPv6:
		return TimerICMP
	case packet.GRE:
		if stream {
			return TimerGREStream
		}
		return TimerGRE
	}
	return TimerGeneric
}
