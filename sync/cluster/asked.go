package cluster

import (
	"fmt"
	"slices"

	"holdfast/dataplane/gate"
)

// Lapsed tells that the lease ended before it was extended. The node is demoted and
// must be promoted anew.
func (e *Election) Lapsed(now int64, why string) {
	if e.self.Role == gate.Active {
		e.demote(now, "the lease lapsed", why)
	}
}

// wantsFor is how long a node asks for the role, in DeadAfter.
const wantsFor = 10

// AskPromote is `holdfast promote`: this node asks the active one to hand over, or
// claims at once where there is none. With force it claims at once, ready or not.
func (e *Election) AskPromote(now int64, force bool) error {
	if e.self.Role == gate.Active {
		return fmt.Errorf("this node is active already")
	}
	if force && e.votes != nil {
		return fmt.Errorf("alone = \"witness\": votes decide, and no operator can stand in for them; leave out --force, or take alone = \"serve\" into the policy")
	}
	if force {
		e.alarm = !e.self.Ready
		e.promote(now, "forced", "holdfast promote --force")
		return nil
	}
	if !e.self.Ready {
		return fmt.Errorf("this node is not ready: its table may lack connections; `holdfast promote --force` takes over all the same")
	}
	if !e.self.Sound() {
		return fmt.Errorf("this node has a fault: %s; `holdfast promote --force` takes over all the same", e.health.Fault)
	}
	if len(e.members) > 0 && !slices.ContainsFunc(e.members, func(m member) bool { return m.heard != 0 }) {
		return fmt.Errorf("this node has heard no other node since it was started, and one may serve: `holdfast promote --force` takes over all the same")
	}
	e.self.Wants, e.wantUntil = true, now+wantsFor*e.timing.DeadAfter
	e.self.Yields, e.holdUntil = false, 0
	e.sawActive = true // an operator vouches for the picture
	return nil
}

// AskDemote is `holdfast demote`: hand over to the best ready node.
func (e *Election) AskDemote(now int64) error {
	if e.self.Role != gate.Active {
		return fmt.Errorf("this node is standby already")
	}
	for _, m := range e.members {
		if e.alive(m, now) && m.beat.Ready && m.beat.Sound() {
			e.demote(now, "handed over", "holdfast demote")
			return nil
		}
	}
	return fmt.Errorf("no living peer is ready to take over and without a fault: promote one by force first, or stop this daemon")
}
