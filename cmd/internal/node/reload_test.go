package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
	"holdfast/rules/config"
	"holdfast/sync/wire"
)

const reloadPorts = `[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.1/24"]
`

// ruleText is a rule that lets ports out, with more keys.
func ruleText(id, ports, more string) string {
	return "[[rules]]\nid = \"" + id + "\"\naction = \"pass\"\nin = \"lan\"\nproto = [\"tcp\", \"udp\"]\nto_port = " + ports + "\n" + more + "\n"
}

// reloader is a daemon without ports that reloads.
type reloader struct {
	*life
	t    *testing.T
	path string
}

func newReloader(t *testing.T, policy string) *reloader {
	t.Helper()
	r := &reloader{life: newLife(t, "", reloadPorts+policy), t: t, path: filepath.Join(t.TempDir(), "policy.toml")}
	r.node = &config.Node{File: "node.toml", Devices: []config.Device{
		{Port: config.Value[string]{V: "lan"}, Name: config.Value[string]{V: "eth1"}},
		{Port: config.Value[string]{V: "wan"}, Name: config.Value[string]{V: "eth2"}},
	}}
	r.node.Policy.V = r.path
	r.generation().version = wire.Generation{Number: 1, Hash: r.generation().hash}
	r.reloading.ledger.Kept = r.generation().version
	r.lease.Grant(1 << 62)
	t.Cleanup(r.reloading.end)
	return r
}

