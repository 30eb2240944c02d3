package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"holdfast/internal/lab"
)

// Addresses of the demo's network: RFC 1918 inside, documentation prefixes
// (RFC 5737) outside and on the sync link.
var (
	clientA   = netip.MustParseAddr("10.0.0.10")
	clientB   = netip.MustParseAddr("10.0.0.11")
	insideGW  = netip.MustParseAddr("10.0.0.1")
	outsideGW = netip.MustParseAddr("203.0.113.2")
	server    = netip.MustParseAddr("203.0.113.10")
)

// network is the lab with its hosts, switches and nodes.
type network struct {
	lab            *lab.Lab
	client, server *lab.Namespace
	switches       map[string]*lab.Namespace // by port name
	nodes          [2]*node
}

// node is one firewall node.
type node struct {
	name   string
	space  *lab.Namespace
	dir    string // its configuration and socket
	socket string
	log    *os.File
	proc   *lab.Process
}

// build makes hosts, switches, links and configuration files; no node runs yet.
func build(dir string, o Options) (_ *network, err error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	n := &network{lab: l, switches: map[string]*lab.Namespace{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if err := n.hosts(); err != nil {
		return nil, err
	}
	for i, name := range []string{"fw-a", "fw-b"} {
		if n.nodes[i], err = n.newNode(dir, name, i, o); err != nil {
			return nil, err
		}
	}
	sync := func(i int) lab.End {
		return lab.End{Namespace: n.nodes[i].space, Name: "sync", Addresses: []netip.Prefix{netip.PrefixFrom(syncAddress(i), 30)}}
	}
	return n, l.Veth(sync(0), sync(1))
}

func syncAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}) }

// hosts makes the client, the server and a switch on each side.
func (n *network) hosts() error {
	for _, side := range []struct {
		port      string
		host      **lab.Namespace
		link      string
		addresses []netip.Addr
		gateway   netip.Addr
	}{
		{"lan", &n.client, "c0", []netip.Addr{clientA, clientB}, insideGW},
		{"wan", &n.server, "s0", []netip.Addr{server}, outsideGW},
	} {
		host, err := n.lab.Namespace(side.link)
		if err != nil {
			return err
		}
		*side.host = host
		sw, err := n.lab.Namespace("switch-" + side.port)
		if err != nil {
			return err
		}
		n.switches[side.port] = sw
		if err := sw.Bridge("br0"); err != nil {
			return err
		}
		end := lab.End{Namespace: host, Name: side.link}
		for _, a := range side.addresses {
			end.Addresses = append(end.Addresses, netip.PrefixFrom(a, 24))
		}
		if err := n.lab.Veth(end, lab.End{Namespace: sw, Name: "host"}); err != nil {
			return err
		}
		if err := errors.Join(
			host.OffloadsOff(side.link), sw.OffloadsOff("host"),
			sw.Attach("br0", "host"), host.DefaultRoute(side.gateway),
			// 10,000 new connections from two addresses want many ports.
			host.Sysctl("net/ipv4/ip_local_port_range", "10000 44000"),
		); err != nil {
			return err
		}
	}
	return nil
}

// newNode makes the namespace of node i, its ports and its configuration files.
func (n *network) newNode(dir, name string, i int, o Options) (*node, error) {
	space, err := n.lab.Namespace(name)
	if err != nil {
		return nil, err
	}
	nd := &node{name: name, space: space, dir: filepath.Join(dir, name)}
	nd.socket = filepath.Join(nd.dir, "holdfast.sock")
	for _, port := range []string{"lan", "wan"} {
		sw := n.switches[port]
		if err := n.lab.Veth(lab.End{Namespace: space, Name: port}, lab.End{Namespace: sw, Name: name}); err != nil {
			return nil, err
		}
		// Down until the node's daemon brings it up: the kernel of the namespace must not
		// speak on it before (it would report its multicast groups).
		if err := errors.Join(space.OffloadsOff(port), sw.OffloadsOff(name), sw.Attach("br0", name), space.Down(port)); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(nd.dir, 0o700); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	files := map[string]string{
		"node.toml":   nodeFile(name, i, nd.socket),
		"policy.toml": policyFile(o.Sync),
		"cluster.key": o.key,
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(nd.dir, file), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("demo: %w", err)
		}
	}
	if nd.log, err = os.Create(filepath.Join(nd.dir, "log")); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return nd, nil
}

func nodeFile(name string, i int, socket string) string {
	return fmt.Sprintf(`policy = "policy.toml"
socket = %q

[node]
name = %q

[devices]
lan = { device = "lan" }
wan = { device = "wan" }

[cluster]
key_file = "cluster.key"
links = [{ device = "sync", address = "%s:7400", peers = ["%s:7400"] }]
priority = { main = %d }
`, socket, name, syncAddress(i), syncAddress(1-i), 100-50*i)
}

// policyFile is the demo's policy. Its clocks are those for machines whose cores are
// shared: a node may stand still for 100 ms before it counts as dead.
func policyFile(sync string) string {
	return strings.NewReplacer("SYNC", sync).Replace(`[ports.lan]
addresses = ["10.0.0.1/24"]
mac = "02:48:46:00:00:01"

[ports.wan]
addresses = ["203.0.113.2/24"]
mac = "02:48:46:00:00:02"

[groups.main]
ports = ["lan", "wan"]

[cluster]
heartbeat = "10ms"
lease = "100ms"
dead_after = "150ms"

[[nat]]
kind = "masquerade"
from = ["10.0.0.0/24"]
out = "wan"

[[rules]]
id = "inside-out"
action = "pass"
in = "lan"
out = "wan"
from = ["10.0.0.0/24"]
state = { mode = "strict", sync = "SYNC" }
`)
}

// start runs the node's daemon.
func (nd *node) start(ctx context.Context, binary string) (err error) {
	nd.proc, err = nd.space.Start(ctx, lab.Program{
		Path: binary, Args: []string{"run", "--config", filepath.Join(nd.dir, "node.toml")},
		Stdout: nd.log, Stderr: nd.log,
	})
	return err
}

// said returns the last lines of the node's log, for an error message.
func (nd *node) said() string {
	text, err := os.ReadFile(filepath.Join(nd.dir, "log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > 5 {
		lines = lines[len(lines)-5:]
	}
	return strings.Join(lines, "\n")
}

// close takes everything down: processes, links, namespaces.
func (n *network) close() error {
	err := n.lab.Close()
	for _, nd := range n.nodes {
		if nd != nil {
			err = errors.Join(err, nd.log.Close())
		}
	}
	return err
}
