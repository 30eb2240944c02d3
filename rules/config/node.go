package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Node is what is this node's alone.
type Node struct {
	File        string        // as it was named
	Policy      Value[string] // path of the policy; relative ones were resolved against File
	Socket      Value[string] // path of the API's socket, resolved likewise
	Name        Value[string]
	StateFile   Value[string] // path, resolved likewise; not Written: connections are not saved
	Devices     []Device      // sorted by port
	KeyFile     Value[string] // path, resolved likewise; not Written where there is no cluster
	KeyLog      Value[string] // path, resolved likewise; not Written: session keys stay in memory
	Witness     Witness       // not Written: there is none
	Links       []Link        // in the order of the file, all to the same peers; none: this node is alone
	Priority    []Priority    // sorted by group
	Connections Value[uint32] // capacity of the connection table
	Workers     Value[int]    // packet workers; 0: as many as there are CPUs
	Log         PacketLog
	Tracks      []Track // in the order of the file
	Hooks       []Hook  // in the order of the file
}

// Device is what a logical port is on this node.
type Device struct {
	Port Value[string] // logical port
	Name Value[string] // the kernel's device
	VLAN Value[uint16] // 802.1Q identifier; 0: untagged

	garbled bool // it has a VLAN that was refused: which one is not known
}

// Link is a way to the peers. The first is the one that nodes are numbered by; those after it
// lead to the same peers in the same order, and take over where it fails.
type Link struct {
	Pos     Position
	Device  Value[string]
	Address Value[netip.AddrPort]   // ours
	Peers   []Value[netip.AddrPort] // theirs, at least one
}

// Witness is the way to the witness.
type Witness struct {
	Pos     Position
	Device  Value[string]         // not Written: any
	Address Value[netip.AddrPort] // ours
	Peer    Value[netip.AddrPort] // the witness's
}

// Priority is this node's rank in electing a group's active node; more wins.
type Priority struct {
	Group Value[string]
	Rank  Value[int]
}

// Defaults of the node file.
const (
	DefaultSocket      = "/run/holdfast/holdfast.sock"
	DefaultConnections = 1 << 20
	DefaultPriority    = 100
)

const (
	pathMax        = 4095
	socketPathMax  = 107     // sun_path without its zero (unix(7))
	connectionsMax = 1 << 28 // 48 GiB of entries
	workersMax     = 64
	peersMax       = 7 // a cluster has two to eight nodes
	linksMax       = 4
)

// Device returns the device of a logical port, or nil.
func (n *Node) Device(port string) *Device {
	for i := range n.Devices {
		if n.Devices[i].Port.V == port {
			return &n.Devices[i]
		}
	}
	return nil
}

// PriorityOf returns this node's rank in a group.
func (n *Node) PriorityOf(group string) int {
	for _, p := range n.Priority {
		if p.Group.V == group {
			return p.Rank.V
		}
	}
	return DefaultPriority
}

// node reads the blueprint from the tree. It is whole only where there are no errors.
func (b *builder) node() (*Node, Errors) {
	d := &decoder{errs: b.errs, damaged: b.damaged}
	file := &table{d: d, n: b.root, pos: b.root.pos}
	n := &Node{
		File: b.root.pos.File, Socket: byDefault(DefaultSocket), Connections: byDefault[uint32](DefaultConnections),
	}
	path := text("a path", pathMax, `"policy.toml"`)
	need(file, "policy", path, `"policy.toml"`, &n.Policy)
	one(file, "socket", path, &n.Socket)

	self := file.sub("node")
	need(self, "name", named("node", nameMax), `"fw-a"`, &n.Name)
	one(self, "state_file", path, &n.StateFile)
	self.close("")

	file.sub("devices").each("port", portNameMax, func(port Value[string], t *table) {
		n.Devices = append(n.Devices, readDevice(port, t))
	})
	n.readCluster(file.sub("cluster"))

	limits := file.sub("limits")
	one(limits, "connections", integer[uint32]("a number of connections", 1, connectionsMax), &n.Connections)
	one(limits, "workers", integer("a number of workers", 1, workersMax), &n.Workers)
	limits.close("")
	n.Log = readPacketLog(file.sub("log"))
	file.sub("track").each("track", nameMax, func(name Value[string], t *table) {
		n.Tracks = append(n.Tracks, d.readTrack(name, t))
	})
	for _, t := range file.rows("hooks") {
		n.Hooks = append(n.Hooks, readHook(t))
	}
	if len(n.Hooks) > hooksMax {
		d.refuse(n.Hooks[hooksMax].Pos, fmt.Sprintf("more than %d hooks", hooksMax), "let one of them call others")
	}
	file.close("the policy", policyOnly...)

	n.resolvePaths(d)
	slices.SortFunc(n.Devices, func(a, b Device) int { return cmp.Compare(a.Port.V, b.Port.V) })
	slices.SortFunc(n.Priority, func(a, b Priority) int { return cmp.Compare(a.Group.V, b.Group.V) })
	n.checkDevices(d)
	return n, d.errs
}

