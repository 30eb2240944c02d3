package node

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/cmd/internal/program"
	"holdfast/cmd/internal/track"
	"holdfast/dataplane"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/gateway"
	"holdfast/dataplane/tap"
	"holdfast/rules/config"
	"holdfast/sync/cluster"
)

// tracking is what says whether this node should serve (cmd/internal/track).
type tracking struct {
	*track.Tracker
	gateways map[string]gateway.Number // of items that are gateways, by their names
	watch    *gate.Watch
	down     gateway.Down // guarded by reloading.tally, as the snapshot is that it belongs to
}

// How the daemon looks at itself.
const (
	selfInterval = 500 * time.Millisecond
	selfSettled  = 10 * time.Second
	// tableFull is the part of the table, in 64ths, that must be free: below it a worker has
	// begun to evict.
	tableFull = 1
)

// openTracking adds all that is tracked; nothing is asked before it runs.
func (d *daemon) openTracking(n *config.Node, p *config.Policy) {
	d.tracking.Tracker = track.New(track.Config{Now: gate.Now, Changed: d.tracked, Judged: d.judged})
	d.tracking.gateways = map[string]gateway.Number{}
	d.trackCarriers(n)
	for i := range n.Tracks {
		v := &n.Tracks[i]
		item := track.Item{Name: v.Name.V, Kind: v.Kind.V.String(), Say: sayOf(v)}
		switch v.Kind.V {
		case config.TrackICMP, config.TrackNeighbor, config.TrackTCP:
			device, reach := v.Device.V, track.Everywhere
			if v.Port.Written() {
				device, reach = tap.Name(v.Port.V), track.WhileActive
			}
			item.What = fmt.Sprintf("%s by %s", targetOf(&v.Probe), device)
			d.tracking.AddAsked(askedOf(item, &v.Probe, device, reach, v.Hold.V))
		case config.TrackProgram:
			item.What = v.Argv()[0]
			a := askedOf(item, &v.Probe, "", track.Everywhere, 0)
			a.Ask = d.askProgram(v)
			d.tracking.AddAsked(a)
		case config.TrackSelf:
			item.What = "this daemon"
			d.tracking.AddSelf(item, selfInterval, selfSettled, d.lookAtSelf())
		}
	}
	d.trackGateways(n, p)
}

// sayOf returns what a track does while it is down.
func sayOf(v *config.Track) track.Say {
	if v.Weight.Written() {
		return track.Say{Weight: v.Weight.V}
	}
	return track.Say{Fault: true}
}

// trackCarriers adds the carrier of every port: one that no [track] speaks of is a fault,
// since a group fails over as a whole when a port of it dies.
func (d *daemon) trackCarriers(n *config.Node) {
	for _, p := range d.ports {
		item := track.Item{Name: "port " + p.Name, Kind: config.TrackCarrier.String(), What: "port " + p.Name, Say: track.Say{Fault: true}}
		down, up := config.DefaultDownAfter, config.DefaultUpAfter
		for i := range n.Tracks {
			if v := &n.Tracks[i]; v.Kind.V == config.TrackCarrier && v.Port.V == p.Name {
				item.Name, item.Say = v.Name.V, sayOf(v)
				down, up = v.DownAfter.V, v.UpAfter.V
			}
		}
		p.tracked = d.tracking.AddLevel(item, down, up, [2]string{"there is a carrier", "no carrier"})
	}
}

// trackGateways adds the gateways that the policy has asked. Only those that a [track]
// names have a say in who serves.
func (d *daemon) trackGateways(n *config.Node, p *config.Policy) {
	for i := range p.Gateways {
		g := &p.Gateways[i]
		if g.Probe.Kind.V == config.ProbeNone {
			continue
		}
		item := track.Item{Name: "gateway " + g.Name.V, Kind: config.TrackGateway.String()}
		hold := config.DefaultHold
		for i := range n.Tracks {
			if v := &n.Tracks[i]; v.Kind.V == config.TrackGateway && v.Gateway.V == g.Name.V {
				item.Name, item.Say, hold = v.Name.V, sayOf(v), v.Hold.V
			}
		}
		probe := g.Probe
		if !probe.Target.Written() {
			probe.Target.V = netip.AddrPortFrom(g.Address.V, 0)
		}
		device := tap.Name(g.Port.V)
		item.What = fmt.Sprintf("gateway %s, %s %s by %s", g.Name.V, probe.Kind.V, targetOf(&probe), device)
		number, _ := p.GatewayNumber(g.Name.V) // it is one of them
		d.tracking.gateways[item.Name] = gateway.Number(number)
		d.tracking.AddAsked(askedOf(item, &probe, device, track.WhileActive, hold))
	}
}

// askedOf returns what is asked as the file says.
func askedOf(item track.Item, p *config.Probe, device string, reach track.Reach, hold time.Duration) track.Asked {
	a := track.Asked{
		Item: item, Interval: p.Interval.V, Timeout: p.Timeout.V, Reach: reach, Hold: hold,
		Patience: gateway.Patience{Lost: p.Lost.V, Answered: p.Answered.V},
	}
	switch p.Kind.V {
	case config.ProbeICMP:
		a.Ask = track.AskICMP(device, p.Target.V.Addr())
	case config.ProbeNeighbor:
		a.Ask = track.AskNeighbor(device, p.Target.V.Addr())
	case config.ProbeTCP:
		a.Ask = track.AskTCP(device, p.Target.V)
	}
	return a
}

