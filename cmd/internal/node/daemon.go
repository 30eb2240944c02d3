package node

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/cmd/internal/hook"
	"holdfast/conntrack"
	"holdfast/dataplane"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/fragment"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/gateway"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
	"holdfast/nat"
	"holdfast/rules/config"
	"holdfast/rules/table"
	"holdfast/sync/cluster"
	"holdfast/sync/journal"
	"holdfast/sync/wire"
)

// daemon is one running node.
type daemon struct {
	version, name, group string
	number               uint16 // in the cluster, as incarnations carry it
	started              time.Time
	log                  *slog.Logger

	ports    []*port // by PortID
	gateways *gateway.Set
	queues   [][]xsk.QueueRef
	routes   *fib.Watcher
	table    *conntrack.Table
	pool     *nat.Pool
	lease    gate.Lease
	links    []*cluster.PeerLink
	witness  *cluster.PeerLink // nil: there is none
	keys     *keyLog           // nil: session keys stay in memory
	lanes    []*journal.Journal
	shared   *journal.Shared
	workers  []*dataplane.Worker
	synProxy *dataplane.SynProxy // of all workers
	cluster  *cluster.Node

	node      *config.Node // as it was at the start
	reloading reloading
	saving    saving
	killing   killing
	watching  watching
	packetLog packetLog
	overloads *dataplane.Overloads
	flushed   atomic.Uint64 // connections of overloaded sources that have ended
	snapshot  atomic.Pointer[dataplane.Snapshot]
	tracking  tracking
	hooks     *hook.Runner
	silence   int64         // ns, after which a peer counts as silent
	announces chan struct{} // a promotion: announce now, and again
	undo      []func() error
	running   bool // the start is complete

	quarantine dataplane.Quarantine // packets that made a worker panic
	crashes    dataplane.Crashes
}

// Run is `holdfast run`: it starts a node from a node file and runs it until ctx ends.
// Errors say what, where and what to do, and leave nothing half set up.
func Run(ctx context.Context, file, version string, log *slog.Logger) (err error) {
	b, err := begin(file, log)
	if err != nil {
		return err
	}
	for _, n := range b.policy.Notices {
		log.Warn("accepted, not acted on yet", "what", n.String())
	}
	d := &daemon{version: version, started: time.Now(), log: log, announces: make(chan struct{}, 1)}
	d.reloading.inbox = make(chan said, inboxMax)
	defer func() { err = errors.Join(err, d.close()) }()
	server, err := d.start(b)
	if err != nil {
		return err
	}
	return d.run(ctx, server)
}

// then remembers how to undo a step of the start.
func (d *daemon) then(undo func() error) { d.undo = append(d.undo, undo) }

// close undoes the start, last step first.
func (d *daemon) close() error {
	var errs []error
	for i := len(d.undo) - 1; i >= 0; i-- {
		errs = append(errs, d.undo[i]())
	}
	d.undo = nil
	return errors.Join(errs...)
}

// start builds the node, in the order of the package comment.
func (d *daemon) start(b *beginning) (_ *api.Server, err error) {
	n, p := b.node, b.policy
	if os.Geteuid() != 0 {
		return nil, errors.New("holdfast run needs root (CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF): start it as root or by systemd")
	}
	plan, err := newPlan(n, p)
	if err != nil {
		return nil, err
	}
	d.name, d.group, d.node = plan.name, plan.group, n
	d.ports, d.gateways = plan.ports, plan.gateways

	server, err := api.Listen(plan.socket)
	if err != nil {
		return nil, err
	}
	d.then(server.Close)

	if err := b.keep(d); err != nil {
		return nil, err
	}
	if err := look(plan.devices); err != nil {
		return nil, err
	}
	if d.queues, err = assign(plan.devices, plan.workers); err != nil {
		return nil, err
	}
	release := releaseFailed(d, plan.devices)
	if err := attach(plan.devices, d.log); err != nil {
		return nil, err
	}
	d.then(release)
	if err := d.addDefaultRoutes(plan.defaults); err != nil {
		return nil, err
	}
	if err := d.openTable(plan, p); err != nil {
		return nil, err
	}
	if err := d.openLinks(plan); err != nil {
		return nil, err
	}
	if err := d.openWorkers(plan); err != nil {
		return nil, err
	}
	if err := d.joinCluster(plan); err != nil {
		return nil, err
	}
	d.openTracking(n, p)
	d.openHooks(n)
	d.silence = plan.timing.DeadAfter
	d.takeSaved(plan, p)
	d.running = true
	return server, nil
}

// releaseFailed lets go of the devices: they stay mute after the daemon has run, and go
// back to what they were where the start failed.
func releaseFailed(d *daemon, devices []*device) func() error {
	return func() error {
		if d.running {
			return release(devices, stayMute)
		}
		return release(devices, detachFresh)
	}
}

