package conntrack

import "testing"

func TestC1_MaxEnd(t *testing.T) {
	trace(t, shakePlain+`
	-> PA  seq=1     ack=1 len=1000  => pass ES
	-> PA  seq=9001  ack=1 len=1000  => pass ES     up to the edge, 10001
	-> PA  seq=20002 ack=1 len=1     => tcp-beyond-window ES   more than a window beyond it
	-> PA  seq=10002 ack=1 len=1     => fwd  ES     C11: less than a window beyond
	`)
}

func TestC2_OldDuplicate(t *testing.T) {
	trace(t, shakePlain+`
	-> PA  seq=1     ack=1 len=10000   => pass ES
	<- A   seq=1     ack=10001 win=10000 => pass ES
	-> PA  seq=10001 ack=1 len=10000   => pass ES
	<- A   seq=1     ack=20001 win=10000 => pass ES
	-> PA  seq=1     ack=1 len=1000    => fwd  ES     older than a window
	-> PA  seq=15001 ack=1 len=1000    => pass ES     a recent one counts
	`)
}

func TestC3_AckBeyondAndBehind(t *testing.T) {
	trace(t, shake+`
	<- PA  seq=1     ack=1 len=1000    => pass ES
	-> A   seq=1     ack=1002          => tcp-ack-unseen ES
	-> A   seq=1     ack=1001 win=2000 => pass ES
	<- PA  seq=1001  ack=1 len=60000   => pass ES
	-> A   seq=1     ack=61001 win=2000 => pass ES
	<- PA  seq=61001 ack=1 len=60000   => pass ES
	-> A   seq=1     ack=121001        => pass ES
	<- PA  seq=121001 ack=1 len=60000  => pass ES
	-> A   seq=1     ack=181001        => pass ES
	<- PA  seq=181001 ack=1 len=60000  => pass ES
	<- PA  seq=241001 ack=1 len=60000  => pass ES
	-> A   seq=1     ack=301001        => pass ES
	<- PA  seq=301001 ack=1 len=60000  => pass ES
	-> A   seq=1     ack=361001 win=500 => pass ES
	<- A   seq=361001 ack=1            => pass ES
	-> A   seq=1     ack=1             => pass ES     our window was 256000: not old
	`)
	trace(t, shakePlain+`
	<- PA  seq=1     ack=1 len=10000     => pass ES
	-> A   seq=1     ack=10001 win=10000 => pass ES
	<- PA  seq=10001 ack=1 len=10000     => pass ES
	-> A   seq=1     ack=20001 win=10000 => pass ES
	<- PA  seq=20001 ack=1 len=10000     => pass ES
	-> A   seq=1     ack=30001 win=10000 => pass ES
	<- PA  seq=30001 ack=1 len=10000     => pass ES
	-> A   seq=1     ack=40001 win=10000 => pass ES
	<- PA  seq=40001 ack=1 len=10000     => pass ES
	-> A   seq=1     ack=50001 win=10000 => pass ES
	<- PA  seq=50001 ack=1 len=10000     => pass ES
	-> A   seq=1     ack=60001 win=10000 => pass ES
	<- PA  seq=60001 ack=1 len=10000     => pass ES
	-> A   seq=1     ack=70001 win=10000 => pass ES
	-> A   seq=1     ack=3000            => fwd  ES   more than 66000 behind: overly delayed
	`)
}

func TestC4_Scale(t *testing.T) {
	trace(t, `
	-> S   seq=0         win=65535 ws=14 => new  SS
	<- SA  seq=0  ack=1  win=65535 ws=3  => pass SR    the window of a SYN is not scaled
	-> A   seq=1  ack=1  win=65535       => pass ES    1 GiB
	<- PA  seq=1  ack=1  len=60000       => pass ES
	<- PA  seq=1000000000 ack=1 len=60000 win=65535 => pass ES
	-> PA  seq=524000 ack=1 len=280      => pass ES    512 KiB the other way
	`)
	trace(t, `
	-> S   seq=0         win=1000 ws=14  => new  SS
	<- SA  seq=0  ack=1  win=1000        => pass SR    no option: both unscaled
	-> A   seq=1  ack=1  win=1000        => pass ES
	<- PA  seq=2002 ack=1 len=1000       => tcp-beyond-window ES
	<- PA  seq=1  ack=1  len=1000        => pass ES
	`)
}

