package node

import (
	"context"
	"fmt"
	"time"

	"holdfast/cmd/internal/hook"
	"holdfast/dataplane/gate"
	"holdfast/rules/config"
)

// hookPatience is how long the end of the daemon waits for hooks: the one that withdraws
// routes is worth waiting for, one that hangs is not.
const hookPatience = 15 * time.Second

// openHooks makes the runner of the node's hooks.
func (d *daemon) openHooks(n *config.Node) {
	var all []hook.Hook
	for i := range n.Hooks {
		h := &n.Hooks[i]
		one := hook.Hook{Argv: h.Argv(), Timeout: h.Timeout.V}
		for _, e := range h.Events {
			one.Events = append(one.Events, e.V)
		}
		all = append(all, one)
	}
	d.hooks = hook.New(all, d.log)
}

// vars returns what every hook is told, and more.
func (d *daemon) vars(more ...string) []string {
	return append([]string{
		"HOLDFAST_NODE=" + d.name, "HOLDFAST_GROUP=" + d.group, "HOLDFAST_SOCKET=" + d.node.Socket.V,
		"HOLDFAST_TIME=" + time.Now().Format(time.RFC3339Nano),
	}, more...)
}

// tellRole tells the hooks of this node's role. It does not block.
func (d *daemon) tellRole(role gate.Role) {
	term, cause := uint64(0), "the daemon starts"
	if history := d.cluster.Status(gate.Now()).History; len(history) > 0 {
		last := history[len(history)-1]
		term, cause = last.Term, "the daemon ends" // which is not a decision yet
		if last.Role == role {
			cause = last.Cause + ": " + last.Evidence
		}
	}
	d.hooks.Tell(config.EventRole, d.vars("HOLDFAST_ROLE="+role.String(), fmt.Sprint("HOLDFAST_TERM=", term), "HOLDFAST_CAUSE="+cause)...)
}

// syncLook is how often the peers and this node's readiness are looked at, for the hooks.
const syncLook = 200 * time.Millisecond

// syncSeen is what hooks of sync events were told last.
type syncSeen struct {
	ready bool
	heard map[string]bool
}

// tellSync tells the hooks when a peer is heard or falls silent, and when this node gets
// ready or is ready no longer, until ctx ends.
func (d *daemon) tellSync(ctx context.Context) {
	if !d.hooks.Has(config.EventSync) {
		return
	}
	tick := time.NewTicker(syncLook)
	defer tick.Stop()
	seen := syncSeen{heard: map[string]bool{}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.tellSyncChanges(&seen)
	}
}

func (d *daemon) tellSyncChanges(seen *syncSeen) {
	now := gate.Now()
	s := d.cluster.Status(now)
	for i := range s.Peers {
		p := &s.Peers[i]
		heard := p.Heard != 0 && now-p.Heard < max(int64(syncLook), d.silence)
		if heard == seen.heard[p.Name] {
			continue
		}
		seen.heard[p.Name] = heard
		state, why := "heard", ""
		if !heard {
			state, why = "silent", fmt.Sprintf("no heartbeat for %v", time.Duration(now-p.Heard).Round(time.Millisecond))
		}
		d.hooks.Tell(config.EventSync, d.vars("HOLDFAST_PEER="+p.Name, "HOLDFAST_STATE="+state, "HOLDFAST_WHY="+why)...)
	}
	if s.Ready != seen.ready {
		seen.ready = s.Ready
		state := "ready"
		if !s.Ready {
			state = "not-ready"
		}
		d.hooks.Tell(config.EventSync, d.vars("HOLDFAST_PEER=", "HOLDFAST_STATE="+state, "HOLDFAST_WHY="+s.NotReady)...)
	}
}