// write makes the policy that the node file names.
func (r *reloader) write(policy string) {
	r.t.Helper()
	if err := os.WriteFile(r.path, []byte(reloadPorts+policy), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// reload puts a policy in force.
func (r *reloader) reload(policy string, confirm float64) api.Plan {
	r.t.Helper()
	r.write(policy)
	plan, err := r.Reload(api.ReloadRequest{Confirm: confirm})
	if err != nil || len(plan.Errors) > 0 {
		r.t.Fatal(plan.Errors, err)
	}
	return plan
}

// connections enters so many connections of a rule to a port.
func (r *reloader) connections(rule string, port uint16, from, n int) {
	r.t.Helper()
	for i := from; i < from+n; i++ {
		s := translated(i, packet.UDP, rule, 0)
		s.Original.DstPort, s.Reply.SrcPort = port, port
		r.enter(r.t, s)
	}
}

// live counts connections by rule.
func (r *reloader) live() map[string]int {
	all := map[string]int{}
	r.table.Classes(func(c conntrack.Class, n int) { all[r.ruleName(c.Rule)] += n })
	return all
}

func (r *reloader) expect(want map[string]int) {
	r.t.Helper()
	if got := r.live(); !equalCounts(got, want) {
		r.t.Errorf("connections %v, want %v", got, want)
	}
}

func equalCounts(a, b map[string]int) bool {
	for k, n := range a {
		if b[k] != n {
			return false
		}
	}
	return len(a) == len(b)
}

// What a rule says of its connections is done when it goes or changes, plan has said it
// before, and others go on.
func TestReload_OnChange(t *testing.T) {
	before := ruleText("dns", "53", "") + ruleText("web", "80", `on_change = "kill"`) +
		ruleText("games", "[3000, 3001]", `on_change = "rematch"`) + ruleText("mail", "25", `on_change = "kill"`)
	r := newReloader(t, before)
	r.connections("dns", 53, 0, 3)
	r.connections("web", 80, 10, 4)
	r.connections("games", 3000, 20, 5)
	r.connections("games", 3001, 30, 6)
	r.connections("mail", 25, 40, 7)

	// dns goes and is kept, web changes and is killed, games is judged again, mail stays.
	after := ruleText("mail", "25", `on_change = "kill"`) + ruleText("web", "[80, 443]", `on_change = "kill"`) + ruleText("games", "3000", `on_change = "rematch"`)
	r.write(after)
	plan, err := r.Plan(api.PlanRequest{File: r.path})
	want := []api.Ends{{Rule: "games", Connections: 6}, {Rule: "web", Connections: 4}}
	if err != nil || !slices.Equal(plan.Ends, want) {
		t.Errorf("plan: ends %+v, want %+v; %v %v", plan.Ends, want, plan.Errors, err)
	}
	r.expect(map[string]int{"dns": 3, "web": 4, "games": 11, "mail": 7}) // nothing has changed
	if plan := r.reload(after, 0); plan.Ended != 10 || plan.Generation != 2 {
		t.Errorf("%d ended in generation %d", plan.Ended, plan.Generation)
	}
	r.expect(map[string]int{"dns": 3, "games": 5, "mail": 7})

	// A rule before theirs is enough for connections that are judged again.
	r.reload(strings.Replace(ruleText("no-games", "3000", ""), "pass", "block", 1)+after, 0)
	r.expect(map[string]int{"dns": 3, "mail": 7})
	// The policy's word holds for rules without one, and for those that are gone.
	r.reload("", 0)
	r.expect(map[string]int{"dns": 3})
}

// A policy's default, and a label that ends nobody.
func TestReload_OnChangeDefault(t *testing.T) {
	r := newReloader(t, ruleText("web", "80", ""))
	r.connections("web", 80, 0, 2)
	if err := os.WriteFile(r.path, []byte("[defaults]\non_change = \"kill\"\n"+reloadPorts+ruleText("web", "80", `label = "w"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	if plan, err := r.Reload(api.ReloadRequest{}); err != nil || plan.Ended != 0 || len(plan.Changes) != 1 || plan.Changes[0].What != "reworded" {
		t.Errorf("%+v %v", plan, err)
	}
	if err := os.WriteFile(r.path, []byte("[defaults]\non_change = \"kill\"\n"+reloadPorts+ruleText("web", "81", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if plan, err := r.Reload(api.ReloadRequest{}); err != nil || plan.Ended != 2 {
		t.Errorf("%+v %v", plan, err)
	}
}

// A policy that has faults, or that needs a restart, changes nothing and says everything.
func TestReload_Refused(t *testing.T) {
	r := newReloader(t, ruleText("web", "80", `on_change = "kill"`))
	r.connections("web", 80, 0, 2)
	was := r.snapshot.Load()
	for _, row := range []struct {
		text string
		want []string
	}{
		{reloadPorts + "[[rules]]\nid = \"a\"\naction = \"pas\"\nin = \"lna\"\n", []string{"7:10", "8:6"}},
		{strings.Replace(reloadPorts, "10.0.0.1", "10.0.0.2", 1) + "[ports.dmz]\naddresses = [\"10.1.0.1/24\"]\n[cluster]\nheartbeat = \"11ms\"\n",
			[]string{"port dmz has no device", "port lan is changed", "port dmz is new", "[cluster] is changed"}},
	} {
		if err := os.WriteFile(r.path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		plan, err := r.Reload(api.ReloadRequest{})
		if err != nil || len(plan.Errors) != len(row.want) {
			t.Fatalf("%q: %v", plan.Errors, err)
		}
		for i, want := range row.want {
			if !strings.Contains(plan.Errors[i], want) {
				t.Errorf("error %q, want %q", plan.Errors[i], want)
			}
		}
	}
	if _, err := r.Reload(api.ReloadRequest{File: "relative"}); err == nil {
		t.Error("a relative path is accepted")
	}
	if r.snapshot.Load() != was || r.generation().epoch != 1 {
		t.Error("something has changed")
	}
	r.expect(map[string]int{"web": 2})
}

// Counts of packets go with the id of a rule, wherever it stands.
func TestReload_Counters(t *testing.T) {
	r := newReloader(t, ruleText("web", "80", "")+ruleText("dns", "53", ""))
	r.queues = make([][]xsk.QueueRef, 2)
	r.reload(ruleText("web", "80", "")+ruleText("dns", "53", ""), 0) // with counters for two workers
	hit := func(worker, rule int, n uint64) { r.snapshot.Load().Hits[worker][rule].Add(n) }
	hit(0, 0, 3)
	hit(1, 0, 4)
	hit(1, 1, 10)
	hit(0, 2, 1)
	r.reload(ruleText("dns", "53", "")+ruleText("mail", "25", "")+ruleText("web", "80", ""), 0)
	hit(0, 2, 100)
	list, err := r.Rules()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, one := range list.Rules {
		got[one.ID] = one.Packets
	}
	if got["web"] != 107 || got["dns"] != 10 || got["mail"] != 0 || got["default"] != 1 || list.Generation != 3 {
		t.Errorf("%v in generation %d", got, list.Generation)
	}
}

// Numbers of timeouts mean the same before and after, for connections that carry them.
func TestReload_TimeoutsKeepTheirNumbers(t *testing.T) {
	idle := func(s string) string { return "state = { timeouts = { udp = \"" + s + "\" } }" }
	r := newReloader(t, ruleText("a", "1", idle("11s"))+ruleText("b", "2", idle("12s")))
	of := func(port uint16) uint8 {
		tuple := packet.Tuple{DstPort: port, Proto: packet.UDP, Src: packet.Addr{10: 0xff, 11: 0xff, 12: 1}, Dst: packet.Addr{10: 0xff, 11: 0xff, 12: 2}}
		return r.set().Match(&tuple, 0, 1, nil, nil).Timeouts
	}
	if of(1) != 1 || of(2) != 2 {
		t.Fatal(of(1), of(2))
	}
	r.reload(ruleText("c", "3", idle("13s"))+ruleText("b", "2", idle("12s")), 0)
	if of(2) != 2 || of(3) != 3 || r.set().Timeouts()[1].Plain[conntrack.TimerUDP] != 11*time.Second {
		t.Errorf("b has %d, c %d, number 1 is %v", of(2), of(3), r.set().Timeouts()[1].Plain[conntrack.TimerUDP])
	}
	// Where there are more than fit, those without connections make room.
	var many strings.Builder
	for i := range conntrack.TimeoutSetsMax - 1 {
		many.WriteString(ruleText("m"+string(rune('a'+i)), string(rune('1'+i%9)), idle((time.Duration(20+i) * time.Second).String())))
	}
	r.reload(many.String(), 0)
	if n := len(r.set().Timeouts()); n != conntrack.TimeoutSetsMax {
		t.Errorf("%d sets", n)
	}
}

// Without a confirmation the policy before comes back, whoever asked for the reload is
// gone; until then there is no other reload. With one it stays.
func TestREL29_ConfirmExpires(t *testing.T) {
	first, second := ruleText("web", "80", ""), ruleText("web", "81", "")
	r := newReloader(t, first)
	hash := r.generation().hash
	synctest.Test(t, func(t *testing.T) {
		r.reload(second, 60)
		if s := r.policyStatus(); s.Confirm == nil || *s.Confirm != 60 || s.Generation != 2 {
			t.Errorf("%+v", s)
		}
		if _, err := r.Reload(api.ReloadRequest{}); err == nil || !strings.Contains(err.Error(), "confirm") {
			t.Errorf("a second reload: %v", err)
		}
		time.Sleep(59 * time.Second)
		if r.generation().hash == hash {
			t.Error("back too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s := r.policyStatus(); r.generation().hash != hash || s.Confirm != nil || s.Generation != 1 {
			t.Errorf("not back: %+v", s)
		}
		if _, err := r.Confirm(); err == nil {
			t.Error("confirmed what had gone back")
		}
		r.reload(second, 60)
		if _, err := r.Confirm(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if r.generation().hash == hash {
			t.Error("back although confirmed")
		}
	})
}
