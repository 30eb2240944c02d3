package conntrack

import "testing"

func TestB1_Handshake(t *testing.T) {
	trace(t, shake)
	trace(t, shakePlain)
}

func TestB2_NothingButSYNCreates(t *testing.T) {
	trace(t, `
	-> A   seq=5   ack=9   => tcp-no-connection NO
	-> PA  seq=5   ack=9 len=10 => tcp-no-connection NO
	-> FA  seq=5   ack=9   => tcp-no-connection NO
	-> SA  seq=5   ack=9   => tcp-no-connection NO
	<- A   seq=5   ack=9   => miss NO
	`)
}

func TestB3_ResetNeverCreates(t *testing.T) {
	trace(t, `
	-> R   seq=5           => tcp-no-connection NO
	-> RA  seq=0   ack=9   => tcp-no-connection NO
	`)
}

func TestB4_SYNAgain(t *testing.T) {
	trace(t, `
	-> S   seq=0  ws=7     => new  SS
	-> S   seq=0  ws=7     => fwd  SS      no refresh
	-> S   seq=0  ws=7     => fwd  SS
	<- SA  seq=0  ack=1    => pass SR
	-> S   seq=0  ws=7     => fwd  SR      the SYN/ACK was lost behind the firewall
	<- SA  seq=0  ack=1    => fwd  SR      and so it comes again
	-> A   seq=1  ack=1    => pass ES
	`)
}

func TestB5_SYNWithOtherNumber(t *testing.T) {
	trace(t, `
	-> S   seq=0     ws=7            => new    SS
	-> S   seq=5000  ws=2            => reopen SS   larger: starts anew
	<- SA  seq=0     ack=1           => tcp-ack-unseen SS
	<- SA  seq=0     ack=5001  ws=2  => pass   SR
	-> A   seq=5001  ack=1  win=10   => pass   ES
	`)
	trace(t, `
	-> S   seq=0      ws=7            => new    SS
	-> S   seq=-5000  ws=2            => fwd    SS   smaller: remembered
	<- SA  seq=0  ack=-4999 ws=2      => reopen SR   and confirmed
	-> A   seq=-4999 ack=1            => pass   ES
	-> PA  seq=-4999 ack=1 len=100    => pass   ES
	`)
}

func TestB6_SYNACKAgainOrWrong(t *testing.T) {
	trace(t, `
	-> S   seq=0           => new  SS
	<- SA  seq=0  ack=100  => tcp-ack-unseen SS   old incarnation
	<- SA  seq=0  ack=0    => tcp-ack-unseen SS
	<- SA  seq=0  ack=1    => pass SR
	<- SA  seq=0  ack=1    => fwd  SR
	-> A   seq=1  ack=1    => pass ES
	<- SA  seq=0  ack=1    => fwd  ES
	-> A   seq=1  ack=1    => pass ES
	`)
}

func TestB7_ChallengeACKToSYN(t *testing.T) {
	trace(t, `
	-> S   seq=0                 => new  SS
	<- A   seq=777 ack=90000     => fwd  SS   the server still has an older connection
	-> R   seq=80000             => tcp-reset-invalid SS
	-> R   seq=90000             => fwd  SS   answers the challenge: nothing is closed
	-> S   seq=0                 => fwd  SS
	<- SA  seq=0 ack=1           => pass SR
	-> A   seq=1 ack=1           => pass ES
	`)
}

func TestB8_SYNInEstablished(t *testing.T) {
	trace(t, shake+`
	-> PA  seq=1     ack=1 len=100    => pass ES
	<- A   seq=1     ack=101          => pass ES
	-> S   seq=70000 ws=7 sackok      => fwd  ES     the client has booted anew
	<- A   seq=1     ack=101          => pass ES     challenge ACK
	-> R   seq=101                    => pass CL     the client denies it, exactly
	-> S   seq=70000 ws=7 sackok      => reopen SS
	<- SA  seq=900000 ack=70001 ws=7  => pass SR
	-> A   seq=70001 ack=900001       => pass ES
	`)
}

