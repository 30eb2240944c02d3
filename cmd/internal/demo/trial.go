package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
)

// trial is one failover in the making.
type trial struct {
	Options
	net    *network
	clock  time.Time // for progress lines
	result Trial

	board     *switchboard
	download  *download
	requests  *requests
	udp, ping *datagrams
	pairs     []*pair // connections that must survive, besides the first two
	listeners []interface{ Close() error }

	since  time.Time // when the victim became active
	killed time.Time
	victim *node
	heir   *node
}

// runTrial builds a lab, kills its active node in the middle of everything, and
// reports. With keep the lab stays up until ctx ends.
func runTrial(ctx context.Context, o Options, keep bool) (_ Trial, err error) {
	dir, err := os.MkdirTemp(o.directory, "trial-")
	if err != nil {
		return Trial{}, fmt.Errorf("demo: %w", err)
	}
	t := &trial{Options: o, clock: time.Now()}
	t.say("building hosts, switches and two nodes in network namespaces")
	if t.net, err = build(dir, o); err != nil {
		return Trial{}, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	limited, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("the trial took longer than two minutes"))
	defer cancel()
	for _, step := range []func(context.Context) error{t.startNodes, t.startTraffic, t.kill, t.takeOver, t.finish, t.openFresh} {
		if err := step(limited); err != nil {
			return Trial{}, t.explain(err)
		}
	}
	if n := len(t.result.Active); n > 0 {
		t.result.Active[n-1].To = time.Now()
	}
	if keep {
		t.keepUp(ctx, dir)
	}
	return t.result, nil
}

// explain adds what the nodes said last to an error that ends the demo.
func (t *trial) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	for _, nd := range t.net.nodes {
		err = fmt.Errorf("%w\n%s said last:\n%s", err, nd.name, nd.said())
	}
	return err
}

func (t *trial) say(format string, args ...any) {
	fmt.Fprintf(t.Progress, "%6.2fs  %s\n", time.Since(t.clock).Seconds(), fmt.Sprintf(format, args...))
}

// poll asks ok every few milliseconds until it says true, ctx ends or it fails.
func poll(ctx context.Context, what string, ok func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := ok()
		if done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("demo: waiting until %s: %w", what, errors.Join(context.Cause(ctx), err))
		case <-tick.C:
		}
	}
}

// startNodes runs both daemons and waits until one is active and the other ready.
func (t *trial) startNodes(ctx context.Context) error {
	for _, nd := range t.net.nodes {
		if err := nd.start(ctx, t.Binary); err != nil {
			return err
		}
	}
	err := poll(ctx, "one node is active and both are ready", func() (bool, error) {
		active := 0
		for _, nd := range t.net.nodes {
			select {
			case <-nd.proc.Done():
				return true, fmt.Errorf("demo: %s ended: %w", nd.name, nd.proc.Wait())
			default:
			}
			s, err := api.NewClient(nd.socket).Status(ctx, true)
			if err != nil || len(s.Groups) == 0 || !s.Groups[0].Ready {
				return false, err
			}
			if s.Groups[0].Role == "active" {
				active++
				t.victim, t.since = nd, activeSince(&s)
			}
		}
		return active == 1, nil
	})
	if err != nil {
		return err
	}
	for _, nd := range t.net.nodes {
		if nd != t.victim {
			t.heir = nd
		}
		s, err := api.NewClient(nd.socket).Status(ctx, false)
		if err != nil {
			return err
		}
		for _, p := range s.Ports {
			t.result.Ports = append(t.result.Ports, Port{Node: nd.name, Port: p.Name, Mode: p.Mode})
		}
	}
	t.say("%s is active, %s stands by and is ready", t.victim.name, t.heir.name)
	return nil
}

// listen makes a server's listener and serves it.
func (t *trial) listen(port int, serve func(net.Listener)) error {
	l, err := t.net.server.Listen("tcp", netip.AddrPortFrom(server, uint16(port)).String())
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	t.listeners = append(t.listeners, l)
	go serve(l)
	return nil
}

// Ports of the demo's server.
const (
	portDownload = 80
	portRequests = 81
	portPairs    = 82
	portFresh    = 83
	portUDP      = 84
)