// readDevice reads lan = { device = "eth1" } or wan = { device = "eth2", vlan = 30 }.
func readDevice(port Value[string], t *table) Device {
	v := Device{Port: port}
	need(t, "device", deviceName, `"eth1"`, &v.Name)
	one(t, "vlan", integer[uint16]("a VLAN", 1, 4094), &v.VLAN)
	v.garbled = t.n.get("vlan") != nil && !v.VLAN.Written()
	t.close("")
	return v
}

// deviceName reads the name of a network device (dev_valid_name in net/core/dev.c).
func deviceName(n *node) (string, *fault) {
	if bad := wants(n, unstable.String, "a device's name", `"eth1"`); bad != nil {
		return "", bad
	}
	if n.text == "" || len(n.text) > 15 || n.text == "." || n.text == ".." ||
		strings.ContainsFunc(n.text, func(c rune) bool { return c <= ' ' || c == '/' || c == ':' || c == 0x7f }) {
		return "", &fault{what: n.literal() + " cannot be a device's name", mend: "write one of `ip link`, at most 15 characters"}
	}
	return strings.Clone(n.text), nil
}

func (n *Node) readCluster(t *table) {
	one(t, "key_file", text("a path", pathMax, `"cluster.key"`), &n.KeyFile)
	one(t, "key_log", text("a path", pathMax, `"/run/holdfast/session-keys"`), &n.KeyLog)
	for _, row := range t.rows("links") {
		link := Link{Pos: row.pos}
		need(row, "device", deviceName, `"eth3"`, &link.Device)
		need(row, "address", endpoint, `"192.0.2.1:7400"`, &link.Address)
		if row.n.get("peers") == nil {
			row.missing("peers", `["192.0.2.2:7400"]`)
		}
		many(row, "peers", endpoint, &link.Peers)
		row.close("")
		n.Links = append(n.Links, link)
	}
	if row := t.sub("witness"); row.n != nil {
		n.Witness.Pos = row.pos
		one(row, "device", deviceName, &n.Witness.Device)
		need(row, "address", endpoint, `"192.0.2.1:7401"`, &n.Witness.Address)
		need(row, "peer", endpoint, `"203.0.113.7:7401"`, &n.Witness.Peer)
		row.close("")
	}
	if ranks := t.sub("priority"); ranks.n != nil {
		for _, f := range ranks.n.fields {
			p := Priority{Group: Value[string]{V: strings.Clone(f.name), Pos: f.pos}}
			one(ranks, f.name, integer("a priority", 0, 1000), &p.Rank)
			n.Priority = append(n.Priority, p)
		}
	}
	t.close("the policy's [cluster]", "heartbeat", "dead_after", "lease", "alone", "alone_after", "preempt_after", "defer_max")
	if len(n.Links) > 0 && t.n.get("key_file") == nil {
		t.missing("key_file", "\"cluster.key\", which `holdfast key new` makes")
	}
}

