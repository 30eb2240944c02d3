package conntrack

import (
	"testing"
	"time"
)

// TestProfiles spells out what the functions come to, in seconds: plain, translated.
func TestProfiles(t *testing.T) {
	for _, row := range []struct {
		timer                                         Timer
		normal, aggressive, conservative, highLatency [2]int
	}{
		{TimerSynSent, [2]int{120, 240}, [2]int{30, 240}, [2]int{3600, 3600}, [2]int{180, 300}},
		{TimerSynRecv, [2]int{60, 240}, [2]int{5, 240}, [2]int{900, 900}, [2]int{65, 245}},
		{TimerEstablished, [2]int{432000, 7440}, [2]int{18000, 7440}, [2]int{432000, 432000}, [2]int{432000, 7440}},
		{TimerFinWait, [2]int{120, 240}, [2]int{60, 240}, [2]int{3600, 3600}, [2]int{125, 245}},
		{TimerCloseWait, [2]int{60, 240}, [2]int{60, 240}, [2]int{3600, 3600}, [2]int{65, 245}},
		{TimerLastAck, [2]int{30, 240}, [2]int{30, 240}, [2]int{600, 600}, [2]int{35, 245}},
		{TimerTimeWait, [2]int{120, 240}, [2]int{30, 240}, [2]int{180, 240}, [2]int{125, 245}},
		{TimerClose, [2]int{10, 240}, [2]int{10, 240}, [2]int{180, 240}, [2]int{15, 245}},
		{TimerUnacknowledged, [2]int{300, 300}, [2]int{300, 300}, [2]int{300, 300}, [2]int{300, 300}},
		{TimerZeroWindow, [2]int{300, 300}, [2]int{300, 300}, [2]int{300, 300}, [2]int{300, 300}},
		{TimerResetInexact, [2]int{10, 240}, [2]int{10, 240}, [2]int{180, 240}, [2]int{15, 245}},
		{TimerUDP, [2]int{30, 120}, [2]int{30, 120}, [2]int{60, 120}, [2]int{30, 120}},
		{TimerUDPStream, [2]int{120, 300}, [2]int{60, 120}, [2]int{120, 300}, [2]int{120, 300}},
		{TimerICMP, [2]int{30, 60}, [2]int{20, 60}, [2]int{30, 60}, [2]int{30, 60}},
		{TimerGRE, [2]int{30, 120}, [2]int{30, 60}, [2]int{60, 120}, [2]int{30, 120}},
		{TimerGREStream, [2]int{180, 300}, [2]int{60, 60}, [2]int{180, 300}, [2]int{180, 300}},
		{TimerGeneric, [2]int{600, 600}, [2]int{60, 60}, [2]int{600, 600}, [2]int{600, 600}},
	} {
		for p, want := range map[Profile][2]int{
			ProfileNormal: row.normal, ProfileAggressive: row.aggressive,
			ProfileConservative: row.conservative, ProfileHighLatency: row.highLatency,
		} {
			timeouts := p.Timeouts()
			got := [2]int{int(timeouts.Plain[row.timer] / time.Second), int(timeouts.Translated[row.timer] / time.Second)}
			if got != want {
				t.Errorf("%v %v: %v, want %v", p, row.timer, got, want)
			}
		}
	}
}

// TestProfilesKeepTheFloors: no profile forgets a translated connection before the RFCs allow.
func TestProfilesKeepTheFloors(t *testing.T) {
	for _, p := range Profiles() {
		timeouts := p.Timeouts()
		if _, err := timeouts.compile(); err != nil {
			t.Errorf("%v: %v", p, err)
		}
		for _, timer := range Timers() {
			if least, source := timer.Floor(); timeouts.Translated[timer] < least {
				t.Errorf("%v: %v = %v is less than %v, %s", p, timer, timeouts.Translated[timer], least, source)
			}
		}
	}
	if *DefaultTimeouts() != *ProfileNormal.Timeouts() {
		t.Error("normal is not the default")
	}
}