func TestB9_ServerAcceptsSYNInEstablished(t *testing.T) {
	trace(t, shake+`
	-> PA  seq=1     ack=1 len=100    => pass ES
	-> S   seq=70000 win=1000         => fwd  ES     without options this time
	<- SA  seq=900000 ack=70001 win=1000 ws=7 => reopen SR
	-> A   seq=70001 ack=900001 win=1000 => pass ES
	<- PA  seq=900001 ack=70001 len=1000 win=1000 => pass ES
	-> A   seq=70001 ack=901001 win=1000 => pass ES
	<- PA  seq=903002 ack=70001 len=1000 => tcp-beyond-window ES   the window is not scaled any more
	`)
}

func TestB10_SimultaneousOpen(t *testing.T) {
	trace(t, `
	-> S   seq=0  ws=7   => new  SS
	<- S   seq=0  ws=7   => pass S2
	-> SA  seq=0  ack=1  => pass SR
	<- SA  seq=0  ack=1  => pass ES
	-> PA  seq=1  ack=1 len=10 => pass ES
	<- A   seq=1  ack=11 => pass ES
	`)
	trace(t, `
	-> S   seq=0         => new  SS
	<- S   seq=0         => pass S2
	<- SA  seq=0  ack=1  => pass SR
	-> SA  seq=0  ack=1  => pass ES
	`)
}

func TestB11_SplitHandshake(t *testing.T) {
	trace(t, `
	-> S   seq=0         => new  SS
	<- A   seq=0  ack=1  => fwd  SS
	<- S   seq=0         => pass S2
	-> SA  seq=0  ack=1  => pass SR
	<- A   seq=1  ack=1  => tcp-state-invalid SR     only a SYN/ACK completes it
	<- PA  seq=1  ack=1 len=10 => tcp-state-invalid SR
	`)
}

func TestB12_DataOnSYN(t *testing.T) {
	trace(t, `
	-> S   seq=0  len=100      => new  SS
	<- SA  seq=0  ack=101 len=50 => pass SR
	-> A   seq=101 ack=51      => pass ES
	`)
	trace(t, `
	-> S   seq=0  len=100      => new  SS
	<- SA  seq=0  ack=1        => pass SR    the data was not taken
	-> PA  seq=1  ack=1 len=100 => pass ES
	<- A   seq=1  ack=101      => pass ES
	`)
}

func TestB13_DataBeforeACK(t *testing.T) {
	trace(t, `
	-> S   seq=0               => new  SS
	<- SA  seq=0  ack=1        => pass SR
	-> PA  seq=1  ack=1 len=10 => pass ES
	`)
	trace(t, `
	-> S   seq=0               => new  SS
	<- SA  seq=0  ack=1        => pass SR
	-> A   seq=1  ack=0        => tcp-ack-unseen SR    does not acknowledge the SYN/ACK
	-> A   seq=1  ack=1        => pass ES
	`)
}

func TestB14_ResetAnswersSYN(t *testing.T) {
	trace(t, `
	-> S   seq=0           => new  SS
	<- RA  seq=#0 ack=5    => tcp-reset-invalid SS
	<- R   seq=#0          => tcp-reset-invalid SS
	<- RA  seq=#0 ack=1    => pass CL
	-> S   seq=9  ws=3     => reopen SS      the port is usable at once
	<- SA  seq=44 ack=10   => pass SR
	`)
}

func TestF1_NoPickUp(t *testing.T) {
	trace(t, `
	-> PA  seq=100 ack=100 len=10   => tcp-no-connection NO
	`)
}

