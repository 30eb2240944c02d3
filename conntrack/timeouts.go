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
	timersCount
)

// timerTable is the one place where timeouts come from. Plain connections get what Linux
// gives (6.18, net/netfilter/nf_conntrack_proto_*.c); translated ones the floors of the
// RFCs, since there a forgotten connection loses its port to a stranger.
var timerTable = [timersCount]struct {
	name              string
	plain, translated time.Duration
	floor             string // where the translated value comes from
}{
	TimerNone:           {"none", 0, 0, ""},
	TimerSynSent:        {"tcp-syn-sent", 120 * time.Second, 240 * time.Second, "RFC 5382 REQ-5, transitory"},
	TimerSynRecv:        {"tcp-syn-recv", 60 * time.Second, 240 * time.Second, "RFC 5382 REQ-5, transitory"},
	TimerEstablished:    {"tcp-established", 432000 * time.Second, 7440 * time.Second, "RFC 5382 REQ-5, established"},
	TimerFinWait:        {"tcp-fin-wait", 120 * time.Second, 240 * time.Second, "RFC 5382 REQ-5, transitory"},
	TimerCloseWait:      {"tcp-close-wait", 60 * time.Second, 240 * time.Second, "RFC 5382 REQ-5, transitory"},
	TimerLastAck:        {"tcp-last-ack", 30 * time.Second, 240 * time.Second, "RFC 5382 REQ-5, transitory"},
	TimerTimeWait:       {"tcp-time-wait", 120 * time.Second, 240 * time.Second, "RFC 5382 REQ-5, transitory"},
	TimerClose:          {"tcp-close", 10 * time.Second, 240 * time.Second, "RFC 7857 section 2.2: about 4 minutes after a reset (D7)"},
	TimerUnacknowledged: {"tcp-unacknowledged", 300 * time.Second, 300 * time.Second, "Linux, above the transitory floor"},
	TimerZeroWindow:     {"tcp-zero-window", 300 * time.Second, 300 * time.Second, "Linux, above the transitory floor"},
	TimerResetInexact:   {"tcp-reset-inexact", 10 * time.Second, 240 * time.Second, "as tcp-close"},
	TimerUDP:            {"udp", 30 * time.Second, 120 * time.Second, "RFC 4787 REQ-5, at least"},
	TimerUDPStream:      {"udp-stream", 120 * time.Second, 300 * time.Second, "RFC 4787 REQ-5, recommended"},
	TimerICMP:           {"icmp", 30 * time.Second, 60 * time.Second, "RFC 5508 REQ-2"},
	TimerGRE:            {"gre", 30 * time.Second, 120 * time.Second, "as udp"},
	TimerGREStream:      {"gre-stream", 180 * time.Second, 300 * time.Second, "as udp-stream"},
	TimerGeneric:        {"generic", 600 * time.Second, 600 * time.Second, "Linux; no RFC"},
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

// Timeouts says how long a connection may be idle, for each timer, by whether its
// addresses or ports are translated.
type Timeouts struct {
	Plain, Translated [timersCount]time.Duration
}

// DefaultTimeouts returns Linux's values for plain connections and the floors of the RFCs
// for translated ones.
func DefaultTimeouts() *Timeouts {
	var t Timeouts
	for timer, row := range timerTable {
		t.Plain[timer], t.Translated[timer] = row.plain, row.translated
	}
	return &t
}

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
	GraceUnset  Grace = iota
	GraceOwner        // the timeout itself: this node forwards the connection's packets
	GraceShadow       // one and a half times: a living peer forwards them, and refreshes ours after a third
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
