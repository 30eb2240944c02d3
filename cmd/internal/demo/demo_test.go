package demo

import (
	"context"
	"testing"
	"time"
)

// P4: connections survive the death of the active node (the small form of `make demo`).
func TestP4_ConnectionsSurviveTheDeathOfTheActiveNode(t *testing.T) {
	require(t)
	o := Defaults()
	o.Binary, o.Bytes, o.Fresh, o.Progress = built(t), 64<<20, 1000, testWriter{t}
	report, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK {
		t.Errorf("problems: %v", report.Trials[0].Problems)
	}
	if c := report.Trials[0].Connections; c.Before < 6 || c.After != c.Before {
		t.Errorf("connections %+v", c)
	}
}

// The negative control: the same demo with sync = "none" loses every TCP connection, so
// the survival above is replication's doing.
func TestWithoutReplicationEveryConnectionIsLost(t *testing.T) {
	require(t)
	o := Defaults()
	o.Binary, o.Bytes, o.Fresh, o.Progress = built(t), 64<<20, 0, testWriter{t}
	o.Sync, o.Patience = "none", 6*time.Second
	report, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	c := report.Trials[0].Connections
	if report.OK || c.After != 0 || c.Lost != c.Before || c.Before < 6 {
		t.Errorf("without replication %d of %d connections survived", c.After, c.Before)
	}
}
