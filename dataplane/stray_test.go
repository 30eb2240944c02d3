package dataplane

import (
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// TestI13_ForgedFromOutside: a packet that comes in by the wan with the very tuple of a
// connection from inside, and a number in its window, is forged: it neither passes nor
// moves the connection's window. So is one from inside with the server's address.
func TestI13_ForgedFromOutside(t *testing.T) {
	r := newRig(t)
	r.feed(lan, fromClient(packetIn{sport: 40000, dport: 443, flags: "S", seq: 100}).frame(t))
	r.feed(wan, fromServer(packetIn{sport: 443, dport: 40000, flags: "SA", seq: 500, ack: 101}).frame(t))
	r.feed(lan, fromClient(packetIn{sport: 40000, dport: 443, flags: "A", seq: 101, ack: 501}).frame(t))
	if why := r.dropped(lan); len(why)+len(r.dropped(wan)) != 0 {
		t.Fatal(why)
	}
	inside := fromClient(packetIn{sport: 40000, dport: 443, flags: "AP", seq: 101, ack: 501, payload: 60})
	inside.fromMAC, inside.toMAC = macServer, macWan
	outside := fromServer(packetIn{sport: 443, dport: 40000, flags: "AP", seq: 501, ack: 101, payload: 60})
	outside.fromMAC, outside.toMAC = macClient, macLan
	for _, forged := range []struct {
		port packet.PortID
		packetIn
	}{{wan, inside}, {lan, outside}} {
		if got := r.feed(forged.port, forged.frame(t)); len(got) != 0 {
			t.Errorf("a forged packet into port %d left by %d", forged.port, got[0].port)
		}
		if why := r.dropped(forged.port); len(why) != 1 || why[0] != drop.SourceInvalid {
			t.Errorf("port %d: %v", forged.port, why)
		}
	}
	// Had a window moved, these would acknowledge what was never sent.
	for _, honest := range []struct {
		port packet.PortID
		packetIn
	}{
		{wan, fromServer(packetIn{sport: 443, dport: 40000, flags: "A", seq: 501, ack: 161})},
		{lan, fromClient(packetIn{sport: 40000, dport: 443, flags: "A", seq: 101, ack: 561})},
	} {
		if got := r.feed(honest.port, honest.frame(t)); len(got) != 0 {
			t.Errorf("an acknowledgement of forged bytes passed port %d", honest.port)
		}
	}
	if got := r.feed(lan, fromClient(packetIn{sport: 40000, dport: 443, flags: "A", seq: 101, ack: 501, payload: 10}).frame(t)); len(got) != 1 {
		t.Errorf("the connection does not go on: %v", r.dropped(lan))
	}
}