func TestC5_Wrap(t *testing.T) {
	// Every trace runs across the wrap; here a transfer of more than 4 GiB.
	rows := shake
	for n := 0; n < 3; n++ {
		rows += `
		-> A   seq=1 ack=1 win=65535           => pass ES
		`
	}
	trace(t, rows)
	tr := newTracer(t, [2]uint32{0xfffffff0, 7}, false)
	tr.run(shake)
	for sent := uint32(1); ; {
		const chunk = 60000
		tr.isn = [2]uint32{0xfffffff0, 7 + sent}
		tr.run("<- PA seq=0 ack=1 len=60000 => pass ES\n-> A seq=1 ack=60000 win=65535 => pass ES")
		sent += chunk
		if sent > 1<<32-2*chunk {
			break
		}
	}
	tr.isn[1] += 60000
	tr.run(`
	<- PA  seq=0      ack=1 len=60000 => pass ES   into the second lap
	<- PA  seq=60000  ack=1 len=60000 => pass ES
	-> A   seq=1  ack=120000          => pass ES
	-> R   seq=0                      => tcp-reset-invalid ES`)
	var s State
	tr.table.Export(tr.result.Index, tr.now, &s)
	if s.Dir[Reply].End>>32 != 2 {
		t.Errorf("after 4 GiB the position is %#x", s.Dir[Reply].End)
	}
}

func TestC6_SACK(t *testing.T) {
	trace(t, shake+`
	<- PA  seq=1     ack=1 len=1000  => pass ES
	<- PA  seq=2001  ack=1 len=1000  => pass ES
	-> A   seq=1 ack=1001 sack=3001  => pass ES
	-> A   seq=1 ack=1001 sack=3002  => tcp-ack-unseen ES
	`)
	trace(t, shakePlain+`
	<- PA  seq=1     ack=1 len=1000  => pass ES
	-> A   seq=1 ack=1001 sack=3002  => pass ES     not negotiated, so not looked at
	`)
}

func TestC7_DSACK(t *testing.T) {
	trace(t, shake+`
	<- PA  seq=1     ack=1 len=1000  => pass ES
	-> A   seq=1 ack=1001 sack=501   => pass ES
	`)
}

func TestC8_ZeroWindow(t *testing.T) {
	trace(t, shakePlain+`
	-> PA  seq=1     ack=1 len=10000       => pass ES
	<- A   seq=1     ack=10001 win=0       => pass ES
	-> PA  seq=10001 ack=1 len=1           => pass ES    probe
	<- A   seq=1     ack=10001 win=0       => pass ES
	<- A   seq=1     ack=10001 win=10000   => pass ES    opens again
	-> PA  seq=10001 ack=1 len=10000       => pass ES
	`)
}

func TestC9_Keepalive(t *testing.T) {
	trace(t, shakePlain+`
	.. 10m
	-> A   seq=0     ack=1                 => pass ES
	<- A   seq=1     ack=1                 => pass ES
	.. 10m
	<- A   seq=0     ack=1 len=1           => pass ES    with a byte of garbage
	-> A   seq=1     ack=1                 => pass ES
	`)
}

func TestC10_ShrunkWindow(t *testing.T) {
	trace(t, shakePlain+`
	<- A   seq=1     ack=1 win=100         => pass ES    less than before
	-> PA  seq=5001  ack=1 len=5000        => pass ES    was on its way
	`)
}

