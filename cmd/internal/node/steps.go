package node

import (
	"errors"
	"fmt"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane/gate"
	"holdfast/rules/config"
	"holdfast/sync/reload"
	"holdfast/sync/wire"
)

// A generation passes through three steps here, whether this node was asked for a reload or
// another was (sync/reload): prepared beside the one in force, committed on trial, confirmed.

// ready is a generation that was prepared.
type ready struct {
	*generation
	expiry *time.Timer
}

// readSources reads a policy from its file, and what it was read from, packed.
func (d *daemon) readSources(file string) (*config.Policy, []byte, error) {
	p, sources, err := config.Gather(file)
	if err != nil {
		return nil, nil, err
	}
	image, err := reload.Pack(sources)
	return p, image, err
}

// getReady prepares a generation of a policy, and returns it: a hash of 0 is to be filled in.
// The caller holds the lock.
func (d *daemon) getReady(p *config.Policy, image []byte, v wire.Generation) (wire.Generation, error) {
	next, err := d.make(p, d.pool)
	if err != nil {
		return v, err
	}
	if v.Hash == 0 {
		v.Hash = next.hash
	}
	if next.hash != v.Hash {
		return v, fmt.Errorf("this node understands the policy as %s and not as %s: compare the versions of the nodes (`holdfast version`)", hash(next.hash), hash(v.Hash))
	}
	next.version, next.image = v, image
	if err := d.store(v, image); err != nil {
		return v, err
	}
	r := &d.reloading
	r.forget()
	r.ready = &ready{generation: next, expiry: time.AfterFunc(time.Duration(reload.PreparedFor), d.forgetReady)}
	r.ledger.Done(wire.StepPrepare, v, gate.Now())
	return v, nil
}

// store writes what is prepared beside what is kept. Before the first time what is in force is
// kept: until then a restart has read the policy file, which may say what is on trial now.
func (d *daemon) store(v wire.Generation, image []byte) error {
	r := &d.reloading
	if r.store == nil {
		return nil
	}
	if !r.store.Has() {
		if err := errors.Join(r.store.Write(r.ledger.Kept, r.keptImage), r.store.Adopt()); err != nil {
			return err
		}
	}
	return r.store.Write(v, image)
}

// forget lets go of what is prepared. The caller holds the lock.
func (r *reloading) forget() {
	if r.ready != nil {
		r.ready.expiry.Stop()
		r.ready = nil
	}
}

// forgetReady lets go of what nobody has put in force in time.
func (d *daemon) forgetReady() {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	if r := &d.reloading; r.ready != nil && r.ledger.Prepared(gate.Now()).Number == 0 {
		r.forget()
		d.discard()
	}
}

// discard removes the file of what was prepared and does not stay.
func (d *daemon) discard() {
	if d.reloading.store == nil {
		return
	}
	if err := d.reloading.store.Discard(); err != nil {
		d.log.Warn("removing a policy that is not kept", "err", err)
	}
}

// commit puts what is prepared in force on trial. The caller holds the lock.
func (d *daemon) commit(v wire.Generation, window time.Duration) (api.Plan, error) {
	r := &d.reloading
	if r.ready == nil || r.ready.version != v {
		return api.Plan{}, fmt.Errorf("generation %d was not prepared", v.Number)
	}
	old, next := d.generation(), r.ready.generation
	if next.countsAnew { // what has begun and ended since it was prepared
		var err error
		if next.snapshot.Limits, err = d.countAnew(&next.limits); err != nil {
			return api.Plan{}, err
		}
	}
	plan, err := d.replace(old, next)
	if err != nil {
		return api.Plan{}, err
	}
	r.forget()
	r.ledger.Done(wire.StepCommit, v, gate.Now())
	d.awaitConfirmation(old, window)
	d.tellStanding()
	return plan, nil
}

// confirm lets what is on trial stay, over a restart too. The caller holds the lock.
func (d *daemon) confirm(v wire.Generation) error {
	r := &d.reloading
	p := r.pending
	if p == nil || r.ledger.Trial != v {
		return fmt.Errorf("generation %d is not on trial", v.Number)
	}
	if r.store != nil {
		if err := r.store.Adopt(); err != nil {
			return err
		}
	}
	p.timer.Stop()
	r.pending = nil
	r.keptImage, r.stale = d.generation().image, ""
	r.ledger.Done(wire.StepConfirm, v, gate.Now())
	d.tellStanding()
	d.log.Info("policy confirmed", "generation", v.Number, "hash", hash(v.Hash))
	return nil
}

// revert goes back to what is kept, or forgets what is prepared. The caller holds the lock.
func (d *daemon) revert(v wire.Generation, why string) error {
	r := &d.reloading
	var err error
	if p := r.pending; p != nil && r.ledger.Trial == v {
		p.timer.Stop()
		err = d.back(p, why)
	}
	r.forget()
	d.discard()
	r.ledger.Done(wire.StepRevert, v, gate.Now())
	d.tellStanding()
	return err
}

// back puts the policy before a pending reload in force again. The caller holds the lock.
func (d *daemon) back(p *pending, why string) error {
	d.reloading.pending = nil
	old := d.generation()
	d.log.Warn(why+": going back", "from", hash(old.hash), "to", hash(p.before.hash), "generation", p.before.version.Number)
	next, err := d.make(p.before.policy, d.pool)
	if err == nil {
		next.version, next.image = p.before.version, p.before.image
		_, err = d.replace(old, next)
	}
	if err != nil { // it was in force, so it compiles; memory may lack
		d.log.Error("going back failed: the policy that was to go stays in force", "err", err)
		return fmt.Errorf("going back: %w", err)
	}
	return nil
}

// step carries out an order for a generation, if the ledger allows it. The caller holds the
// lock; StepPrepare is not for it.
func (d *daemon) step(step wire.Step, v wire.Generation, window time.Duration) (plan api.Plan, err error) {
	ruling, err := d.reloading.ledger.May(step, v, gate.Now())
	if err != nil || ruling == reload.Already {
		return api.Plan{}, err
	}
	switch step {
	case wire.StepCommit:
		if d.reloading.pending != nil || d.reloading.over {
			return api.Plan{}, d.mayReload()
		}
		return d.commit(v, window)
	case wire.StepConfirm:
		return api.Plan{}, d.confirm(v)
	case wire.StepRevert:
		return api.Plan{}, d.revert(v, "the node that asked for the policy takes it back")
	}
	return api.Plan{}, errors.New("no such step")
}

// tellStanding tells the peers which policies this node has.
func (d *daemon) tellStanding() {
	if d.cluster != nil {
		d.cluster.SetStanding(d.standing())
	}
}

// standing is what this node tells of its policies. The caller holds the lock, or nobody
// else runs yet.
func (d *daemon) standing() wire.Standing {
	r := &d.reloading
	s := wire.Standing{Kept: r.ledger.Kept, Trial: r.ledger.Trial, Force: d.generation().hash, Seats: d.generation().seats}
	s.Image = reload.NameOf(r.keptImage)
	r.serve(0, r.keptImage)
	return s
}