func TestF5_Failover(t *testing.T) {
	// In the middle of a download, after more data than the second node has heard of.
	trace(t, shake+`
	<- PA  seq=1     ack=1 len=10000  => pass ES
	-> A   seq=1     ack=10001        => pass ES
	!! failover
	<- PA  seq=50001 ack=1 len=10000  => pass ES    ahead of what was exported
	-> A   seq=1     ack=60001        => pass ES
	<- PA  seq=40001 ack=1 len=10000  => pass ES    a retransmission first
	-> PA  seq=1     ack=60001 len=10 => pass ES
	<- R   seq=900000000              => tcp-reset-invalid ES
	<- R   seq=-900000000             => tcp-reset-invalid ES
	<- R   seq=70000                  => pass ES    inexact: closes nothing
	-> R   seq=-900000000             => tcp-reset-invalid ES
	<- A   seq=60001 ack=11           => pass ES
	<- R   seq=60001                  => pass CL    exact
	`)
	// The server is the first to speak, after a long silence.
	trace(t, shake+`
	-> PA  seq=1     ack=1 len=100    => pass ES
	<- PA  seq=1     ack=101 len=100  => pass ES
	-> A   seq=101   ack=101          => pass ES
	!! failover
	.. 20m
	<- PA  seq=101   ack=101 len=100  => pass ES
	-> A   seq=101   ack=201          => pass ES
	-> FA  seq=101   ack=201          => pass FW
	<- FA  seq=201   ack=102          => pass LA
	-> A   seq=102   ack=202          => pass TW
	`)
	// In every state of a connection's life, twice over.
	trace(t, `
	-> S   seq=0    win=64240 ws=7 sackok  => new  SS
	!! failover
	<- SA  seq=0 ack=77                    => tcp-ack-unseen SS
	<- RA  seq=#0 ack=77                   => tcp-reset-invalid SS
	<- SA  seq=0 ack=1 win=65160 ws=7 sackok => pass SR
	!! failover
	-> A   seq=1 ack=0                     => tcp-ack-unseen SR
	-> A   seq=1 ack=1                     => pass ES
	!! failover
	!! failover
	-> FA  seq=1 ack=1                     => pass FW
	!! failover
	<- A   seq=1 ack=2                     => pass CW
	!! failover
	<- PA  seq=1 ack=2 len=1000            => pass CW
	<- FA  seq=1001 ack=2                  => pass LA
	!! failover
	-> A   seq=2 ack=1001                  => pass LA     not the FIN
	-> A   seq=2 ack=1002                  => pass TW
	!! failover
	-> S   seq=70000                       => reopen SS
	!! failover
	<- RA  seq=#0 ack=70001                => pass CL
	!! failover
	-> S   seq=70009                       => reopen SS
	`)
	trace(t, `
	-> S   seq=0         => new  SS
	<- S   seq=0         => pass S2
	!! failover
	-> SA  seq=0  ack=1  => pass SR
	!! failover
	<- SA  seq=0  ack=1  => pass ES
	`)
}

// TestF5_ThereAndBack: the role goes to another node and comes back. Meanwhile the connection has
// moved on within what the other node was told, so nothing was told back.
func TestF5_ThereAndBack(t *testing.T) {
	trace(t, shake+`
	-> PA  seq=1     ack=1 len=100     => pass ES
	<- PA  seq=1     ack=101 len=100   => pass ES
	!! failover
	-> PA  seq=101   ack=101 len=5000  => pass ES
	<- PA  seq=101   ack=5101 len=5000 => pass ES
	-> A   seq=5101  ack=5101          => pass ES
	!! back
	<- PA  seq=5101  ack=5101 len=10   => pass ES
	-> PA  seq=5101  ack=5111 len=10   => pass ES
	<- R   seq=900000000               => tcp-reset-invalid ES
	<- A   seq=5111  ack=5111          => pass ES
	-> FA  seq=5111  ack=5111          => pass FW
	!! failover
	<- FA  seq=5111  ack=5112          => pass LA
	!! back
	-> A   seq=5112  ack=5112          => pass TW
	`)
}