// startTraffic opens every kind of connection that must survive and waits until the
// download is well under way.
func (t *trial) startTraffic(ctx context.Context) error {
	const seed = 20
	t.board = newSwitchboard(t.net.client, netip.AddrPortFrom(server, portPairs))
	if err := errors.Join(
		t.listen(portDownload, func(l net.Listener) { serveBytes(l, t.Bytes, seed) }),
		t.listen(portRequests, serveEcho),
		t.listen(portPairs, func(l net.Listener) { t.board.serve(l) }),
	); err != nil {
		return err
	}
	echo, err := t.net.server.ListenPacket("udp", netip.AddrPortFrom(server, portUDP).String())
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	t.listeners = append(t.listeners, echo)
	go serveUDP(echo)
	if err := t.openPairs(ctx); err != nil {
		return err
	}
	dial := func(network string, port uint16) (net.Conn, error) {
		return t.net.client.Dial(ctx, network, "", netip.AddrPortFrom(server, port).String())
	}
	datagram, err := dial("udp", portUDP)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	t.udp = startUDP(datagram)
	if t.ping, err = startPing(t.net.client, clientA, server); err != nil {
		return err
	}
	conn, err := dial("tcp", portRequests)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	t.requests = startRequests(conn)
	if conn, err = dial("tcp", portDownload); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	t.say("downloading %d MB; a request, a datagram every millisecond; ping; %d more connections", t.Bytes>>20, len(t.pairs))
	t.download = startDownload(conn, t.Bytes)
	return nil
}

// openPairs opens the connections that will be idle at the kill, two of them from the
// same client port, so that one gets another external port.
func (t *trial) openPairs(ctx context.Context) error {
	const taken = 45000
	for _, p := range []struct {
		name   string
		from   netip.AddrPort
		server bool
	}{
		{"idle", netip.AddrPortFrom(clientA, 0), false},
		{"idle, then the server speaks first", netip.AddrPortFrom(clientA, 0), true},
		{"port free", netip.AddrPortFrom(clientA, taken), false},
		{"port taken", netip.AddrPortFrom(clientB, taken), true},
	} {
		pr, err := t.board.open(ctx, p.name, p.from)
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		pr.server = p.server
		t.pairs = append(t.pairs, pr)
	}
	return nil
}

