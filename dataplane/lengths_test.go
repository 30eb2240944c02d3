package dataplane

import (
	"slices"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// TestC16_PaddingIsNoData: what Ethernet pads a short segment with does not count as sent:
// it may not be acknowledged.
func TestC16_PaddingIsNoData(t *testing.T) {
	r := newRig(t)
	r.feed(lan, padded(fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t)))
	r.feed(wan, padded(fromServer(packetIn{sport: 80, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t)))
	data := fromClient(packetIn{sport: 4000, dport: 80, flags: "PA", seq: 101, ack: 501, payload: 2}).frame(t)
	// As a switch that strips a tag leaves it: more padding than Ethernet needs.
	if got := r.feed(lan, append(data, make([]byte, 6)...)); len(got) != 1 {
		t.Fatalf("the data was dropped: %v", r.dropped(lan))
	}
	if got := r.feed(wan, padded(fromServer(packetIn{sport: 80, dport: 4000, flags: "A", seq: 501, ack: 104}).frame(t))); len(got) != 0 {
		t.Error("an acknowledgement of padding passed")
	}
	if why := r.dropped(wan); !slices.Equal(why, []drop.Reason{drop.TCPAckUnseen}) {
		t.Errorf("it died of %v", why)
	}
	if got := r.feed(wan, padded(fromServer(packetIn{sport: 80, dport: 4000, flags: "A", seq: 501, ack: 103}).frame(t))); len(got) != 1 {
		t.Errorf("the acknowledgement of the data was dropped: %v", r.dropped(wan))
	}
}

// TestD8_ICMPErrorsChangeNothing: an error about a connection, of whatever type, neither
// ends nor shortens nor refreshes it.
func TestD8_ICMPErrorsChangeNothing(t *testing.T) {
	r := newRig(t)
	r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t))
	out := r.feed(wan, fromServer(packetIn{sport: 80, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t))
	if len(out) != 1 {
		t.Fatal("no connection")
	}
	sent := r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "A", seq: 101, ack: 501}).frame(t))
	if len(sent) != 1 {
		t.Fatal("no connection")
	}
	var before, after conntrack.View
	table := r.w.snapshot.Table
	r.w.now += 5e9
	if !table.View(0, r.w.now, &before) {
		t.Fatal("no connection")
	}
	var p packet.Parsed
	if why := packet.Decode(sent[0].frame, &p); why != drop.Pass {
		t.Fatal(why)
	}
	for _, make := range []func(dst []byte) int{
		func(dst []byte) int { return packet.AppendTimeExceeded(dst, sent[0].frame, &p, server) },
		func(dst []byte) int {
			return packet.AppendUnreachable(dst, sent[0].frame, &p, server, packet.UnreachablePort)
		},
		func(dst []byte) int {
			return packet.AppendUnreachable(dst, sent[0].frame, &p, server, packet.UnreachableHost)
		},
	} {
		var buf [256]byte
		n := make(buf[:])
		if n == 0 {
			t.Fatal("no error was made")
		}
		packet.SetMACs(buf[:n], macWan, macServer)
		r.feed(wan, buf[:n])
	}
	if !table.View(0, r.w.now, &after) || after != before {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
}