// resolvePaths makes paths independent of the folder that the daemon runs in.
func (n *Node) resolvePaths(d *decoder) {
	for _, v := range []*Value[string]{&n.Policy, &n.Socket, &n.KeyFile, &n.KeyLog, &n.StateFile, &n.Log.File} {
		if v.Written() {
			v.V = relativeTo(n.File, v.V)
		}
	}
	if len(n.Socket.V) > socketPathMax {
		d.refuse(n.Socket.Pos, fmt.Sprintf("the socket's path has %d bytes", len(n.Socket.V)), fmt.Sprintf("the kernel allows %d (unix(7))", socketPathMax))
	}
}

// purpose is what a device, or a VLAN of one, serves.
type purpose struct {
	what string
	at   Position
}

// checkDevices: a device serves one purpose, and a link does not lead to itself.
func (n *Node) checkDevices(d *decoder) {
	used := n.checkPorts(d)
	ports := maps.Clone(used)
	n.checkRows(d)
	for i, l := range n.Links {
		this := purpose{fmt.Sprintf("cluster link %d", i+1), l.Device.Pos}
		if other, ok := used[l.Device.V]; ok && l.Device.Written() {
			d.refuse(this.at, fmt.Sprintf("device %s of %s is already that of %s at %s", l.Device.V, this.what, other.what, other.at), "give each its own device")
		} else if l.Device.Written() {
			used[l.Device.V] = this
		}
		for _, peer := range l.Peers {
			switch {
			case peer.V == l.Address.V:
				d.refuse(peer.Pos, fmt.Sprintf("peer %s is this node's own address", peer.V), "write the other node's")
			case l.Address.Written() && peer.V.Addr().Is4() != l.Address.V.Addr().Is4():
				d.refuse(peer.Pos, fmt.Sprintf("peer %s is of another family than %s", peer.V, l.Address.V), "write addresses of one family")
			}
		}
	}
	n.checkTracks(d, ports)
}

// checkRows: all links lead to the same peers, and to no more than a cluster has.
func (n *Node) checkRows(d *decoder) {
	for i, l := range n.Links {
		switch {
		case len(l.Peers) > peersMax:
			d.refuse(l.Pos, fmt.Sprintf("cluster link %d has %d peers", i+1, len(l.Peers)), "a cluster has two to eight nodes")
		case i >= linksMax:
			d.refuse(l.Pos, fmt.Sprintf("%d cluster links", len(n.Links)), fmt.Sprintf("at most %d are possible: remove those that are not needed", linksMax))
			return
		case len(l.Peers) != len(n.Links[0].Peers) && len(l.Peers) > 0 && len(n.Links[0].Peers) > 0:
			d.refuse(l.Pos, fmt.Sprintf("cluster link %d has %d peers, and the first has %d", i+1, len(l.Peers), len(n.Links[0].Peers)),
				"every link leads to the same peers, in the same order: write an address of each")
		}
	}
}

// checkPorts: the ports of one device differ by their VLANs. It returns the first port of
// each device.
func (n *Node) checkPorts(d *decoder) map[string]purpose {
	type line struct {
		device string
		vlan   uint16
	}
	first, lines := map[string]purpose{}, map[line]purpose{}
	for _, v := range n.Devices {
		if !v.Name.Written() {
			continue
		}
		this := purpose{"port " + v.Port.V, v.Name.Pos}
		on := line{v.Name.V, v.VLAN.V}
		other, taken := lines[on]
		switch {
		case v.garbled:
		case taken && v.VLAN.Written():
			d.refuse(v.VLAN.Pos, fmt.Sprintf("VLAN %d of device %s of %s is already that of %s at %s", on.vlan, on.device, this.what, other.what, other.at), "give each its own VLAN")
		case taken:
			d.refuse(this.at, fmt.Sprintf("device %s of %s is already that of %s at %s", on.device, this.what, other.what, other.at), "give each its own device, or add vlan = 10 to one of them")
		default:
			lines[on] = this
		}
		if _, ok := first[on.device]; !ok {
			first[on.device] = this
		}
	}
	return first
}
