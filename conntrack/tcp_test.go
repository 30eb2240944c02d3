package conntrack

import "testing"

func TestE1_Close(t *testing.T) {
	trace(t, closed)
	trace(t, shake+`
	<- FA  seq=1   ack=1   => pass FW       by the server
	-> A   seq=1   ack=2   => pass CW
	-> FA  seq=1   ack=2   => pass LA
	<- A   seq=2   ack=2   => pass TW
	`)
	trace(t, shake+`
	-> FA  seq=1   ack=1   => pass FW
	<- FA  seq=1   ack=2   => pass LA       both at once, the first acknowledged
	-> A   seq=2   ack=2   => pass TW
	`)
	trace(t, shake+`
	-> FA  seq=1   ack=1   => pass FW
	<- FA  seq=1   ack=1   => pass LA       crossed
	-> A   seq=2   ack=2   => pass LA       one of two
	<- A   seq=2   ack=2   => pass TW
	`)
	trace(t, shake+`
	-> FPA seq=1   ack=1 len=100 => pass FW
	-> FPA seq=1   ack=1 len=100 => pass FW  again
	<- A   seq=1   ack=102 => pass CW
	<- FA  seq=1   ack=102 => pass LA
	<- FA  seq=1   ack=102 => pass LA        again
	-> A   seq=102 ack=2   => pass TW
	`)
}

func TestE2_HalfClose(t *testing.T) {
	trace(t, shake+`
	-> FA  seq=1   ack=1            => pass FW
	<- A   seq=1   ack=2            => pass CW
	.. 40s
	<- PA  seq=1   ack=2 len=1000   => pass CW
	-> A   seq=2   ack=1001         => pass CW
	.. 40s
	<- PA  seq=1001 ack=2 len=1000  => pass CW
	<- FA  seq=2001 ack=2           => pass LA
	-> A   seq=2   ack=2002         => pass TW
	`)
}

func TestE3_LastACKLost(t *testing.T) {
	trace(t, closed+`
	<- FA  seq=1   ack=2            => pass TW
	-> A   seq=2   ack=2            => pass TW
	`)
}

func TestE4_ChallengeInLastACK(t *testing.T) {
	trace(t, shake+`
	-> FA  seq=1   ack=1            => pass FW
	<- A   seq=1   ack=2            => pass CW
	<- FA  seq=1   ack=2            => pass LA
	-> S   seq=90000                => fwd  LA
	<- A   seq=2   ack=2            => pass LA     challenge, not the last ACK
	-> R   seq=2                    => pass CL
	-> S   seq=90000                => reopen SS
	`)
}

func TestE5_SYNReopens(t *testing.T) {
	trace(t, closed+`
	-> S   seq=70000 ws=2           => reopen SS
	<- SA  seq=80000 ack=70001 ws=2 => pass SR
	-> A   seq=70001 ack=80001      => pass ES
	<- PA  seq=80001 ack=70001 len=100 => pass ES
	`)
	trace(t, shake+`
	-> R   seq=1                    => pass CL
	-> S   seq=70000                => reopen SS
	`)
}

func TestE6_SYNFromTheServer(t *testing.T) {
	trace(t, closed+`
	<- S   seq=70000                => end  NO     the rules decide about the other side
	<- S   seq=70000                => miss NO
	`)
}

func TestE7_OneSidedSYN(t *testing.T) {
	trace(t, shake+`
	-> R   seq=1                    => pass CL
	<- S   seq=70000                => tcp-state-invalid CL
	-> S   seq=70000                => reopen SS
	<- S   seq=70000                => pass S2
	`)
}

func TestE8_LateSegments(t *testing.T) {
	trace(t, shake+`
	<- PA  seq=1   ack=1 len=100    => pass ES
	-> R   seq=1                    => pass CL
	<- PA  seq=1   ack=1 len=100    => pass CL
	-> R   seq=1                    => fwd  CL
	<- A   seq=101 ack=1            => pass CL
	`)
}

func TestE9_Assassination(t *testing.T) {
	trace(t, closed+`
	-> R   seq=2                    => fwd  TW     RFC 1337
	<- R   seq=2                    => fwd  TW
	<- SA  seq=5   ack=9            => fwd  TW
	`)
}
