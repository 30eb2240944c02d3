package dataplane

import (
	"net/netip"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/rules/table"
)

// tabled gives the rig rules that ask tables.
func (r *rig) tabled(text string, before *table.Tables) *table.Tables {
	r.t.Helper()
	policy, err := config.ParsePolicy("tables", []byte(rigPorts+text))
	if err != nil {
		r.t.Fatal(err)
	}
	set, err := rules.Compile(policy)
	if err != nil {
		r.t.Fatal(err)
	}
	tables, err := table.New(rules.Tables(policy), before)
	if err != nil {
		r.t.Fatal(err)
	}
	snapshot := *r.snapshot.Load()
	snapshot.Rules, snapshot.Tables = set, tables
	r.snapshot.Store(&snapshot)
	r.w.snapshot = &snapshot
	return tables
}

const rigPorts = `
[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/24"]
`

const brutesPolicy = `
[tables.brutes]
timeout = "1h"
[tables.homes]
addresses = ["10.0.0.0/24"]
[[rules]]
id = "brutes"
action = "block"
from = ["<brutes>", "!10.0.0.99"]
[[rules]]
id = "out"
action = "pass"
in = "lan"
from = "<homes>"
`

// TestTables_ChangesAreSeenAtOnce: the first packet after an entry came or went is judged by
// what the table holds then; connections that live are not asked about.
func TestTables_ChangesAreSeenAtOnce(t *testing.T) {
	r := newRig(t)
	brutes := r.tabled(brutesPolicy, nil).ByName("brutes")
	if why := r.query(1, 53); why != drop.Pass {
		t.Fatal(why)
	}
	if out := brutes.Add(&client, r.w.now, table.Default, table.Cause{Kind: table.Command}); out != table.Added {
		t.Fatal(out)
	}
	if why := r.query(2, 53); why != drop.RuleBlock {
		t.Errorf("a new connection: %v", why)
	}
	if why := r.query(1, 53); why != drop.Pass {
		t.Errorf("a connection that lives: %v", why)
	}
	e, _ := brutes.Find(client.Netip())
	if e.Matches != 1 || e.Last != r.w.now || e.Expires != r.w.now+3600e9 {
		t.Errorf("counted %+v", e)
	}
	brutes.Flush()
	if why := r.query(2, 53); why != drop.Pass {
		t.Errorf("after the flush: %v", why)
	}
	brutes.AddPrefix(netip.MustParsePrefix("10.0.0.0/8"), table.Include, r.w.now, 5e9, table.Cause{Kind: table.Command})
	brutes.AddPrefix(netip.MustParsePrefix("10.0.0.10/32"), table.Exclude, r.w.now, table.Forever, table.Cause{Kind: table.Command})
	if why := r.query(3, 53); why != drop.Pass {
		t.Errorf("the narrower entry keeps it out: %v", why)
	}
	brutes.Delete(netip.MustParsePrefix("10.0.0.10/32"))
	if why := r.query(4, 53); why != drop.RuleBlock {
		t.Errorf("after the deletion: %v", why)
	}
	brutes.Expire(r.w.now + 5e9)
	if why := r.query(4, 53); why != drop.Pass {
		t.Errorf("after its lifetime: %v", why)
	}
}

// TestTables_SurviveAReload: entries that were added go over to the table of the same name,
// and the policy's own entries come with its rules.
func TestTables_SurviveAReload(t *testing.T) {
	r := newRig(t)
	first := r.tabled(brutesPolicy, nil)
	first.ByName("brutes").Add(&client, r.w.now, table.Default, table.Cause{Kind: table.Overload})
	second := r.tabled("[tables.new]\naddresses = \"10.0.0.0/8\"\n"+brutesPolicy, first)
	if why := r.query(1, 53); why != drop.RuleBlock {
		t.Errorf("after the reload: %v", why)
	}
	first.ByName("brutes").Flush() // who holds the tables of before means the same entries
	if why := r.query(1, 53); why != drop.Pass {
		t.Errorf("after the flush: %v", why)
	}
	if e, _ := second.ByName("homes").Find(client.Netip()); e.Matches != 1 {
		t.Errorf("counted %+v", e)
	}
	r.tabled(`
[tables.homes]
addresses = ["10.0.0.0/24", "!10.0.0.10"]
[[rules]]
id = "out"
action = "pass"
from = "<homes>"
`, second)
	if why := r.query(2, 53); why != drop.RuleBlock {
		t.Errorf("the new policy keeps it out: %v", why)
	}
}

// TestTables_TheNodeItself: what is for the node and what it sends asks tables too.
func TestTables_TheNodeItself(t *testing.T) {
	r := newRig(t)
	tables := r.tabled(`
[[rules]]
id = "ssh"
action = "pass"
from = "<admins>"
to = "self"
proto = "udp"
to_port = 22
`, nil)
	admit := func() drop.Reason {
		p := fromClient(packetIn{proto: packet.UDP, sport: 9, dport: 22, payload: 8})
		p.to = lanAddr
		r.feed(lan, p.frame(t))
		if died := r.dropped(lan); len(died) > 0 {
			return died[0]
		}
		return drop.Pass
	}
	if why := admit(); why != drop.ToSelf {
		t.Errorf("a stranger: %v", why)
	}
	tables.ByName("admins").Add(&client, r.w.now, table.Forever, table.Cause{Kind: table.Command})
	if why := admit(); why != drop.Pass {
		t.Errorf("an admin: %v", why)
	}
}
