package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"holdfast/bench/gen"
	"holdfast/internal/lab"
	"holdfast/sync/seal"
)

// Goals of N18, in us.
const (
	deferMust   = 500
	deferAim    = 40
	deferAimP99 = 200
)

// Ports of the echo: connections to the first are replicated while their first packet goes
// on, to the second deferred.
const (
	portAsync = 7001
	portDefer = 7002

	deferSources = 20_000 // the client's first port: every connection has another
)

// deferring is N18: what waiting for a peer adds to the first packet of a connection.
func deferring(ctx context.Context, quick bool, progress io.Writer) (row Row, err error) {
	row = Row{
		ID: "N18", Name: "a deferred first packet: what the wait for a peer adds", Unit: "us",
		Notes: "Time from a client's first UDP datagram to its echo, of new connections one after the other: those of a rule with sync = \"defer\" less those of a rule with \"async\", " +
			"percentile by percentile. Two nodes in namespaces, client and server share the cores. Beside it the two times themselves; what was acknowledged, late and alone are the firewall's own counts.",
	}
	l, err := newLine()
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	active, err := l.startPair(ctx)
	if err != nil {
		return row, err
	}
	count := 5000
	if quick {
		count = 500
	}
	var times [2]gen.Histogram
	ports := [2]uint16{portAsync, portDefer}
	for _, port := range ports {
		stop, err := l.echo(port)
		if err != nil {
			return row, err
		}
		defer stop()
	}
	for i := range 2 * count {
		took, err := l.firstEcho(ctx, uint16(deferSources+i/2), ports[i%2])
		if err != nil {
			return row, err
		}
		if i >= 20 { // neighbours are found
			times[i%2].Add(took)
		}
	}
	s, err := active()
	if err != nil {
		return row, err
	}
	d := &s.Deferred
	fmt.Fprintf(progress, "  async %v\n  defer %v\n", &times[0], &times[1])
	for _, at := range []struct {
		name      string
		of        float64
		must, aim float64
	}{{"p50", 50, deferMust, deferAim}, {"p99", 99, deferMust, deferAimP99}} {
		async, deferred := micros(times[0].Percentile(at.of)), micros(times[1].Percentile(at.of))
		p := Point{At: at.name, Value: deferred - async, Must: at.must, Aim: at.aim, Details: map[string]float64{"async us": async, "defer us": deferred}}
		if at.name != "p50" {
			p.Must = 0 // an aim alone
		}
		p.Min, p.Max, p.OK = p.Value, p.Value, p.Must == 0 || p.Value <= p.Must
		p.Details["acknowledged"], p.Details["late"], p.Details["alone"] = float64(d.Acknowledged), float64(d.Late), float64(d.Alone)
		row.Points = append(row.Points, p)
	}
	return row, nil
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// echo answers datagrams to a port of the sink until stop is called.
func (l *line) echo(port uint16) (stop func() error, err error) {
	conn, err := l.sink.ListenPacket("udp", netip.AddrPortFrom(addrS0.Addr(), port).String())
	if err != nil {
		return nil, err
	}
	go func() {
		var b [64]byte
		for {
			n, from, err := conn.ReadFrom(b[:])
			if err != nil {
				return // closed
			}
			_, _ = conn.WriteTo(b[:n], from) // a lost one is an error at the client
		}
	}()
	return conn.Close, nil
}

// firstEcho begins a connection and returns how long its first datagram takes there and back.
func (l *line) firstEcho(ctx context.Context, from, port uint16) (took time.Duration, err error) {
	conn, err := l.gen.Dial(ctx, "udp", netip.AddrPortFrom(addrG0.Addr(), from).String(), netip.AddrPortFrom(addrS0.Addr(), port).String())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return roundTrip(conn)
}

func roundTrip(conn net.Conn) (time.Duration, error) {
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return 0, err
	}
	var b [8]byte
	begun := time.Now()
	if _, err := conn.Write(b[:]); err != nil {
		return 0, err
	}
	_, err := conn.Read(b[:])
	return time.Since(begun), err
}

const deferPolicy = linePolicy + `[[rules]]
id = "async"
action = "pass"
in = "lan"
proto = "udp"
to_port = 7001
[[rules]]
id = "defer"
action = "pass"
in = "lan"
proto = "udp"
to_port = 7002
state = { sync = "defer" }
`

const deferNode = `policy = "../policy.toml"
socket = "holdfast.sock"
[node]
name = %q
[devices]
lan = { device = "f0" }
wan = { device = "f1" }
[cluster]
key_file = "../cluster.key"
links = [{ device = "y0", address = %q, peers = [%q] }]
priority = { main = %d }
`

// startPair runs a node in fw and a standby in a namespace of its own, whose ports lead
// nowhere, and returns what counts the active one's deferred packets.
func (l *line) startPair(ctx context.Context) (counts func() (status, error), err error) {
	standby, err := l.lab.Namespace("standby")
	if err != nil {
		return nil, err
	}
	binary, err := l.buildHoldfast(ctx)
	if err != nil {
		return nil, err
	}
	sync := [2]string{"192.0.2.1", "192.0.2.2"}
	prefix := func(i int) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(sync[i] + "/30")} }
	err = errors.Join(
		l.lab.Veth(lab.End{Namespace: l.fw, Name: "y0", Addresses: prefix(0)}, lab.End{Namespace: standby, Name: "y0", Addresses: prefix(1)}),
		l.lab.Veth(lab.End{Namespace: standby, Name: "f0"}, lab.End{Namespace: standby, Name: "x0"}),
		l.lab.Veth(lab.End{Namespace: standby, Name: "f1"}, lab.End{Namespace: standby, Name: "x1"}),
		standby.OffloadsOff("f0"), standby.OffloadsOff("f1"),
		os.WriteFile(filepath.Join(l.dir, "policy.toml"), []byte(deferPolicy), 0o600),
		os.WriteFile(filepath.Join(l.dir, "cluster.key"), []byte(seal.FormatKeyFile(seal.NewKey())), 0o600),
	)
	if err != nil {
		return nil, err
	}
	var sockets [2]string
	for i, ns := range []*lab.Namespace{l.fw, standby} {
		dir := filepath.Join(l.dir, fmt.Sprint("node", i))
		text := fmt.Sprintf(deferNode, dir[len(dir)-5:], sync[i]+":7400", sync[1-i]+":7400", 100-50*i)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "node.toml"), []byte(text), 0o600)); err != nil {
			return nil, err
		}
		sockets[i] = filepath.Join(dir, "holdfast.sock")
		if _, err := ns.Start(ctx, lab.Program{Path: binary, Args: []string{"run", "--config", filepath.Join(dir, "node.toml")}, Stderr: os.Stderr}); err != nil {
			return nil, err
		}
	}
	for i, role := range []string{"active", "standby"} {
		if err := l.await(ctx, binary, filepath.Dir(sockets[i]), role); err != nil {
			return nil, err
		}
	}
	return func() (status, error) { return statusOf(ctx, binary, sockets[0]) }, nil
}
