package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/dataplane"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
	"holdfast/rules/config"
	"holdfast/sync/cluster"
	"holdfast/sync/seal"
)

const policyText = `[ports.lan]
addresses = ["10.0.0.1/24", "fd00::1/64"]
[ports.wan]
addresses = ["203.0.113.2/29"]
mac = "02:48:46:00:00:02"
antispoof = "loose"
[groups.main]
ports = ["lan", "wan"]
[cluster]
alone = "wait"
[gateways.isp1]
port = "wan"
address = "203.0.113.1"
[[nat]]
kind = "masquerade"
from = ["10.0.0.0/24"]
out = "wan"
[[rules]]
id = "out"
action = "pass"
in = "lan"
`

const nodeText = `policy = "policy.toml"
[node]
name = "%s"
[devices]
lan = { device = "eth1" }
wan = { device = "eth2" }
`

const clusterText = `[cluster]
key_file = "cluster.key"
links = [{ device = "eth3", address = "192.0.2.1:7400", peers = ["192.0.2.2:7400", "192.0.2.3:7400"] }]
priority = { main = 70 }
[limits]
connections = 5000
workers = 3
`

// load writes the files and makes a plan of them; no key means no cluster.
func load(t *testing.T, name string, key seal.Key) *plan {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf(nodeText, name)
	if key != (seal.Key{}) {
		text += clusterText
	}
	for file, content := range map[string]string{
		"node.toml": text, "policy.toml": policyText, "cluster.key": string(seal.FormatKeyFile(key)),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n, p, err := config.Load(filepath.Join(dir, "node.toml"))
	if err != nil {
		t.Fatal(err)
	}
	pl, err := newPlan(n, p)
	if err != nil {
		t.Fatal(err)
	}
	return pl
}

// Everything that the two files say arrives in the plan.
func TestPlan(t *testing.T) {
	key := seal.NewKey()
	pl := load(t, "fw-a", key)
	if pl.name != "fw-a" || pl.group != "main" || pl.priority != 70 || pl.connections != 5000 || pl.workers != 3 || pl.alone != cluster.AloneWait {
		t.Errorf("%+v", pl)
	}
	want := cluster.Timing{Heartbeat: 10e6, DeadAfter: 30e6, Lease: 20e6, AloneAfter: 5e9} // the defaults
	if pl.timing != want {
		t.Errorf("timing %+v, want %+v", pl.timing, want)
	}
	if len(pl.links) != 2 || pl.links[0].Device != "eth3" || pl.links[1].Peer.String() != "192.0.2.3:7400" || len(pl.keys) != 1 || pl.keys[0] != key {
		t.Errorf("links %+v with %d keys", pl.links, len(pl.keys))
	}
	if all := pl.gateways.All(); len(all) != 1 || all[0].Port != 1 || all[0].Addr.String() != "203.0.113.1" || len(pl.defaults) != 1 || len(pl.translations) != 1 || pl.rules.Len() != 1 {
		t.Errorf("gateways %+v, translations %+v", pl.gateways, pl.translations)
	}
	lan, wan := pl.ports[0], pl.ports[1]
	if lan.ID != 0 || lan.Name != "lan" || lan.Device != "eth1" || len(lan.Addresses) != 2 || len(lan.prefixes) != 2 {
		t.Errorf("lan %+v", &lan.Port)
	}
	if wan.ID != 1 || wan.MAC != (packet.MAC{2, 0x48, 0x46, 0, 0, 2}) || wan.Antispoof != dataplane.AntispoofLoose || lan.Antispoof != dataplane.AntispoofStrict {
		t.Errorf("wan %+v", &wan.Port)
	}
}

// A node without peers needs no key, and no wish for workers is none.
func TestPlanAlone(t *testing.T) {
	pl := load(t, "fw-a", seal.Key{})
	if len(pl.keys) != 0 || len(pl.links) != 0 || pl.workers != 0 || pl.priority != config.DefaultPriority {
		t.Errorf("%+v", pl)
	}
}

// A MAC that is not written is made: the same on all nodes of a cluster, different for
// each port and each cluster, local and unicast (IEEE 802, the two low bits 2).
func TestMadeMAC(t *testing.T) {
	key := seal.NewKey()
	mac := func(name string, key seal.Key) packet.MAC { return load(t, name, key).ports[0].MAC }
	a := mac("fw-a", key)
	if b := mac("fw-b", key); a != b {
		t.Errorf("two nodes of a cluster make %v and %v", a, b)
	}
	others := []packet.MAC{mac("fw-a", seal.NewKey()), mac("fw-a", seal.Key{}), mac("fw-b", seal.Key{}), load(t, "fw-a", key).madeMAC("wan")}
	for i, m := range append(others, a) {
		if m[0]&3 != 2 {
			t.Errorf("%v is not local and unicast", m)
		}
		if slices.Contains(others[:i], m) || i < len(others) && m == a {
			t.Errorf("%v twice", m)
		}
	}
	if again := mac("fw-a", seal.Key{}); again != others[1] {
		t.Errorf("alone it makes %v, then %v", others[1], again)
	}
}

// Without a wish no port has fewer queues than there are workers; a wish that does not
// fit is refused with what to run.
func TestAssign(t *testing.T) {
	devices := func(queues ...int) (all []*device) {
		for i, n := range queues {
			d := &device{name: fmt.Sprintf("eth%d", i)}
			d.ports = []*port{{Port: dataplane.Port{ID: packet.PortID(2 * i)}}, {Port: dataplane.Port{ID: packet.PortID(2*i + 1)}}}
			d.queues = xsk.PortQueues{Device: d.name, Channels: xsk.Channels{Receive: n, Transmit: n}}
			all = append(all, d)
		}
		return all
	}
	for _, row := range []struct {
		queues  []int
		workers int
		want    int // workers; 0: refused
	}{
		{[]int{1, 1}, 0, 1}, {[]int{4, 1}, 0, 1}, {[]int{1, 1}, 1, 1}, {[]int{4, 2}, 2, 2}, {[]int{4, 4}, 1, 1}, {[]int{4, 1}, 2, 0},
	} {
		got, err := assign(devices(row.queues...), row.workers)
		if len(got) != row.want || (err != nil) != (row.want == 0) {
			t.Errorf("%v queues, %d workers: %v, %v", row.queues, row.workers, got, err)
		}
		if err != nil {
			if !strings.Contains(err.Error(), "ethtool -L eth1 combined 2") {
				t.Errorf("%v", err)
			}
			continue
		}
		owned := 0
		for _, queues := range got {
			owned += len(queues)
			for _, q := range queues {
				if q.Port != 0 && q.Port != 2 {
					t.Errorf("%v queues: %+v names no first port of a device", row.queues, q)
				}
			}
		}
		if all := row.queues[0] + row.queues[1]; owned != all {
			t.Errorf("%v queues: %d have an owner", row.queues, owned)
		}
	}
}

// Ports of one device share what the daemon holds of it, and the device receives for all
// of them: promiscuously where one is tagged, or else by the one port's MAC.
func TestPlaceByDevice(t *testing.T) {
	pl := &plan{}
	for i, on := range []struct {
		device string
		vlan   packet.VLAN
	}{{"eth1", 0}, {"eth2", 0}, {"eth1", 10}, {"eth3", 10}} {
		p := &port{Port: dataplane.Port{ID: packet.PortID(i), Device: on.device, VLAN: on.vlan, MAC: packet.MAC{2, 5: byte(i)}}}
		pl.ports = append(pl.ports, p)
		pl.place(p)
	}
	var got []string
	for _, d := range pl.devices {
		got = append(got, fmt.Sprintf("%s %d ports, %v", d.name, len(d.ports), d.attachment().MAC))
	}
	want := []string{"eth1 2 ports, 00:00:00:00:00:00", "eth2 1 ports, 02:00:00:00:00:01", "eth3 1 ports, 00:00:00:00:00:00"}
	if !slices.Equal(got, want) || pl.ports[0].on != pl.ports[2].on || pl.ports[2].on == pl.ports[3].on {
		t.Errorf("%q, want %q", got, want)
	}
}

// A start that fails undoes its steps, the last first, each once, whatever they say.
func TestCloseUndoesInReverse(t *testing.T) {
	var order []int
	d := &daemon{}
	bad := errors.New("cannot")
	for i := range 3 {
		d.then(func() error {
			order = append(order, i)
			if i == 1 {
				return bad
			}
			return nil
		})
	}
	if err := d.close(); !errors.Is(err, bad) || !slices.Equal(order, []int{2, 1, 0}) {
		t.Errorf("order %v, %v", order, err)
	}
	if err := d.close(); err != nil || len(order) != 3 {
		t.Errorf("a second time: order %v, %v", order, err)
	}
}

// The degraded list says what is wrong, and is empty where all is well.
func TestDegraded(t *testing.T) {
	well := func() api.Status {
		return api.Status{
			Groups: []api.Group{{Name: "main", Role: "active", Active: "fw-a", Ready: true}},
			Peers:  []api.Peer{{Name: "fw-b", Heard: 0.01, SamePlan: true, MTUs: map[string]int{"lan": 1500, "gone": 9}}},
			Ports:  []api.Port{{Name: "lan", Device: "eth1", Mode: "native-copy", Carrier: true, MTU: 1500}},
		}
	}
	for says, spoil := range map[string]func(s *api.Status){
		"":                       func(*api.Status) {},
		"no node is active":      func(s *api.Status) { s.Groups[0].Active = "" },
		"may have lacked":        func(s *api.Status) { s.Groups[0].Alarm = true },
		"not ready to take over": func(s *api.Status) { s.Groups[0].Ready = false },
		"peer fw-b is not heard": func(s *api.Status) { s.Peers[0].Heard = 4 },
		"its daemon is down":     func(s *api.Status) { s.Peers[0].Heard = -1 },
		"another policy":         func(s *api.Status) { s.Peers[0].SamePlan = false },
		"has no carrier":         func(s *api.Status) { s.Ports[0].Carrier = false },
		"of 1500 here and of 1400 on fw-b: connections would stall when the role changes; make them equal (`ip link set eth1 mtu 1400`": func(s *api.Status) { s.Peers[0].MTUs["lan"] = 1400 },
		"driven by the generic hook": func(s *api.Status) { s.Ports[0].Mode = "generic" },
	} {
		s := well()
		spoil(&s)
		got := degraded(&s)
		if says == "" && (len(got) != 0 || got == nil) || says != "" && (len(got) != 1 || !strings.Contains(got[0], says)) {
			t.Errorf("%q: %q", says, got)
		}
	}
}

// Names of protocols and states are those of selectors and listings.
func TestNames(t *testing.T) {
	for p, want := range map[packet.Proto]string{packet.TCP: "tcp", packet.ICMPv6: "icmpv6", packet.ESP: "esp", 99: "proto-99"} {
		if got := protoName(p); got != want {
			t.Errorf("protocol %d is %q, want %q", p, got, want)
		}
	}
	for want, v := range map[string]conntrack.View{
		"UNREPLIED":   {Original: packet.Tuple{Proto: packet.UDP}},
		"REPLIED":     {Original: packet.Tuple{Proto: packet.UDP}, Flags: conntrack.Replied},
		"ESTABLISHED": {Original: packet.Tuple{Proto: packet.TCP}, TCP: conntrack.Established, Flags: conntrack.Replied},
	} {
		if got := stateName(&v); got != want {
			t.Errorf("%+v is %q, want %q", v, got, want)
		}
	}
}

// Times of CLOCK_BOOTTIME come out as seconds and as wall clock.
func TestTimes(t *testing.T) {
	if got := heard(0, 5e9); got != -1 {
		t.Errorf("never heard is %v", got)
	}
	if got := heard(3e9, 5e9); got != 2 {
		t.Errorf("two seconds ago is %v", got)
	}
	at, want := wallClock(3e9, 5e9), time.Now().Add(-2*time.Second)
	if d := want.Sub(at).Abs(); d > time.Second {
		t.Errorf("two seconds ago was %v", at)
	}
}

// The incarnations of a later life lie above those of an earlier one that began 64,000
// connections a second, and below the table's bound for a lifetime.
func TestIncarnationCounter(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	const seconds, rate = 3600, 64_000
	if a, b := incarnationCounter(now), incarnationCounter(now.Add(seconds*time.Second)); b-a < seconds*rate {
		t.Errorf("in an hour it moves by %d", b-a)
	}
	if c := incarnationCounter(time.Date(2094, 1, 1, 0, 0, 0, 0, time.UTC)); c >= 1<<47 {
		t.Errorf("%d is beyond what a table takes", c)
	}
	if c := incarnationCounter(time.Unix(0, 0)); c != 0 {
		t.Errorf("without a clock it starts at %d", c)
	}
}

// systemd is told READY=1 where it asked (sd_notify(3)); a socket that is gone is a
// warning and no more.
func TestNotifyReady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var said strings.Builder
	d := &daemon{log: slog.New(slog.NewTextHandler(&said, nil))}
	t.Setenv("NOTIFY_SOCKET", path)
	notifyReady(d)
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	if n, err := conn.Read(b); err != nil || string(b[:n]) != "READY=1" || said.Len() != 0 {
		t.Errorf("%q, %v, %s", b[:n], err, &said)
	}
	t.Setenv("NOTIFY_SOCKET", path+"-none")
	if notifyReady(d); !strings.Contains(said.String(), "level=WARN") {
		t.Errorf("it said %q", said.String())
	}
	said.Reset()
	t.Setenv("NOTIFY_SOCKET", "")
	if notifyReady(d); said.Len() != 0 {
		t.Errorf("it said %q", said.String())
	}
}
