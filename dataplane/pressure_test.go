package dataplane

import (
	"testing"

	"holdfast/dataplane/drop"
)

// TestB15_FirstPacketsAreShedUnderPressure: while bursts come back full, fewer and fewer
// first packets of each are admitted, and every packet of a connection goes on.
func TestB15_FirstPacketsAreShedUnderPressure(t *testing.T) {
	r := newRig(t)
	r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t))
	r.feed(wan, fromServer(packetIn{sport: 80, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t))
	d := r.w.shares[lan].device
	data := fromClient(packetIn{sport: 4000, dport: 80, flags: "A", seq: 101, ack: 501}).frame(t)
	port := uint16(5000)
	for _, row := range []struct{ n, admitted int }{{64, 32}, {64, 16}, {64, 8}, {64, 8}, {40, 8}, {20, 19}, {64, 32}} {
		var frames [][]byte
		for range row.n - 1 {
			port++
			frames = append(frames, fromClient(packetIn{sport: port, dport: 80, flags: "S", seq: 9}).frame(t))
		}
		r.w.burst.admissions = d.admissions(row.n)
		left := r.feed(lan, append(frames, data)...)
		if got, want := r.w.burst.sheds(), row.admitted < row.n-1; got != want {
			t.Errorf("a burst of %d sheds: %v, want %v", row.n, got, want)
		}
		shed := 0
		for _, why := range r.dropped(lan) {
			if why != drop.AdmissionShed {
				t.Fatalf("a packet died of %v", why)
			}
			shed++
		}
		if len(left) != row.admitted+1 || shed != row.n-1-row.admitted {
			t.Errorf("of %d first packets %d were admitted, want %d; %d shed", row.n-1, len(left)-1, row.admitted, shed)
		}
	}
}
