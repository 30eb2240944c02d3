package node

import (
	"fmt"
	"log/slog"

	"holdfast/rules/config"
	"holdfast/sync/reload"
	"holdfast/sync/wire"
)

// What is in force after a start is what was confirmed last: a policy that is being written,
// or that was on trial, does not come in force because the power failed.
//
//	nothing is kept                          the policy file, generation 1
//	the file says what is kept               that
//	it differs in what needs a restart       the file, as the next generation
//	it differs in other things, or is faulty what is kept; `status` says so until a reload
//	what is kept does not fit the node file  the file, as the next generation

// keptSuffix is what the kept policy's file is called behind the policy's name.
const keptSuffix = ".kept"

// beginning is what a daemon starts with.
type beginning struct {
	node    *config.Node
	policy  *config.Policy
	version wire.Generation
	image   []byte
	store   *reload.Store
	stale   string // why what is in force is not what the policy file says; "": it is
}

// begin reads the node file and what is to be in force.
func begin(file string, log *slog.Logger) (*beginning, error) {
	b := &beginning{}
	var err error
	if b.node, err = config.LoadNode(file); err != nil {
		return nil, wholeFault(file, err)
	}
	b.store = &reload.Store{Path: b.node.Policy.V + keptSuffix}
	if err := b.store.Discard(); err != nil {
		log.Warn("removing a policy that was not confirmed", "err", err)
	}
	fileErr := b.fromFile()
	g, image, err := b.store.Read()
	if err == nil && g.Number == 0 {
		if fileErr != nil {
			return nil, wholeFault(file, fileErr)
		}
		b.version.Number = 1
		return b, nil
	}
	var kept *config.Policy
	if err == nil {
		kept, err = unpackFor(b.node, g, image)
	}
	switch {
	case err != nil && fileErr != nil:
		return nil, wholeFault(file, fileErr)
	case err != nil:
		log.Warn("the kept policy cannot be used: starting with the policy file", "err", err)
		b.version.Number = g.Number + 1
	case fileErr == nil && b.version.Hash == g.Hash:
		b.version, b.image = g, image
	case fileErr == nil && config.NeedsRestart(kept, b.policy) != nil:
		log.Warn("the policy file has changes that need a restart: it is in force", "generation", g.Number+1)
		b.version.Number = g.Number + 1
	default:
		b.stale = fmt.Sprintf("the policy file %s says something else than generation %d, which was confirmed last and is in force: `holdfast reload` puts the file in force", b.node.Policy.V, g.Number)
		log.Warn(b.stale)
		b.policy, b.version, b.image = kept, g, image
	}
	return b, nil
}

// fromFile reads the policy file.
func (b *beginning) fromFile() error {
	p, sources, err := config.Gather(b.node.Policy.V)
	if err == nil {
		err = config.Check(b.node, p)
	}
	if err == nil {
		b.image, err = reload.Pack(sources)
	}
	if err != nil {
		return err
	}
	b.policy, b.version.Hash = p, p.Hash()
	return nil
}

// wholeFault returns all that is wrong with a node file and its policy, as `check` says it.
func wholeFault(file string, err error) error {
	n, _, whole := config.Load(file)
	switch {
	case whole != nil:
		return whole
	case n == nil:
		return fmt.Errorf("%s is a policy: `run` takes the node file that names it", file)
	}
	return err
}

// unpackFor returns the policy of an image, if it fits a node.
func unpackFor(n *config.Node, g wire.Generation, image []byte) (*config.Policy, error) {
	sources, err := reload.Unpack(image)
	if err != nil {
		return nil, err
	}
	p, err := sources.Policy()
	if err == nil {
		err = config.Check(n, p)
	}
	if err == nil && p.Hash() != g.Hash {
		err = fmt.Errorf("generation %d means something else to this version of holdfast", g.Number)
	}
	return p, err
}

// keep takes over what the daemon starts with; the kept file follows where it is another.
func (b *beginning) keep(d *daemon) error {
	r := &d.reloading
	r.store, r.ledger.Kept, r.keptImage, r.stale = b.store, b.version, b.image, b.stale
	g, _, err := b.store.Read()
	if err == nil && (g.Number == 0 || g == b.version) {
		return nil // nothing is kept until there is something to tell from the file
	}
	if err := b.store.Write(b.version, b.image); err != nil {
		return err
	}
	return b.store.Adopt()
}
