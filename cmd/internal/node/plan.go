package node

import (
	"fmt"
	"runtime"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane"
	"holdfast/dataplane/cookie"
	"holdfast/dataplane/gateway"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/rules/limit"
	"holdfast/rules/table"
	"holdfast/sync/cluster"
	"holdfast/sync/seal"
)

// plan is what the two files come to: everything that can be known and refused before
// anything is touched.
type plan struct {
	name, group, socket, policyFile string
	stateFile                       string  // "": connections are not saved
	ports                           []*port // by PortID
	devices                         []*device
	rules                           *rules.Set
	translations                    []nat.Translation
	site                            nat.Site
	adaptive                        conntrack.Adaptive
	gateways                        *gateway.Set
	defaults                        []gateway.Number // of gateways: whose default routes come first, the order of the file
	routes                          *rules.Routes
	limits                          limit.Plan
	tables                          []table.Plan
	connections                     uint32
	workers                         int // 0: as many as cores and queues allow
	keys                            []seal.Key
	keyLog                          string // "": none
	links                           []cluster.LinkConfig
	witness                         *cluster.LinkConfig // nil: there is none
	priority                        int32
	timing                          cluster.Timing
	alone                           cluster.Alone
	deferMax                        time.Duration // of first packets that wait for a peer
}

func newPlan(n *config.Node, p *config.Policy) (*plan, error) {
	pl := &plan{
		name: n.Name.V, socket: n.Socket.V, policyFile: n.Policy.V, stateFile: n.StateFile.V, keyLog: n.KeyLog.V, connections: n.Connections.V, workers: n.Workers.V,
		timing: cluster.Timing{
			Heartbeat: p.Cluster.Heartbeat.V.Nanoseconds(), DeadAfter: p.Cluster.DeadAfter.V.Nanoseconds(),
			Lease: p.Cluster.Lease.V.Nanoseconds(), AloneAfter: p.Cluster.AloneAfter.V.Nanoseconds(),
			PreemptAfter: p.Cluster.PreemptAfter.V.Nanoseconds(),
		},
	}
	pl.deferMax = p.Cluster.DeferMax.V
	if len(p.Groups) != 1 {
		return nil, fmt.Errorf("%s: %d groups of ports: one is built so far", p.File, len(p.Groups))
	}
	pl.group = p.Groups[0].Name.V
	pl.priority = int32(n.PriorityOf(pl.group))
	pl.alone = [...]cluster.Alone{
		config.AloneServe: cluster.AloneServe, config.AloneWait: cluster.AloneWait, config.AloneWitness: cluster.AloneWitness,
	}[p.Cluster.Alone.V]
	if w := &n.Witness; pl.alone == cluster.AloneWitness { // config has checked that there is one
		pl.witness = &cluster.LinkConfig{Device: w.Device.V, Local: w.Address.V, Peer: w.Peer.V}
	}
	if err := pl.compile(p, &rules.Former{}); err != nil {
		return nil, err
	}
	if err := rules.CheckNAT(p); err != nil {
		return nil, err
	}
	if n.KeyFile.Written() {
		var err error
		if pl.keys, err = seal.ReadKeyFile(n.KeyFile.V); err != nil {
			return nil, fmt.Errorf("%v: %w", n.KeyFile.Pos, err)
		}
	}
	for row, l := range n.Links {
		for i, peer := range l.Peers {
			way := cluster.LinkConfig{Device: l.Device.V, Local: l.Address.V, Peer: peer.V}
			if row == 0 {
				pl.links = append(pl.links, way)
			} else { // config has checked that the rows have the same peers
				pl.links[i].Also = append(pl.links[i].Also, way)
			}
		}
	}
	pl.addPorts(n, p)
	return pl, nil
}

// compile makes the parts that a reload can change; the Set follows a former one.
func (pl *plan) compile(p *config.Policy, former *rules.Former) (err error) {
	if pl.rules, err = rules.CompileAfter(p, former); err != nil {
		return err
	}
	pl.translations, pl.site = rules.Translations(p), rules.Site(p)
	pl.adaptive = rules.Adaptive(p)
	pl.limits, pl.tables = rules.Limits(p), rules.Tables(p)
	return pl.addGateways(p)
}

// addGateways compiles the gateways and what goes by them.
func (pl *plan) addGateways(p *config.Policy) (err error) {
	if pl.gateways, err = rules.Gateways(p); err != nil {
		return err
	}
	if pl.routes, err = rules.CompileRoutes(p, pl.gateways); err != nil {
		return err
	}
	for _, g := range p.Gateways {
		n, _ := p.GatewayNumber(g.Name.V) // it is one of them
		pl.defaults = append(pl.defaults, gateway.Number(n))
	}
	return nil
}

