package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/nat"
	"holdfast/rules/config"
)

// A reload is
//
//	read       the policy and its files; every fault of it is told, nothing is changed
//	prepare    the next generation beside the one in force (generation.go)
//	publish    one store; a worker takes it up between two bursts
//	pass       every worker has; the counts of the rules are carried over
//	reckon     connections of rules that changed end, where these say so (reckoning.go)
//
// and with --confirm all of that again with the old policy, unless somebody confirms.

// pending is a reload that waits to be confirmed.
type pending struct {
	before *generation // to go back to
	until  time.Time
	timer  *time.Timer
}

// Bounds of --confirm.
const (
	confirmMin = time.Second
	confirmMax = 24 * time.Hour
)

// policyPath returns the file of a request; "" means the one that the node file names.
func (d *daemon) policyPath(file string) (string, error) {
	if file == "" {
		return d.node.Policy.V, nil
	}
	if !filepath.IsAbs(file) {
		return "", fmt.Errorf("%w: policy %q: the daemon needs its whole path", api.ErrUsage, file)
	}
	return file, nil
}

// read reads a policy and makes what a reload would put in force. The error has everything
// that is wrong with it, and that cannot be reloaded.
func (d *daemon) read(file string, pool *nat.Pool) (*generation, error) {
	p, err := config.LoadPolicy(file)
	if err != nil {
		return nil, err
	}
	return d.make(p, pool)
}

func (d *daemon) make(p *config.Policy, pool *nat.Pool) (*generation, error) {
	if err := errors.Join(config.Check(d.node, p), config.NeedsRestart(d.generation().policy, p)); err != nil {
		return nil, err
	}
	pl := &plan{}
	if err := pl.compile(p, d.former()); err != nil {
		return nil, err
	}
	return d.prepare(p, pl, pool)
}

// Plan implements api.Daemon: what a reload would change. It changes nothing.
func (d *daemon) Plan(r api.PlanRequest) (api.Plan, error) {
	path, err := d.policyPath(r.File)
	if err != nil {
		return api.Plan{}, err
	}
	d.reloading.Lock()
	defer d.reloading.Unlock()
	next, err := d.read(path, nat.NewPool())
	if err != nil {
		return api.Plan{File: path, Errors: lines(err), Changes: []api.Change{}, Ends: []api.Ends{}}, nil
	}
	plan, _ := d.compare(next, d.generation())
	return plan, nil
}

// compare says what a generation changes of the one before, and which connections end.
func (d *daemon) compare(next, old *generation) (api.Plan, *reckoning) {
	plan := api.Plan{
		File: next.policy.File, Hash: hash(next.hash), Errors: []string{}, Notices: []string{},
		Rules: next.snapshot.Rules.Len(), Changes: []api.Change{}, Ends: []api.Ends{},
	}
	for _, n := range next.policy.Notices {
		plan.Notices = append(plan.Notices, n.String())
	}
	changes := config.Diff(old.policy, next.policy)
	for _, c := range changes {
		plan.Changes = append(plan.Changes, api.Change{What: c.What.String(), Kind: c.Kind, Name: c.Name, Position: c.Pos.String()})
	}
	r := newReckoning(old, next, changes)
	plan.Ends = r.count(d)
	return plan, r
}

// Reload implements api.Daemon.
func (d *daemon) Reload(r api.ReloadRequest) (api.Plan, error) {
	confirm := time.Duration(r.Confirm * float64(time.Second))
	if r.Confirm != 0 && !(r.Confirm >= confirmMin.Seconds() && r.Confirm <= confirmMax.Seconds()) {
		return api.Plan{}, fmt.Errorf("%w: confirm within %v: must lie between %v and %v", api.ErrUsage, confirm, confirmMin, confirmMax)
	}
	path, err := d.policyPath(r.File)
	if err != nil {
		return api.Plan{}, err
	}
	if peers := d.node.Links; len(peers) > 0 && !r.ThisNode {
		return api.Plan{}, fmt.Errorf("this node is one of a cluster, and a reload of all its nodes is not built: copy the policy to every node and run `holdfast reload --this-node` on each, on those that stand by first")
	}
	d.reloading.Lock()
	defer d.reloading.Unlock()
	if err := d.mayReload(); err != nil {
		return api.Plan{}, err
	}
	next, err := d.read(path, d.pool)
	if err != nil {
		return api.Plan{File: path, Errors: lines(err), Changes: []api.Change{}, Ends: []api.Ends{}}, nil
	}
	old := d.generation()
	plan, err := d.replace(old, next)
	if err != nil {
		return api.Plan{}, err
	}
	if confirm > 0 {
		d.awaitConfirmation(old, confirm)
	}
	return plan, nil
}