// openTable makes the table, the port maps and the routes, and the first Snapshot.
func (d *daemon) openTable(plan *plan, p *config.Policy) (err error) {
	d.number = cluster.Number(plan.links)
	d.table, err = conntrack.New(conntrack.Config{
		Capacity: plan.connections, Node: d.number,
		Counter: incarnationCounter(d.started),
	})
	if err != nil {
		return err
	}
	d.then(d.table.Close)
	d.pool = nat.NewPool()
	links := map[int]packet.PortID{}
	for _, p := range d.ports {
		links[p.tap.Ifindex()] = p.ID
	}
	d.routes, err = fib.NewWatcher(fib.Config{
		Links: links, Now: gate.Now, OnNeighbor: d.tellNeighbor, Gateways: fibGateways(d.gateways),
	})
	if err != nil {
		return err
	}
	d.then(func() error { d.routes.Close(); return nil })
	d.snapshot.Store(&dataplane.Snapshot{Ports: d.pool, Routes: d.routes.Table(), Table: d.table, Gateways: d.gateways, Tables: table.None(d.number, incarnationCounter(d.started))})
	next, err := d.prepare(p, plan, d.pool)
	if err != nil {
		return err
	}
	next.version, next.image = d.reloading.ledger.Kept, d.reloading.keptImage
	return d.publish(next)
}

// openLinks opens the sockets to the peers and the lanes that send through them.
func (d *daemon) openLinks(plan *plan) (err error) {
	life := cluster.Life{Keys: plan.keys}
	if plan.keyLog != "" {
		if d.keys, err = openKeyLog(plan.keyLog, d.log); err != nil {
			return err
		}
		d.then(d.keys.close)
		life.Log = d.keys.add
	}
	if d.links, err = cluster.OpenLinks(plan.links, life); err != nil {
		return err
	}
	if plan.witness != nil {
		third, err := cluster.OpenLinks([]cluster.LinkConfig{*plan.witness}, life)
		if err != nil {
			return err
		}
		d.witness = third[0]
		d.then(d.witness.Close)
	}
	var ways []*journal.Link
	for _, l := range d.links {
		d.then(l.Close)
		ways = append(ways, &l.Link)
	}
	outlet := journal.NewOutlet(ways)
	for i := range d.queues {
		d.lanes = append(d.lanes, journal.New(uint16(i), outlet))
	}
	d.shared = journal.NewShared(journal.New(uint16(len(d.queues)), outlet))
	return nil
}

// openWorkers opens the sockets: from here on frames arrive, and are dropped.
func (d *daemon) openWorkers(plan *plan) error {
	var ports []*dataplane.Port
	for _, p := range d.ports {
		ports = append(ports, &p.Port)
	}
	fragments := fragment.New()
	if err := d.openPacketLog(len(d.queues)); err != nil {
		return err
	}
	d.overloads = dataplane.NewOverloads()
	d.synProxy = &dataplane.SynProxy{Secret: plan.cookieSecret()}
	for i, queues := range d.queues {
		w, err := dataplane.NewWorker(dataplane.Config{
			ID: i, Workers: len(d.queues), Node: d.number, Ports: ports, Queues: queues, Lease: &d.lease, Snapshot: &d.snapshot,
			Journal: d.lanes[i], Fragments: fragments, Overloads: d.overloads, SynProxy: d.synProxy, Resolver: d.routes, Log: d.packetLog.packets,
			DeferMax: plan.deferMax, Quarantine: &d.quarantine, Crashes: &d.crashes,
		})
		if err != nil {
			return err
		}
		d.then(w.Close)
		d.workers = append(d.workers, w)
	}
	return nil
}

// joinCluster makes the node of the cluster; nothing is sent before it runs.
func (d *daemon) joinCluster(plan *plan) (err error) {
	var progress []*gate.Progress
	for _, w := range d.workers {
		progress = append(progress, w.Progress())
	}
	d.cluster, err = cluster.NewNode(cluster.Config{
		Name: d.name, Group: d.group, Priority: plan.priority, Timing: plan.timing, Alone: plan.alone,
		Links: plan.links, Witness: d.witness, Keys: plan.keys, Standing: d.standing(), Policies: d.peerSays, SettleTimeouts: d.settleTimeouts, MTUs: mtus(d.ports),
		Table: d.table, Lease: &d.lease, Progress: progress, Journals: d.lanes, Shared: d.shared,
		Applier: func() *journal.Applier {
			a := journal.NewApplier(d.table, d.pool, d.shared, d.learnNeighbor)
			a.CountIn(d.limits)
			a.OnPoison(d.rememberPoison)
			return a
		},
		Tables:     func() *table.Tables { return d.snapshot.Load().Tables },
		Kill:       d.obeyKill,
		Transition: d.transition,
	}, d.links)
	d.watching.role = d.cluster.Role
	return err
}

// transition follows a change of role. The control goroutine of the cluster calls it.
func (d *daemon) transition(role gate.Role) {
	if role == gate.Active {
		d.promotedAlone()
		d.routes.Activate()
		select {
		case d.announces <- struct{}{}:
		default: // one is under way
		}
	} else {
		d.routes.Deactivate()
		d.endOwn()
	}
	for _, w := range d.workers {
		w.Wake()
	}
	d.tracking.Serve(role == gate.Active)
	d.tellRole(role)
	d.log.Info("role", "group", d.group, "role", role.String())
}

// neighborValidity is how long, in ms, a peer may use a neighbour's MAC without asking.
const neighborValidity = 60_000

// tellNeighbor tells the peers what this node's kernel has learnt.
func (d *daemon) tellNeighbor(n fib.Neighbor) {
	d.shared.Neighbor(&wire.Neighbor{Port: n.Port, Address: n.Addr, MAC: n.MAC, Validity: neighborValidity})
}

// learnNeighbor takes in what a peer's kernel has learnt.
func (d *daemon) learnNeighbor(n *wire.Neighbor) {
	d.routes.Learn(fib.Neighbor{Port: n.Port, Addr: n.Address, MAC: n.MAC})
}
