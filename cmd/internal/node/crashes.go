package node

import (
	"context"
	"fmt"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane"
	"holdfast/dataplane/gate"
	"holdfast/sync/wire"
)

// poisonsAgain is how often the peers are told again of packets in quarantine: one that has
// started since then does not know them.
const poisonsAgain = time.Minute

// tellCrashes logs every panic of a worker that was contained, until ctx ends, and tells the
// peers of what is in quarantine again and again.
func (d *daemon) tellCrashes(ctx context.Context) {
	tick := time.NewTicker(poisonsAgain)
	defer tick.Stop()
	for told := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.tellPoisons()
			continue
		case <-d.crashes.Bell():
		}
		var kept []dataplane.Crash
		kept, told = d.crashes.Since(told)
		for i := range kept {
			c := &kept[i]
			d.log.Error("a worker panicked: the packet is dropped from now on, here and at the peers",
				"worker", c.Worker, "port", d.portName(c.Port), "own", c.Own, "panic", c.What, "bytes", len(c.Frame),
				"digest", fmt.Sprintf("%x", c.Digest), "frame", fmt.Sprintf("%x", c.Frame), "stack", string(c.Stack))
		}
	}
}

// tellPoisons tells the peers what is in quarantine.
func (d *daemon) tellPoisons() {
	now := gate.Now()
	for _, p := range d.quarantine.Poisons(now) {
		d.shared.Poison(&wire.Poison{Digest: p.Digest, Length: uint16(p.Length), Remaining: uint32((p.Until - now) / 1e6)})
	}
}

// rememberPoison takes in what a peer tells of a packet.
func (d *daemon) rememberPoison(p *wire.Poison) {
	now := gate.Now()
	d.quarantine.Add(dataplane.Poison{Digest: p.Digest, Length: int(p.Length), Until: now + int64(p.Remaining)*1e6}, now)
}

// containment is what status says of panics.
func (d *daemon) containment() (c api.Containment) {
	_, c.Panics = d.crashes.Since(^uint64(0))
	c.Quarantined = len(d.quarantine.Poisons(gate.Now()))
	return c
}

// Crashes implements api.Daemon.
func (d *daemon) Crashes() (api.Crashes, error) {
	kept, count := d.crashes.Since(0)
	all := api.Crashes{Count: count, Ports: []string{}, Crashes: []api.Crash{}}
	for _, p := range d.ports {
		all.Ports = append(all.Ports, p.Name)
	}
	now := gate.Now()
	for i := range kept {
		c := &kept[i]
		all.Crashes = append(all.Crashes, api.Crash{
			At: wallClock(c.At, now), Worker: c.Worker, Port: d.portName(c.Port), Own: c.Own,
			Panic: c.What, Stack: string(c.Stack), Frame: c.Frame, Digest: fmt.Sprintf("%x", c.Digest),
		})
	}
	return all, nil
}