// targetOf is a probe's target in words.
func targetOf(p *config.Probe) string {
	if p.Target.V.Port() == 0 {
		return p.Target.V.Addr().String()
	}
	return p.Target.V.String()
}

// askProgram runs a program that says by its exit status whether all is well.
func (d *daemon) askProgram(v *config.Track) func(context.Context) error {
	c := program.Command{Argv: v.Argv(), Timeout: v.Probe.Timeout.V}
	return func(ctx context.Context) error {
		c := c
		c.Env = []string{"HOLDFAST_NODE=" + d.name, "HOLDFAST_GROUP=" + d.group, "HOLDFAST_ROLE=" + d.cluster.Role().String(), "HOLDFAST_TRACK=" + v.Name.V}
		out, err := program.Run(ctx, c)
		if err != nil && out != "" {
			err = fmt.Errorf("%w: %s", err, lines(fmt.Errorf("%s", out))[0])
		}
		return err
	}
}

// lookAtSelf returns what looks whether every worker moves and the table has room.
func (d *daemon) lookAtSelf() func() string {
	return func() string {
		if d.tracking.watch == nil {
			var progress []*gate.Progress
			for _, w := range d.workers {
				progress = append(progress, w.Progress())
			}
			d.tracking.watch = gate.NewWatch(progress)
			return ""
		}
		if stuck, moved := d.tracking.watch.AllMoved(); !moved {
			return fmt.Sprintf("worker %d stands still", stuck)
		}
		if d.quarantine.Spree(gate.Now()) {
			return fmt.Sprintf("workers panicked at %d different packets within %v: see `holdfast crashes`", dataplane.SpreeOf, dataplane.SpreeWithin)
		}
		if c := d.table.Capacity(); d.table.Len() > c-c/64*tableFull {
			return fmt.Sprintf("the table is full: %d of %d connections", d.table.Len(), c)
		}
		return ""
	}
}

// judged tells the election what all that is tracked comes to.
func (d *daemon) judged(s track.Sum) {
	d.cluster.SetHealth(cluster.Health{Lowered: int32(s.Lowered), Fault: s.Fault})
}

// tracked follows a change of something that is tracked.
func (d *daemon) tracked(s track.State) {
	log := d.log.Info
	if s.Health == gateway.Dead {
		log = d.log.Warn
	}
	log("track", "name", s.Name, "what", s.What, "state", s.Health.String(), "why", s.Why)
	n, ok := d.tracking.gateways[s.Name]
	if !ok {
		d.hooks.Tell(config.EventTrack, d.vars("HOLDFAST_TRACK="+s.Name, "HOLDFAST_STATE="+s.Health.String(), "HOLDFAST_WHY="+s.Why)...)
		return
	}
	d.setDown(n, s.Health == gateway.Dead)
	d.hooks.Tell(config.EventGateway, d.vars("HOLDFAST_GATEWAY="+d.gatewayName(uint8(n)), "HOLDFAST_STATE="+s.Health.String(), "HOLDFAST_WHY="+s.Why)...)
}

// setDown says whether a gateway gets new connections, from the workers' next turn on.
func (d *daemon) setDown(n gateway.Number, down bool) {
	d.reloading.tally.Lock()
	defer d.reloading.tally.Unlock()
	if down {
		d.tracking.down = d.tracking.down.With(n)
	} else {
		d.tracking.down = d.tracking.down.Without(n)
	}
	next := *d.snapshot.Load()
	next.Down = d.tracking.down
	d.snapshot.Store(&next)
}

// trackStatus lists what is tracked.
func (d *daemon) trackStatus() []api.Track {
	all := []api.Track{}
	for _, s := range d.tracking.States() {
		all = append(all, api.Track{
			Name: s.Name, Kind: s.Kind, What: s.What, State: s.Health.String(), Weight: s.Say.Weight, Fault: s.Say.Fault, Why: s.Why,
		})
	}
	return all
}

// trackTroubles says what is down and has a say. The carriers are told of by the ports.
func (d *daemon) trackTroubles() (all []string) {
	for _, s := range d.tracking.States() {
		if s.Health != gateway.Dead || s.Kind == config.TrackCarrier.String() {
			continue
		}
		what := "it has no say in who serves"
		switch {
		case s.Say.Fault:
			what = "this node serves only where no other can"
		case s.Say.Weight > 0:
			what = fmt.Sprintf("it takes %d off this node's priority", s.Say.Weight)
		}
		all = append(all, fmt.Sprintf("track %s (%s) is down: %s; %s", s.Name, s.What, s.Why, what))
	}
	return all
}

// gatewayState is the tracked state of a gateway, if it is asked.
func (d *daemon) gatewayState(n gateway.Number) (track.State, bool) {
	for _, s := range d.tracking.States() {
		if m, ok := d.tracking.gateways[s.Name]; ok && m == n {
			return s, true
		}
	}
	return track.State{}, false
}