// kill opens connections until the download is half done, then kills the active node.
func (t *trial) kill(ctx context.Context) error {
	for t.download.received.Load() < t.Bytes*2/5 {
		select {
		case err := <-t.download.done:
			return fmt.Errorf("demo: the download ended before the kill: %w", err)
		default:
		}
		p, err := t.board.open(ctx, "young", netip.AddrPortFrom(clientA, 0))
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		t.pairs = append(t.pairs, p)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	// One more, so that at least one is younger than 100 ms.
	p, err := t.board.open(ctx, "youngest", netip.AddrPortFrom(clientB, 0))
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	t.pairs = append(t.pairs, p)
	t.result.Download.AtKill = t.download.received.Load()
	if err := t.victim.proc.Kill(unix.SIGKILL); err != nil {
		return fmt.Errorf("demo: killing %s: %w", t.victim.name, err)
	}
	t.killed = time.Now()
	t.result.Connections.YoungestMS = float64(t.killed.Sub(p.born)) / 1e6
	t.say("kill -9 %s (process %d) at %d %% of the download", t.victim.name, t.victim.proc.Pid(), 100*t.result.Download.AtKill/t.Bytes)
	return nil
}

// takeOver waits until the other node serves.
func (t *trial) takeOver(ctx context.Context) error {
	var took time.Time
	err := poll(ctx, t.heir.name+" is active", func() (bool, error) {
		s, err := api.NewClient(t.heir.socket).Status(ctx, true)
		if err != nil || len(s.Groups) == 0 || s.Groups[0].Role != "active" {
			return false, err
		}
		took = activeSince(&s)
		return true, nil
	})
	if err != nil {
		return err
	}
	t.say("%s has taken over, %.0f ms after the kill", t.heir.name, float64(took.Sub(t.killed))/1e6)
	t.result.Active = []Tenure{
		{Node: t.victim.name, From: t.since, To: t.killed},
		{Node: t.heir.name, From: took},
	}
	return nil
}

// activeSince returns when a node became active last.
func activeSince(s *api.Status) (at time.Time) {
	for _, e := range s.History {
		if e.Role == "active" {
			at = e.At
		}
	}
	return at
}

// finish lets the download end, asks every connection whether it lives, and counts.
func (t *trial) finish(ctx context.Context) error {
	r := &t.result
	r.Connections.Before = 2 + len(t.pairs)
	lost := func(err error) {
		r.Connections.Lost++
		t.result.problem("%v", err)
	}
	if err := t.awaitDownload(ctx); err != nil {
		lost(err)
	}
	r.Download.Bytes, r.Download.SHA256OK = t.download.received.Load(), t.download.sumOK
	r.Download.Seconds = t.download.took.Seconds()
	results := make(chan error, len(t.pairs))
	for _, p := range t.pairs {
		go func() { results <- p.alive(t.Patience / 3) }()
	}
	for range t.pairs {
		if err := <-results; err != nil {
			lost(err)
		}
	}
	r.BlackoutMS = float64(t.requests.blackout()) / 1e6
	if err := t.requests.finish(t.Patience / 3); err != nil {
		lost(err)
	}
	r.Connections.After = r.Connections.Before - r.Connections.Lost
	for _, p := range t.pairs {
		if sourcePort(p.inside.LocalAddr()) != sourcePort(p.far.RemoteAddr()) {
			r.Connections.Translated++
		}
	}
	var errUDP, errPing error
	r.PacketsLost.UDP, errUDP = t.udp.finish(t.Patience / 10)
	r.PacketsLost.Ping, errPing = t.ping.finish(t.Patience / 10)
	t.judge()
	t.say("%d of %d connections live; longest blackout %.1f ms", r.Connections.After, r.Connections.Before, r.BlackoutMS)
	return errors.Join(errUDP, errPing)
}

// judge holds the trial against what it must show.
func (t *trial) judge() {
	r := &t.result
	if !r.Download.SHA256OK {
		r.problem("the download's checksum differs, or it is incomplete")
	}
	if r.BlackoutMS > t.LimitMS {
		r.problem("blackout of %.1f ms, more than %.0f", r.BlackoutMS, t.LimitMS)
	}
	if r.Connections.YoungestMS > 100 {
		r.problem("no connection was younger than 100 ms at the kill")
	}
	if r.Connections.Translated == 0 {
		r.problem("no connection had a translated port")
	}
}

func sourcePort(a net.Addr) uint16 {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return 0
	}
	return p.Port()
}

// awaitDownload waits for the end of the download as long as it moves.
func (t *trial) awaitDownload(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		last, since := int64(-1), time.Now()
		_ = poll(ctx, "", func() (bool, error) { // ends with ctx
			if n := t.download.received.Load(); n != last {
				last, since = n, time.Now()
			} else if time.Since(since) > t.Patience {
				cancel(fmt.Errorf("no byte for %v", t.Patience))
			}
			return false, nil
		})
	}()
	return t.download.wait(ctx)
}

// keepUp prints how to look inside and waits for ctx to end.
func (t *trial) keepUp(ctx context.Context, dir string) {
	w := t.Progress
	fmt.Fprintf(w, "\nThe lab stays up until you press Ctrl-C. To look inside:\n")
	fmt.Fprintf(w, "  %s status --socket %s\n", t.Binary, t.heir.socket)
	fmt.Fprintf(w, "  %s conns --socket %s\n", t.Binary, t.heir.socket)
	fmt.Fprintf(w, "  nsenter --net=%s ip addr          # the client\n", t.net.client.Path())
	fmt.Fprintf(w, "  nsenter --net=%s ip addr          # the server\n", t.net.server.Path())
	fmt.Fprintf(w, "  nsenter --net=%s ip neigh         # node %s\n", t.heir.space.Path(), t.heir.name)
	fmt.Fprintf(w, "  cat %s\n", filepath.Join(dir, t.heir.name, "log"))
	<-ctx.Done()
}

// close ends the traffic and takes the lab down.
func (t *trial) close() error {
	var errs []error
	for _, l := range t.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, p := range t.pairs {
		p.close()
	}
	return errors.Join(append(errs, t.net.close())...)
}