func TestC11_Overrun(t *testing.T) {
	trace(t, shakePlain+`
	-> PA  seq=1     ack=1 len=10000       => pass ES
	-> PA  seq=10001 ack=1 len=5000        => pass ES    intersects at its first byte
	-> PA  seq=15001 ack=1 len=4000        => fwd  ES
	<- A   seq=1     ack=19001             => pass ES    and its acknowledgement is valid
	`)
}

func TestC12_Reordered(t *testing.T) {
	trace(t, shakePlain+`
	-> PA  seq=1001  ack=1 len=1000        => pass ES
	-> PA  seq=1     ack=1 len=1000        => pass ES
	<- A   seq=1     ack=2001              => pass ES
	<- A   seq=1     ack=1001              => pass ES
	`)
}

func TestC14_Counting(t *testing.T) {
	trace(t, shakePlain+`
	-> FPA seq=1     ack=1 len=100         => pass FW
	<- A   seq=1     ack=101               => pass FW    the data, not the FIN
	<- A   seq=1     ack=102               => pass CW
	`)
}

func TestC15_PureACK(t *testing.T) {
	trace(t, shakePlain+`
	-> A   seq=10001 ack=1                 => pass ES
	<- PA  seq=1     ack=1 len=100         => pass ES
	-> A   seq=0     ack=101               => pass ES
	`)
}

func TestD1_BlindReset(t *testing.T) {
	trace(t, shake+`
	<- PA  seq=1     ack=1 len=1000        => pass ES
	-> A   seq=1     ack=1001              => pass ES
	-> R   seq=-1                          => tcp-reset-invalid ES
	-> R   seq=90000000                    => tcp-reset-invalid ES
	<- R   seq=1000                        => tcp-reset-invalid ES
	<- R   seq=90000000                    => tcp-reset-invalid ES
	<- RA  seq=1001 ack=5                  => tcp-reset-invalid ES
	`)
}

func TestD2_InexactReset(t *testing.T) {
	trace(t, shake+`
	<- PA  seq=1     ack=1 len=1000        => pass ES
	-> A   seq=1     ack=1001              => pass ES
	<- R   seq=1500                        => pass ES    in the window, not exact
	-> A   seq=1     ack=1001              => pass ES    challenge ACK
	<- R   seq=1001                        => pass CL
	`)
	tr := newTracer(t, [2]uint32{5, 9}, false)
	tr.run(shake + "<- R seq=500 => pass ES")
	if got := tr.view().Timer; got != TimerResetInexact {
		t.Errorf("an inexact reset left the timer %v", got)
	}
	tr.run("-> A seq=1 ack=1 => pass ES")
	if got := tr.view().Timer; got != TimerEstablished {
		t.Errorf("the challenge ACK left the timer %v", got)
	}
}

func TestD3_ResetAfterTrain(t *testing.T) {
	trace(t, shake+`
	<- PA  seq=1     ack=1 len=1000        => pass ES
	<- R   seq=1001                        => pass CL    the data is not acknowledged yet
	`)
}

func TestD4_ResetWhileClosing(t *testing.T) {
	trace(t, shake+`
	-> FA  seq=1     ack=1                 => pass FW
	<- R   seq=77                          => pass CL
	`)
}

func TestD5_ResetWithAckZero(t *testing.T) {
	trace(t, shake+`
	<- RA  seq=500 ack=#0                  => pass ES    proves nothing
	<- RA  seq=-5  ack=#0                  => tcp-reset-invalid ES
	<- RA  seq=1   ack=#0                  => pass CL
	`)
}

func TestD6_BlindSYNAndData(t *testing.T) {
	trace(t, shake+`
	-> S   seq=300                         => fwd  ES
	<- S   seq=300                         => tcp-state-invalid ES
	-> PA  seq=90000000 ack=1 len=10       => tcp-beyond-window ES
	-> PA  seq=1     ack=1 len=10          => pass ES
	<- A   seq=1     ack=11                => pass ES
	<- RA  seq=1000  ack=301               => tcp-reset-invalid ES   the SYN is forgotten
	`)
}
