package config

import (
	"fmt"
	"time"
)

// Cluster is the timing of failover. The right to transmit lapses before the peers
// speak: Heartbeat < Lease < DeadAfter <= AloneAfter.
type Cluster struct {
	Heartbeat  Value[time.Duration] // between two signs of life
	DeadAfter  Value[time.Duration] // of silence, until a peer counts as dead
	Lease      Value[time.Duration] // how long the right to transmit runs
	Alone      Value[Alone]         // what a node does that hears nobody
	AloneAfter Value[time.Duration] // of hearing no ready node, until an unready one serves
	// PreemptAfter is how long a ready node of higher priority waits until it takes the role
	// from the active one; not Written: it does not.
	PreemptAfter Value[time.Duration]
	DeferMax     Value[time.Duration] // how long a first packet of a rule with `sync = "defer"` waits for a peer
}

// Alone says what a node does that hears nobody.
type Alone uint8

// The choices. The zero value is the default.
const (
	AloneServe   Alone = iota // serve, with an alarm where it was not ready
	AloneWait                 // wait, and stop when the peers fall silent
	AloneWitness              // let the votes of the nodes and of a witness decide
)

// String returns the word of the file.
func (a Alone) String() string { return [...]string{"serve", "wait", "witness"}[a] }

// MarshalText is String.
func (a Alone) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// readCluster reads the timing. The defaults are for machines with cores of their own;
// where cores are shared a node may stand still for longer, and 100 ms and 150 ms serve.
func (d *decoder) readCluster(t *table) Cluster {
	c := Cluster{
		Heartbeat: byDefault(10 * time.Millisecond), DeadAfter: byDefault(30 * time.Millisecond),
		Lease: byDefault(20 * time.Millisecond), AloneAfter: byDefault(5 * time.Second),
		DeferMax: byDefault(10 * time.Millisecond),
	}
	faults := len(d.errs)
	one(t, "heartbeat", duration(time.Millisecond, 10*time.Second), &c.Heartbeat)
	one(t, "dead_after", duration(time.Millisecond, time.Minute), &c.DeadAfter)
	one(t, "lease", duration(time.Millisecond, time.Minute), &c.Lease)
	one(t, "alone", choice("a conduct for a node alone", AloneServe, AloneWait, AloneWitness), &c.Alone)
	one(t, "alone_after", duration(time.Millisecond, time.Hour), &c.AloneAfter)
	one(t, "preempt_after", duration(time.Second, time.Hour), &c.PreemptAfter)
	one(t, "defer_max", duration(time.Millisecond, 100*time.Millisecond), &c.DeferMax)
	t.close("the node file's [cluster]", "key_file", "key_log", "links", "priority", "witness")
	if len(d.errs) == faults {
		c.check(d)
	}
	return c
}

func (c *Cluster) check(d *decoder) {
	below(d, "lease", c.Lease, "dead_after", c.DeadAfter, "a node must be silent before its peer speaks")
	below(d, "heartbeat", c.Heartbeat, "lease", c.Lease, "the lease is extended once a heartbeat")
	if c.AloneAfter.V < c.DeadAfter.V {
		d.refuse(either(c.AloneAfter, c.DeadAfter), fmt.Sprintf("alone_after (%s) is shorter than dead_after (%s)", said(c.AloneAfter), said(c.DeadAfter)),
			"make alone_after at least dead_after")
	}
}

// below refuses low where it is not less than high, and says why it must be.
func below(d *decoder, lowName string, low Value[time.Duration], highName string, high Value[time.Duration], why string) {
	if low.V >= high.V {
		d.refuse(either(low, high), fmt.Sprintf("%s (%s) is not below %s (%s)", lowName, said(low), highName, said(high)),
			fmt.Sprintf("make %s longer than %s: %s", highName, lowName, why))
	}
}

// either is where the file says one of the two.
func either(a, b Value[time.Duration]) Position {
	if a.Written() {
		return a.Pos
	}
	return b.Pos
}

// said tells a duration, and whether the file said it.
func said(v Value[time.Duration]) string {
	if v.Written() {
		return v.V.String()
	}
	return v.V.String() + " by default"
}
