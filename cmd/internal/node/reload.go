package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane/gate"
	"holdfast/nat"
	"holdfast/rules/config"
	"holdfast/sync/reload"
	"holdfast/sync/wire"
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

// make makes what a reload would put in force. The error has everything that cannot be.
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
	p, err := config.LoadPolicy(path)
	var next *generation
	if err == nil {
		next, err = d.make(p, nat.NewPool())
	}
	if err != nil {
		return api.Plan{File: path, Errors: lines(err), Changes: []api.Change{}, Ends: []api.Ends{}, Warnings: []string{}}, nil
	}
	plan, _ := d.compare(next, d.generation())
	return plan, nil
}

// compare says what a generation changes of the one before, and which connections end.
func (d *daemon) compare(next, old *generation) (api.Plan, *reckoning) {
	plan := api.Plan{
		File: next.policy.File, Hash: hash(next.hash), Errors: []string{}, Notices: []string{}, Warnings: []string{},
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
	d.reloading.Lock()
	defer d.reloading.Unlock()
	if err := d.mayReload(); err != nil {
		return api.Plan{}, err
	}
	if r.ThisNode && len(d.node.Links) > 0 {
		return d.reloadThis(path, confirm)
	}
	return d.reloadAll(path, confirm)
}

// refused is a plan that changes nothing.
func refused(file string, errors []string) api.Plan {
	return api.Plan{File: file, Errors: errors, Changes: []api.Change{}, Ends: []api.Ends{}, Warnings: []string{}}
}

// reloadAll puts a policy in force on every node, this one included. The caller holds the lock.
func (d *daemon) reloadAll(path string, confirm time.Duration) (api.Plan, error) {
	p, image, err := d.readSources(path)
	if err != nil {
		return refused(path, lines(err)), nil
	}
	v, err := d.getReady(p, image, wire.Generation{Number: d.reloading.ledger.Next()})
	if err != nil {
		return refused(path, lines(err)), nil
	}
	window := confirm
	if confirm == 0 {
		window = swapWindow
	}
	a := d.newAsking(v, image, window)
	defer a.end()
	t := reload.Transaction{Parties: a}
	if !t.Put() {
		if err := a.Own(wire.StepRevert); err != nil {
			return api.Plan{}, err
		}
		return refused(path, t.Faults), nil
	}
	if confirm == 0 {
		if err := t.Confirm(); err != nil {
			return api.Plan{}, errors.Join(err, a.Own(wire.StepRevert))
		}
	}
	a.plan.Warnings = append(a.plan.Warnings, t.Warnings...)
	for _, w := range t.Warnings {
		d.log.Warn("reload", "warning", w)
	}
	return a.plan, nil
}

// reloadThis puts a policy in force on this node of a cluster alone: an experiment, that no
// other node takes over and that does not last over a restart. The caller holds the lock.
func (d *daemon) reloadThis(path string, confirm time.Duration) (api.Plan, error) {
	p, err := config.LoadPolicy(path)
	var next *generation
	if err == nil {
		next, err = d.make(p, d.pool)
	}
	if err != nil {
		return refused(path, lines(err)), nil
	}
	old := d.generation()
	next.version = wire.Generation{Number: d.reloading.ledger.Kept.Number, Hash: next.hash}
	d.reloading.forget() // it was prepared to follow another
	plan, err := d.replace(old, next)
	if err != nil {
		return api.Plan{}, err
	}
	if confirm > 0 {
		d.awaitConfirmation(old, confirm)
	}
	d.tellStanding()
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
	plan.Generation, plan.Ended = next.version.Number, reckoning.carryOut(d)
	d.announceExternal(plan.Changes)
	d.log.Info("policy in force", "file", next.policy.File, "hash", hash(next.hash), "generation", next.version.Number,
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
	r := &d.reloading
	_ = d.back(p, "nobody confirmed the policy") // it has logged why
	r.ledger.Done(wire.StepRevert, r.ledger.Trial, gate.Now())
	d.discard()
	d.tellStanding()
}

// Confirm implements api.Daemon.
func (d *daemon) Confirm() (api.Done, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	p := d.reloading.pending
	switch {
	case p == nil:
		return api.Done{}, errors.New("no reload waits to be confirmed" + d.triedElsewhere() + ": see `holdfast status`")
	case d.reloading.ledger.Trial.Number == 0: // of this node alone
		p.timer.Stop()
		d.reloading.pending = nil
		return api.Done{Done: "policy " + hash(d.generation().hash) + " stays in force on this node, until it is restarted"}, nil
	}
	a := d.newAsking(d.reloading.ledger.Trial, d.generation().image, 0)
	defer a.end()
	t := reload.Transaction{Parties: a}
	if err := t.Confirm(); err != nil {
		return api.Done{}, err
	}
	v := d.reloading.ledger.Kept
	return api.Done{Done: fmt.Sprintf("generation %d, policy %s, stays in force", v.Number, hash(v.Hash)), Warnings: t.Warnings}, nil
}

// triedElsewhere says on which peer a reload waits to be confirmed; "" where on none.
func (d *daemon) triedElsewhere() string {
	if d.cluster == nil {
		return ""
	}
	for _, m := range d.cluster.Members(gate.Now()) {
		if s := d.cluster.Standing(m.Number); m.Heard && s != nil && s.Trial.Number != 0 {
			return fmt.Sprintf(" on this node, but generation %d on %s does: confirm it there", s.Trial.Number, m.Name)
		}
	}
	return ""
}

// announceExternal tells the neighbours of external addresses that a reload has brought:
// the node that is active answers for them from now on.
func (d *daemon) announceExternal(changes []api.Change) {
	if !slices.ContainsFunc(changes, func(c api.Change) bool { return c.Kind == "nat" }) || !d.lease.Held(gate.Now()) {
		return
	}
	select {
	case d.announces <- struct{}{}:
	default: // one is under way
	}
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

// obeyHangups reads this node's key file anew at each SIGHUP, and reloads the policy, of all nodes where this one is active, until ctx
// ends. A node that stands by does not: its file may be an old one, and whatever sends every
// daemon a SIGHUP would bring that to all nodes.
func (d *daemon) obeyHangups(ctx context.Context) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			d.rereadKeys()
			if len(d.node.Links) > 0 && d.cluster.Role() != gate.Active {
				d.log.Warn("SIGHUP does nothing on a node that stands by: it reloads the cluster on the active one; `holdfast reload` does on any")
				continue
			}
			plan, err := d.Reload(api.ReloadRequest{})
			if err != nil {
				d.log.Error("reload refused", "err", err)
			}
			for _, fault := range plan.Errors {
				d.log.Error("reload refused", "err", fault)
			}
		}
	}
}
