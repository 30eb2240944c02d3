package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane/gate"
)

// announceAgain is when a promotion is announced again after the first time: neighbours
// may miss one frame, and some rate-limit what they believe.
var announceAgain = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second, 3 * time.Second}

// run runs everything until ctx ends or a part fails. The cluster ends first, so that
// the peers are told before anything stops; then the workers.
func (d *daemon) run(outer context.Context, server *api.Server) error {
	ctx, fail := context.WithCancelCause(outer)
	defer fail(nil)
	// What carries packets outlives ctx until the cluster has let go of the role.
	lower, stopLower := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	part := func(what string, run func() error) {
		parts.Go(func() {
			if err := run(); err != nil {
				fail(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	links := make(chan netlink.LinkUpdate)
	done := make(chan struct{})
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
		stopLower()
		return fmt.Errorf("following the links: %w", err)
	}
	part("carrier", func() error { mirrorCarrier(d.ports, links, d.log); return nil })
	d.packetLog.begin(d)
	part("routes", func() error { return d.routes.Run(lower) })
	for _, w := range d.workers {
		part("data plane", func() error { return w.Run(lower) })
	}
	part("crashes", func() error { d.tellCrashes(lower); return nil })
	part("tables", func() error { d.expireTables(lower); return nil })
	part("peers' policies", func() error { d.obeyPeers(lower); return nil })
	part("flushes", func() error { d.flushSources(lower); return nil })
	part("hangups", func() error { d.obeyHangups(lower); return nil })
	part("announcements", func() error { d.announce(lower); return nil })
	part("tracking", func() error { d.tracking.Run(lower); return nil })
	part("sync events", func() error { d.tellSync(lower); return nil })
	part("api", func() error { return server.Serve(d) })
	d.log.Info("running", "node", d.name, "workers", len(d.workers), "ports", len(d.ports))
	notifyReady(d)
	d.tellRole(gate.Standby)

	err := d.cluster.Run(ctx)
	d.reloading.end()
	if outer.Err() == nil {
		err = errors.Join(err, context.Cause(ctx)) // a part failed, nobody asked for the end
	}
	stopLower()
	for _, w := range d.workers {
		w.Wake()
	}
	close(done)
	err = errors.Join(err, server.Close())
	d.killing.end()
	parts.Wait()
	d.hooks.Close(hookPatience)
	err = errors.Join(err, d.packetLog.end())
	d.save()
	return err
}

// announce tells the neighbours after each promotion, and repeats it.
func (d *daemon) announce(ctx context.Context) {
	var again []time.Duration
	timer := time.NewTimer(0)
	<-timer.C
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.announces:
			again = announceAgain
		case <-timer.C:
			again = again[1:]
		}
		d.workers[0].Announce()
		if len(again) > 0 {
			timer.Reset(again[0])
		}
	}
}

// notifyReady tells systemd that the node runs (sd_notify(3)), where it asked for that.
func notifyReady(d *daemon) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.Dial("unixgram", path)
	if err == nil {
		_, err = conn.Write([]byte("READY=1"))
		conn.Close()
	}
	if err != nil {
		d.log.Warn("telling systemd that the node runs", "err", err)
	}
}