func (pl *plan) addPorts(n *config.Node, p *config.Policy) {
	for i := range p.Ports {
		c := &p.Ports[i]
		where := n.Device(c.Name.V) // config has checked that there is one
		one := &port{Port: dataplane.Port{
			ID: packet.PortID(i), Name: c.Name.V, Device: where.Name.V, VLAN: packet.VLAN(where.VLAN.V),
		}}
		for _, a := range c.Addresses {
			one.prefixes = append(one.prefixes, a.V)
		}
		one.Clamp = clampOf(c.Clamp.V)
		one.Addresses = addressesOf(one.prefixes)
		one.MAC, one.Antispoof = packet.MAC(c.MAC.V), antispoof[c.Antispoof.V]
		if !c.MAC.Written() {
			one.MAC = pl.madeMAC(c.Name.V)
		}
		pl.ports = append(pl.ports, one)
		pl.place(one)
	}
}

// antispoof is the data plane's word for the policy's.
var antispoof = map[config.Antispoof]dataplane.Antispoof{
	config.AntispoofStrict: dataplane.AntispoofStrict,
	config.AntispoofLoose:  dataplane.AntispoofLoose,
	config.AntispoofOff:    dataplane.AntispoofOff,
}

// place enters a port among those of its device.
func (pl *plan) place(p *port) {
	for _, d := range pl.devices {
		if d.name == p.Device {
			p.on = d
		}
	}
	if p.on == nil {
		p.on = &device{name: p.Device}
		pl.devices = append(pl.devices, p.on)
	}
	p.on.ports = append(p.on.ports, p)
}

// clampOf returns what a port does to the MSS of SYNs.
func clampOf(c config.Clamp) dataplane.Clamp {
	if c == config.ClampPath {
		return dataplane.ClampPath
	}
	return dataplane.Clamp(c)
}

// madeMAC makes a port's shared MAC from the cluster's key, so that all nodes make the
// same and two clusters on one segment do not; a node without a key makes it from its
// name. Locally administered, unicast (IEEE 802).
func (pl *plan) madeMAC(port string) (mac packet.MAC) {
	var sum [32]byte
	if len(pl.keys) > 0 {
		sum = pl.keys[0].Derive("mac of port " + port)
	} else {
		sum = seal.Key{0: 1}.Derive("mac of port " + port + " of " + pl.name)
	}
	copy(mac[:], sum[:])
	mac[0] = mac[0]&^3 | 2
	return mac
}

// cookieSecret makes the secret of SYN cookies from the cluster's key, so that a node that
// takes over accepts those of the one before; a node without a key makes it at random.
func (pl *plan) cookieSecret() cookie.Secret {
	key := seal.NewKey()
	if len(pl.keys) > 0 {
		key = pl.keys[0]
	}
	sum := key.Derive("syn cookies")
	return cookie.SecretOf([16]byte(sum[:16]))
}

// assign gives every receive queue a worker. Without a wish there are as many workers as
// cores, or as the device with the fewest queues allows. A queue is named by the first
// port of its device.
func assign(devices []*device, workers int) ([][]xsk.QueueRef, error) {
	var queues []xsk.PortQueues
	fewest := runtime.NumCPU()
	for _, d := range devices {
		queues = append(queues, d.queues)
		fewest = min(fewest, d.queues.Receive, d.queues.Transmit)
	}
	if workers == 0 {
		workers = max(fewest, 1)
	}
	assigned, err := xsk.Assign(queues, workers)
	for _, refs := range assigned {
		for i := range refs {
			refs[i].Port = int(devices[refs[i].Port].ports[0].ID)
		}
	}
	return assigned, err
}

// CheckReport is what `holdfast check --json` prints.
type CheckReport struct {
	Errors  []string `json:"errors"`
	Notices []string `json:"notices"` // accepted, and not acted on yet
	Rules   int      `json:"rules"`
	Hash    string   `json:"hash"`
}

// Check reads a node file with its policy, or a policy alone, and says what is wrong.
func Check(path string) CheckReport {
	r := CheckReport{Errors: []string{}, Notices: []string{}}
	n, p, err := config.Load(path)
	if err == nil && n != nil {
		_, err = newPlan(n, p)
	} else if err == nil {
		if _, err = rules.Compile(p); err == nil {
			err = rules.CheckNAT(p)
		}
	}
	if err != nil {
		r.Errors = lines(err)
		return r
	}
	for _, note := range p.Notices {
		r.Notices = append(r.Notices, note.String())
	}
	r.Rules, r.Hash = len(p.Rules), hash(p.Hash())
	return r
}

// incarnationEpoch is when the milliseconds of incarnationCounter begin: 2026-01-01, in ms
// since 1970.
const incarnationEpoch = 1_767_225_600_000

// incarnationCounter starts this life's incarnations above those of earlier lives, as
// long as a node begins fewer than 64,000 connections per second on the average of its
// life. The 47 bits that a table takes last until the year 2095. A clock that stands
// before the epoch starts at 0, and what it hears of its peers lifts it (Lamport).
func incarnationCounter(now time.Time) uint64 {
	return uint64(max(0, now.UnixMilli()-incarnationEpoch)) << 6
}