// mayReload refuses a reload that would meet another. The caller holds the lock.
func (d *daemon) mayReload() error {
	if d.reloading.over {
		return fmt.Errorf("%s ends", d.name)
	}
	if p := d.reloading.pending; p != nil {
		return fmt.Errorf("the reload before waits %v more to be confirmed: run `holdfast confirm`, or let it go back", time.Until(p.until).Round(time.Second))
	}
	return nil
}

// replace puts a generation in force and ends what ends with it. The caller holds the lock.
func (d *daemon) replace(old, next *generation) (api.Plan, error) {
	plan, reckoning := d.compare(next, old)
	if err := d.publish(next); err != nil {
		return api.Plan{}, err
	}
	d.passed()
	plan.Generation, plan.Ended = next.number, reckoning.carryOut(d)
	d.log.Info("policy in force", "file", next.policy.File, "hash", hash(next.hash), "generation", next.number,
		"changes", len(plan.Changes), "ended", plan.Ended)
	return plan, nil
}

// awaitConfirmation goes back to a generation unless Confirm comes first. The caller holds
// the lock.
func (d *daemon) awaitConfirmation(before *generation, within time.Duration) {
	p := &pending{before: before, until: time.Now().Add(within)}
	d.reloading.pending = p
	p.timer = time.AfterFunc(within, func() { d.goBack(p) })
}

// goBack puts the policy before a pending reload in force again.
func (d *daemon) goBack(p *pending) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	if d.reloading.pending != p || d.reloading.over {
		return
	}
	d.reloading.pending = nil
	old := d.generation()
	d.log.Warn("nobody confirmed the policy: going back", "from", hash(old.hash), "to", hash(p.before.hash))
	next, err := d.make(p.before.policy, d.pool)
	if err == nil {
		_, err = d.replace(old, next)
	}
	if err != nil { // it was in force, so it compiles; memory may lack
		d.log.Error("going back failed: the policy that nobody confirmed stays in force", "err", err)
	}
}

// Confirm implements api.Daemon.
func (d *daemon) Confirm() (api.Done, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	p := d.reloading.pending
	if p == nil {
		return api.Done{}, errors.New("no reload waits to be confirmed: see `holdfast status`")
	}
	p.timer.Stop()
	d.reloading.pending = nil
	return api.Done{Done: "policy " + hash(d.generation().hash) + " stays in force"}, nil
}

// end lets no reload begin, nor go back, any more.
func (r *reloading) end() {
	r.Lock()
	defer r.Unlock()
	r.over = true
	if r.pending != nil {
		r.pending.timer.Stop()
	}
}

// confirmation returns how long a pending reload waits yet; nil: none does.
func (r *reloading) confirmation() *float64 {
	if !r.TryLock() {
		return nil // one is under way: it waits for nothing yet
	}
	defer r.Unlock()
	if r.pending == nil {
		return nil
	}
	left := max(0, time.Until(r.pending.until).Seconds())
	return &left
}

// obeyHangups reloads this node's policy at each SIGHUP until ctx ends.
func (d *daemon) obeyHangups(ctx context.Context) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			plan, err := d.Reload(api.ReloadRequest{ThisNode: true})
			if err != nil {
				d.log.Error("reload refused", "err", err)
			}
			for _, fault := range plan.Errors {
				d.log.Error("reload refused", "err", fault)
			}
		}
	}
}
