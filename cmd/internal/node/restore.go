package node

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/rules/table"
	"holdfast/sync/journal"
	"holdfast/sync/saved"
)

// A restart need not cost the connections (F7). What the table holds at the end of a life is
// saved, and taken over by the next:
//
//	no peers         before the workers run
//	peers            at the first promotion, while they run, if no peer was heard until then that
//	                 has connections; one that has knows better what has ended since. Where all
//	                 nodes were restarted, the one that comes to serve uses its own
//
// Nothing of it is fatal: a node without its connections is a node that has just been made.

// saving is what a daemon knows of the file of its connections.
type saving struct {
	path    string // "": none
	meaning uint64 // of numbers, see saved.Header
	file    *saved.File
	policy  uint64
	peers   bool
	running sync.WaitGroup // a restore beside the workers
}

// bootID is the kernel's name of this boot (random(4)); zero where it cannot be read.
func bootID() (id saved.Boot) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return saved.Boot{}
	}
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(b) != len(id) {
		return saved.Boot{}
	}
	return saved.Boot(b)
}

// meaningOf hashes what the numbers in a state name: ports and gateways in their order.
func meaningOf(p *config.Policy) uint64 {
	h := xxhash.New()
	for i := range p.Ports {
		fmt.Fprintf(h, "port %q\n", p.Ports[i].Name.V)
	}
	for i := range p.Gateways {
		fmt.Fprintf(h, "gateway %q\n", p.Gateways[i].Name.V)
	}
	return h.Sum64()
}

// header says when and under what this node stands.
func (s *saving) header(now int64) saved.Header {
	return saved.Header{Boot: bootID(), Boottime: now, Wall: time.Now().UnixNano(), Policy: s.policy, Meaning: s.meaning}
}

// takeSaved looks for what the life before has left, and takes it over at once where there
// is no peer to ask.
func (d *daemon) takeSaved(plan *plan, p *config.Policy) {
	s := &d.saving
	s.path, s.meaning, s.policy, s.peers = plan.stateFile, meaningOf(p), d.generation().hash, len(plan.links) > 0
	if s.path == "" {
		return
	}
	file, err := saved.Open(s.path)
	switch {
	case err != nil:
		d.log.Warn("starting without connections", "err", err)
	case file == nil:
	case file.Header.Meaning != s.meaning:
		d.log.Warn("starting without connections", "err", "the saved ones in "+s.path+" are of a policy with other ports or gateways")
		_ = file.Close() // of a file that is removed
	default:
		s.file = file
		d.then(s.forget)
		if !s.peers {
			d.restore(file)
		}
	}
}

// forget closes the file, whether it was used or not.
func (s *saving) forget() error {
	s.running.Wait()
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// promotedAlone takes over what was saved where this node comes to serve before it has heard
// any peer that has connections. The control goroutine of the cluster calls it, so it must not wait.
func (d *daemon) promotedAlone() {
	s := &d.saving
	file := s.file
	if file == nil || !s.peers {
		return
	}
	s.peers = false // once
	for _, peer := range d.cluster.Status(gate.Now()).Peers {
		if peer.Knows {
			d.log.Info("the saved connections are not used: a peer knows newer ones", "peer", peer.Name)
			return
		}
	}
	s.running.Go(func() { d.restore(file) })
}

// restore brings the saved connections into the table, as if a peer had told of them, and
// ends those whose time has run out while the node was down.
func (d *daemon) restore(file *saved.File) {
	now := gate.Now()
	here := d.saving.header(now)
	away := file.Header.Age(&here)
	r := restorer{
		applier: journal.NewApplier(d.table, d.pool, d.shared, d.learnNeighbor),
		down:    uint64(away.Milliseconds()), now: now,
	}
	r.applier.CountIn(d.limits)
	if file.Header.Policy != d.generation().hash {
		r.rules, r.tables = d.set(), d.snapshot.Load().Tables
	}
	err := file.Each(r.one)
	expired := d.expire(now)
	log := d.log.Info
	if err != nil {
		log = d.log.Warn
	}
	log("connections taken over from the life before", slog.Int("connections", r.taken-expired),
		slog.Int("expired", r.expired+expired), slog.Int("refused", r.refused), slog.Duration("down", away.Round(time.Millisecond)), slog.Any("err", err))
}

// restorer takes saved connections over, one by one.
type restorer struct {
	applier *journal.Applier
	rules   *rules.Set // asked again, because the policy is another; nil: it is the same
	tables  *table.Tables
	down    uint64 // ms that nobody looked at them
	now     int64

	taken, expired, refused int
}

func (r *restorer) one(s *conntrack.State) {
	idle := uint64(s.Idle) + r.down
	if idle > math.MaxUint32/2 { // the table's clock would wrap; no timeout is as long
		r.expired++
		return
	}
	s.Idle = uint32(idle)
	if r.rules != nil && !again(r.rules, r.tables, s) {
		r.refused++
		return
	}
	if !r.applier.Restore(s, r.now) {
		r.refused++
		return
	}
	r.taken++
}

// again asks rules about a connection that others have admitted, and gives it what they say
// of it.
func again(set *rules.Set, tables *table.Tables, s *conntrack.State) bool {
	tuple := conntrack.Judged(&s.Original, &s.Reply)
	v := set.Match(&tuple, s.Ingress, s.Egress, nil, tables)
	if v.Action != rules.Pass {
		return false
	}
	s.Rule, s.Sync, s.Mode, s.PickUp, s.Timeouts = v.Number, v.Sync, conntrack.Mode(v.Mode), v.PickUp || s.PickUp, v.Timeouts
	s.Logged = v.Log == config.LogAll
	return true
}

// expire ends what is out of time, all at once: nobody was there to do it bit by bit.
func (d *daemon) expire(now int64) (n int) {
	ended := make([]conntrack.Ended, 256)
	for from, more := uint32(0), true; more; {
		next, count := d.table.Sweep(from, uint32(len(ended)), now, conntrack.GraceOwner, ended)
		for i := range ended[:count] {
			s := &ended[i].State
			d.pool.Release(d.pool.BindingOf(s.Original, s.Reply))
			if s.Complete() {
				d.limits().Leave(s.Rule, &s.Original.Src)
			}
		}
		n += count
		from, more = next, next != 0
	}
	return n
}

// save writes the connections for the next life. No worker runs any more.
func (d *daemon) save() {
	s := &d.saving
	s.running.Wait()
	if s.path == "" {
		return
	}
	if g := d.generation(); g.epoch > 1 {
		// Numbers of timeouts follow what was reloaded; the next life counts from the start,
		// so it must ask the rules about each connection again.
		s.policy = 0
	}
	h := s.header(gate.Now())
	n, err := saved.Write(s.path, &h, d.table)
	if err != nil {
		d.log.Error("the connections are not saved", "err", err)
		return
	}
	d.log.Info("connections saved", "file", s.path, "connections", n)
}
