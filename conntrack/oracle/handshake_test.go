package oracle

import (
	"fmt"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// handshakeFlags are what each packet of a three-packet handshake may carry: with two
// sides, sixteen packets.
var handshakeFlags = []packet.TCPFlags{syn, syn | ack, ack, rst, rst | ack, fin | ack, syn | fin, 0}

// TestREL36_Handshakes sends every sequence of three packets, each of either side and of
// any of eight sets of flags, with numbers as a well-meaning host would choose them: 4096.
// A connection is established by nothing but the three-way handshake, whose last step may
// be a SYN/ACK too (1.5: opened from both sides), and nothing from outside passes unless
// the inside spoke first.
func TestREL36_Handshakes(t *testing.T) {
	for _, payload := range []uint16{0, 10} {
		s := newSubject(t, 16)
		count, opened := 0, 0
		for a := range 16 {
			for b := range 16 {
				for c := range 16 {
					count++
					if threePackets(t, s, [3]int{a, b, c}, payload) {
						opened++
					}
				}
			}
		}
		if count != 4096 || opened != 2 {
			t.Errorf("payload %d: of %d handshakes %d established a connection, want 2 of 4096", payload, count, opened)
		}
	}
}

// threePackets runs one handshake and reports whether it established a connection.
func threePackets(t *testing.T, s *subject, choice [3]int, payload uint16) bool {
	f := flow{client: [4]byte{10, 0, 0, 2}, server: [4]byte{198, 18, 0, 1}, clientPort: 40000, serverPort: 80, proto: packet.TCP}
	next := [2]uint32{1000, 5000}
	defer s.end()
	var trace []segment
	var frame []byte
	insideSYN := false
	var last observation
	for _, n := range choice {
		p := segment{from: side(n & 1), flags: handshakeFlags[n>>1], win: 1000, scale: -1, length: payload}
		p.seq = next[p.from]
		if p.flags&ack != 0 {
			p.ack = next[p.from.peer()]
		}
		next[p.from] = p.end()
		trace = append(trace, p)
		frame = p.frame(frame[:0], &f, 0)
		last = s.send(frame, p.from, false)
		if p.from == wan && last.passed && !insideSYN {
			t.Errorf("inbound bypass: %v passed before any SYN of the inside\n%v", &p, traceOf(trace))
		}
		if last.passed && last.exists && last.reversed {
			t.Errorf("the outside began a connection\n%v", traceOf(trace))
		}
		insideSYN = insideSYN || p.from == lan && p.flags == syn
	}
	if !last.exists || last.state != conntrack.Established && !last.assured {
		return false
	}
	want := trace[0].from == lan && trace[0].flags == syn && trace[1].from == wan && trace[1].flags == syn|ack &&
		trace[2].from == lan && (trace[2].flags == ack || trace[2].flags == syn|ack)
	if !want {
		t.Errorf("established (%v) without a handshake\n%v", last.state, traceOf(trace))
	}
	return true
}

// traceOf draws packets, one a line.
func traceOf(trace []segment) string {
	text := ""
	for i := range trace {
		text += fmt.Sprintf("\t%v\n", &trace[i])
	}
	return text
}
