package conntrack

import (
	"fmt"
	"time"
)

// Profile is a whole table of timeouts by one word, as pf's `set optimization`. Each is a
// function of the normal table (timerTable) and of pf's values under the word of the same
// name, timer by timer:
//
//	normal        the normal table
//	aggressive    the lesser of normal and pf's aggressive: idle connections go early
//	conservative  the greater of normal and pf's conservative: idle ones stay, at the cost of memory
//	high-latency  normal and what pf's satellite adds to pf's normal: for round trips of seconds
//
// For translated connections the same is done with the normal table's translated column,
// and no result falls below the floor of the RFCs. A timer that pf does not have stays
// normal in every profile.
type Profile uint8

// The profiles. The zero value is the default.
const (
	ProfileNormal Profile = iota
	ProfileAggressive
	ProfileConservative
	ProfileHighLatency
	profilesCount
)

// String returns the word of the configuration.
func (p Profile) String() string {
	if p < profilesCount {
		return [...]string{"normal", "aggressive", "conservative", "high-latency"}[p]
	}
	return fmt.Sprintf("profile-%d", uint8(p))
}

// Profiles returns every profile.
func Profiles() []Profile {
	return []Profile{ProfileNormal, ProfileAggressive, ProfileConservative, ProfileHighLatency}
}

// pfTimers are pf's timeouts by our timers (OpenBSD sbin/pfctl/pfctl.c, pf_hint_*; for what
// the hints leave alone sys/net/pfvar.h, PFTM_*_VAL, the same in each). pf counts by
// ends: closing is one FIN, finwait both, closed both acknowledged or a reset.
var pfTimers = [timersCount]struct {
	normal, aggressive, conservative, satellite time.Duration
}{
	TimerSynSent:      {120 * time.Second, 30 * time.Second, time.Hour, 180 * time.Second},      // tcp.first
	TimerSynRecv:      {30 * time.Second, 5 * time.Second, 15 * time.Minute, 35 * time.Second},  // tcp.opening
	TimerEstablished:  {24 * time.Hour, 5 * time.Hour, 5 * 24 * time.Hour, 24 * time.Hour},      // tcp.established
	TimerFinWait:      {15 * time.Minute, time.Minute, time.Hour, 905 * time.Second},            // tcp.closing
	TimerCloseWait:    {15 * time.Minute, time.Minute, time.Hour, 905 * time.Second},            // tcp.closing
	TimerLastAck:      {45 * time.Second, 30 * time.Second, 10 * time.Minute, 50 * time.Second}, // tcp.finwait
	TimerTimeWait:     {90 * time.Second, 30 * time.Second, 3 * time.Minute, 95 * time.Second},  // tcp.closed
	TimerClose:        {90 * time.Second, 30 * time.Second, 3 * time.Minute, 95 * time.Second},  // tcp.closed
	TimerResetInexact: {90 * time.Second, 30 * time.Second, 3 * time.Minute, 95 * time.Second},  // tcp.closed
	TimerUDP:          {time.Minute, time.Minute, time.Minute, time.Minute},                     // udp.first
	TimerUDPStream:    {time.Minute, time.Minute, time.Minute, time.Minute},                     // udp.multiple
	TimerICMP:         {20 * time.Second, 20 * time.Second, 20 * time.Second, 20 * time.Second}, // icmp.first
	TimerGRE:          {time.Minute, time.Minute, time.Minute, time.Minute},                     // other.first
	TimerGREStream:    {time.Minute, time.Minute, time.Minute, time.Minute},                     // other.multiple
	TimerGeneric:      {time.Minute, time.Minute, time.Minute, time.Minute},                     // other.multiple
}

// Timeouts returns the table of the profile.
func (p Profile) Timeouts() *Timeouts {
	var t Timeouts
	for timer := TimerNone + 1; timer < timersCount; timer++ {
		row := &timerTable[timer]
		t.Plain[timer] = p.of(timer, row.plain)
		t.Translated[timer] = max(p.of(timer, row.translated), row.floor)
	}
	return &t
}

// of is the profile as a function of one value of the normal table.
func (p Profile) of(timer Timer, normal time.Duration) time.Duration {
	pf := &pfTimers[timer]
	if pf.normal == 0 { // pf has no such timer
		return normal
	}
	switch p {
	case ProfileAggressive:
		return min(normal, pf.aggressive)
	case ProfileConservative:
		return max(normal, pf.conservative)
	case ProfileHighLatency:
		return normal + pf.satellite - pf.normal
	}
	return normal
}
