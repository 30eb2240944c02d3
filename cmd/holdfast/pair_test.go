package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/cmd/internal/demo"
	"holdfast/cmd/internal/node"
)

var update = flag.Bool("update", false, "write testdata/fields.txt anew")

// fieldsFile lists every field of what the commands print with --json: scripts rely on
// the names, so a change must be seen here.
const fieldsFile = "testdata/fields.txt"

func TestFieldsAreStable(t *testing.T) {
	var b strings.Builder
	for _, row := range []struct {
		command string
		object  any
	}{
		{"status", api.Status{}}, {"conns", api.Conns{}}, {"drops", api.Drops{}}, {"gateways", api.Gateways{}}, {"kill", api.KillResult{}}, {"watch", api.WatchEvent{}},
		{"rules", api.Rules{}}, {"plan, reload", api.Plan{}}, {"promote, demote, confirm", api.Done{}}, {"check", node.CheckReport{}}, {"demo", demo.Report{}},
	} {
		fmt.Fprintf(&b, "%s\n", row.command)
		for _, f := range fields(reflect.TypeOf(row.object), "") {
			fmt.Fprintf(&b, "\t%s\n", f)
		}
	}
	if *update {
		if err := os.WriteFile(fieldsFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(fieldsFile)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the fields are\n%s\nand not as in %s; if that is meant: go test ./cmd/holdfast -run Fields -update", &b, fieldsFile)
	}
}

// fields lists the JSON names below a type with their kinds.
func fields(typ reflect.Type, prefix string) (all []string) {
	switch {
	case typ.Kind() == reflect.Pointer:
		return fields(typ.Elem(), prefix)
	case typ == reflect.TypeFor[time.Time]():
		return []string{prefix + " time"}
	case typ.Kind() == reflect.Slice || typ.Kind() == reflect.Array:
		return fields(typ.Elem(), prefix+"[]")
	case typ.Kind() == reflect.Map:
		return fields(typ.Elem(), prefix+".*")
	case typ.Kind() != reflect.Struct:
		return []string{prefix + " " + typ.Kind().String()}
	}
	for i := range typ.NumField() {
		name, option, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if option != "" {
			name += "?" // left out where it is empty
		}
		if name == "" {
			name = "(" + strings.ToLower(typ.Field(i).Name) + ")" // its fields, where it is there at all
		}
		all = append(all, fields(typ.Field(i).Type, strings.TrimPrefix(prefix+"."+name, "."))...)
	}
	return all
}

// whole checks that a JSON text has every field that v's type promises, but those that
// may be left out.
func whole(t *testing.T, text string, v any) {
	t.Helper()
	strict(t, text, v)
	var raw any
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	for _, f := range fields(reflect.TypeOf(v).Elem(), "") {
		path, _, _ := strings.Cut(f, " ")
		top, _, _ := strings.Cut(path, ".")
		if top = strings.TrimRight(top, "[]"); strings.HasSuffix(top, "?") {
			continue
		}
		if value, ok := raw.(map[string]any)[top]; !ok || value == nil {
			t.Errorf("%q is %v: %s", top, value, text)
		}
	}
}

// A pair with a flow through it, seen by every command that looks, and then by those that
// act: kill on both nodes, promote and demote.
func TestCommandsOnAPair(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	a, b := s.startPair(t)
	f := s.flow(t)
	f.answers(t)
	t.Run("status", func(t *testing.T) { status(t, a, b) })
	t.Run("conns", func(t *testing.T) { conns(t, a, b) })
	t.Run("drops", func(t *testing.T) { drops(t, a) })
	t.Run("kill refuses", func(t *testing.T) { killRefuses(t, a) })
	t.Run("kill", func(t *testing.T) { kill(t, a, b) })
	f.answers(t)
	t.Run("promote", func(t *testing.T) { promote(t, a, b) })
	f.answers(t)
	t.Run("kill after a switch-over", func(t *testing.T) { killInherited(t, a, b) })
	f.answers(t)
	t.Run("demote", func(t *testing.T) { demote(t, a, b) })
	f.answers(t)
}

func status(t *testing.T, a, b *daemon) {
	for _, d := range []*daemon{a, b} {
		var st api.Status
		o := d.tell(t, "status", "--json", "--history")
		whole(t, o.out, &st)
		if st.Node != d.place.Name() || st.Version != "v1.2.3-test" || len(st.Peers) != 1 || len(st.Ports) != 2 || len(st.Workers) == 0 {
			t.Errorf("%s", o.out)
		}
		if p := st.Peers[0]; p.Session != "established" || p.Heard < 0 || !p.SamePlan || !p.Ready || p.Rejected == nil || p.Rejected["malformed"]+p.Rejected["not-applicable"] != 0 {
			t.Errorf("peer %+v", p)
		}
		// A port on the generic hook is degraded by itself; then the exit says so.
		if (o.code == exitRefused) != (len(st.Degraded) > 0) || o.errors != "" {
			t.Errorf("exit %d with %q: %s", o.code, st.Degraded, o.errors)
		}
		if g := st.Groups[0]; g.Alarm || g.Active != "fw-a" || (d == a) != (g.LeaseLeft > 0) {
			t.Errorf("group %+v", g)
		}
		text := d.tell(t, "status", "--history").out
		for _, word := range []string{d.place.Name() + "  holdfast v1.2.3-test", "group main", "active: fw-a", "peer fw-", "session established", "port lan", "port wan", "connections"} {
			if !strings.Contains(text, word) {
				t.Errorf("%q is not in:\n%s", word, text)
			}
		}
	}
	if st, err := a.ask(); err != nil || len(st.History) == 0 || st.History[len(st.History)-1].Role != "active" {
		t.Errorf("history %+v: %v", st.History, err)
	}
}

// conntrackLine is a line of `conntrack -L` for the flow, behind masquerade.
var conntrackLine = regexp.MustCompile(`^udp      17 \d+ src=10\.0\.0\.10 dst=203\.0\.113\.10 sport=\d+ dport=4000 src=203\.0\.113\.10 dst=203\.0\.113\.2 sport=4000 dport=\d+ (\[ASSURED\] )?mark=0 use=1$`)

func conns(t *testing.T, a, b *daemon) {
	eventually(t, "the standby knows that the flow is answered", func() bool {
		var list api.Conns
		strict(t, b.tell(t, "conns", "--json").said(t), &list)
		return list.Count == 1 && list.Connections[0].Replied
	})
	var ids []string
	for _, d := range []*daemon{a, b} {
		var list api.Conns
		strict(t, d.tell(t, "conns", "--json", "proto=udp", "dst=203.0.113.10").said(t), &list)
		if list.Count != 1 || len(list.Connections) != 1 {
			t.Fatalf("%+v", list)
		}
		c := list.Connections[0]
		ids = append(ids, c.ID)
		if c.Rule != "inside-out" || c.In != "lan" || c.Out != "wan" || c.Original.Src != "10.0.0.10" || c.Reply.Dst != "203.0.113.2" || c.Node != 1 {
			t.Errorf("%+v", c)
		}
		line := strings.TrimSuffix(d.tell(t, "conns", "--format", "conntrack").said(t), "\n")
		if !conntrackLine.MatchString(line) {
			t.Errorf("%q", line)
		}
		for args, want := range map[string]string{
			"count": "1\n", "count label=out-wan": "", "count proto=tcp": "0\n", "count id=" + c.ID: "1\n", "count node=fw-a": "1\n",
		} {
			if got := d.tell(t, append([]string{"conns"}, strings.Fields(args)...)...).said(t); want != "" && got != want {
				t.Errorf("conns %s: %q, want %q", args, got, want)
			}
		}
		if table := d.tell(t, "conns").said(t); !strings.HasSuffix(table, "1 connections\n") || !strings.Contains(table, c.ID) {
			t.Errorf("%s", table)
		}
		d.tell(t, "conns", "frob=1").refused(t, exitUsage, `"frob"`)
	}
	if ids[0] != ids[1] {
		t.Errorf("the nodes name it %v", ids)
	}
}

func drops(t *testing.T, a *daemon) {
	var d api.Drops
	whole(t, a.tell(t, "drops", "--json").said(t), &d)
	if len(d.Ports) != 2 || d.Ports[0].Port != "lan" || d.Ports[0].Receive == nil || d.Ports[1].Send == nil {
		t.Errorf("%+v", d)
	}
}

func killRefuses(t *testing.T, a *daemon) {
	for _, row := range []struct {
		code  int
		args  []string
		words []string
	}{
		{exitUsage, nil, []string{"holdfast kill --help"}},
		{exitUsage, []string{"frob=1"}, []string{`"frob"`}},
		{exitUsage, []string{"src="}, []string{"src"}},
		{exitUsage, []string{"everything"}, []string{"everything"}},
		{exitUsage, []string{"src=10.0.0.0/33"}, []string{"10.0.0.0/33"}},
		{exitUsage, []string{"proto=tcp", "all"}, []string{"all"}},
		{exitUsage, []string{"all", "--manner", "loud"}, []string{"loud", "silent"}},
		{exitUsage, []string{"label=" + strings.Repeat("x", 1024)}, []string{"1030 bytes", "1024"}},
	} {
		a.tell(t, append([]string{"kill"}, row.args...)...).refused(t, row.code, row.words...)
	}
	if got := a.tell(t, "conns", "count").said(t); got != "1\n" {
		t.Errorf("%s connections are left", got)
	}
}

func kill(t *testing.T, a, b *daemon) {
	var r api.KillResult
	strict(t, a.tell(t, "kill", "--json", "--dry-run", "all").said(t), &r)
	if !r.DryRun || r.Killed["fw-a"] != 1 {
		t.Errorf("dry run: %+v", r)
	}
	if got := a.tell(t, "kill", "proto=tcp").said(t); got != "fw-a: 0 connections killed\nfw-b: 0 connections killed\n" {
		t.Errorf("%q", got)
	}
	for _, d := range []*daemon{a, b} {
		if got := d.tell(t, "conns", "count").said(t); got != "1\n" {
			t.Errorf("%s knows %s connections before the kill", d.place.Name(), got)
		}
	}
	// A standby has copies only: ending these alone would make a failover lose what lives.
	b.tell(t, "kill", "all").refused(t, exitRefused, "fw-b stands by", "run it on fw-a")
	if got := b.tell(t, "kill", "--dry-run", "all").said(t); got != "fw-b: 1 connections would be killed\n" {
		t.Errorf("%q", got)
	}
	if got := b.tell(t, "conns", "count").said(t); got != "1\n" {
		t.Errorf("%s connections are left", got)
	}
	// By what only a look at each connection tells: the peer hears of each.
	if got := a.tell(t, "kill", "src=10.0.0.10", "proto=udp").said(t); got != "fw-a: 1 connections killed\nfw-b: 1 connections killed\n" {
		t.Errorf("%q", got)
	}
	for _, d := range []*daemon{a, b} {
		if got := d.tell(t, "conns", "count").said(t); got != "0\n" {
			t.Errorf("%s has %s connections after the kill", d.place.Name(), got)
		}
	}
}

// killInherited: a connection that another node began, and that knows it by another index,
// ends on both too.
func killInherited(t *testing.T, a, b *daemon) {
	for _, d := range []*daemon{a, b} {
		if got := d.tell(t, "conns", "count", "node=fw-a").said(t); got != "1\n" {
			t.Errorf("%s knows %s connections of fw-a", d.place.Name(), got)
		}
	}
	if got := b.tell(t, "kill", "all").said(t); got != "fw-a: 1 connections killed\nfw-b: 1 connections killed\n" {
		t.Errorf("%q", got)
	}
	for _, d := range []*daemon{a, b} {
		if got := d.tell(t, "conns", "count", "node=fw-a").said(t); got != "0\n" {
			t.Errorf("%s has %s connections of fw-a after the kill", d.place.Name(), got)
		}
	}
}

// promote: the standby takes over as planned, the other stands by, and neither lapses.
func promote(t *testing.T, a, b *daemon) {
	a.tell(t, "promote").refused(t, exitRefused, "active already")
	b.tell(t, "promote", "other").refused(t, exitUsage, `"other"`, `"main"`)
	if got := b.tell(t, "promote", "main").said(t); got != "fw-b is active\n" {
		t.Errorf("%q", got)
	}
	eventually(t, "fw-a stands by, and both know who is active", func() bool {
		x, y := a.group(), b.group()
		return x.Role == "standby" && y.Role == "active" && x.Active == "fw-b" && x.Ready && y.Ready && !y.Alarm
	})
	if x, y := a.group(), b.group(); x.LeaseLapse+y.LeaseLapse != 0 {
		t.Errorf("leases lapsed: %+v %+v", x, y)
	}
}

// demote: hands over to a ready peer, and refuses where there is none.
func demote(t *testing.T, a, b *daemon) {
	a.tell(t, "demote").refused(t, exitRefused, "standby already")
	var done api.Done
	if strict(t, b.tell(t, "demote", "--json").said(t), &done); done.Done != "fw-b is standby" {
		t.Errorf("%+v", done)
	}
	eventually(t, "fw-a is active", func() bool { return a.group().Role == "active" && b.group().Active == "fw-a" })
	b.stop(t, unix.SIGKILL)
	eventually(t, "the peer is not heard", func() bool {
		o := a.tell(t, "demote")
		if o.code == exitDone {
			t.Fatalf("it handed over to a dead peer: %s", o.out)
		}
		return strings.Contains(o.errors, "no living peer is ready")
	})
	a.tell(t, "demote").refused(t, exitRefused, "no living peer is ready to take over")
	if got := a.tell(t, "kill", "port=wan").said(t); !strings.Contains(got, "fw-a: 1 connections killed\nfw-b: not known: ") {
		t.Errorf("a kill that the peer does not answer: %q", got)
	}
	if role := a.group().Role; role != "active" {
		t.Errorf("fw-a is %s", role)
	}
}

// A cable that is pulled shows in `status` and its exit code, and so does its return.
func TestStatusShowsTheCarrier(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	s.places[0].files.alone()
	a := start(t, s.places[0])
	eventually(t, "it is active", func() bool { return a.group().Role == "active" })
	const sign = "port wan (wan) has no carrier"
	for _, cable := range []struct {
		move func(string) error
		sign bool
	}{{s.switches.Down, true}, {s.switches.Up, false}} {
		if err := cable.move("wan-0"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "status follows the cable", func() bool {
			o := a.tell(t, "status")
			return strings.Contains(o.out, "DEGRADED: "+sign) == cable.sign && (!cable.sign || o.code == exitRefused)
		})
	}
}

// Nodes whose ports have unequal MTUs say so, both of them: what fits through the one would
// not through the other.
func TestStatusShowsUnequalMTUs(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	if err := s.places[1].withLink("wan", func(l netlink.Link) error { return s.places[1].Handle().LinkSetMTU(l, 1400) }); err != nil {
		t.Fatal(err)
	}
	a, b := s.startPair(t)
	for d, sign := range map[*daemon]string{
		a: "port wan has an MTU of 1500 here and of 1400 on fw-b", b: "port wan has an MTU of 1400 here and of 1500 on fw-a",
	} {
		eventually(t, "status tells of it", func() bool {
			o := d.tell(t, "status")
			return o.code == exitRefused && strings.Contains(o.out, sign) && !strings.Contains(o.out, "port lan has an MTU")
		})
	}
}

// Datagrams of random bytes from the peer's own address are counted by reason, every one,
// and the daemon goes on: the peer's session comes about afterwards.
func TestRandomDatagramsOnTheSyncLink(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	a := start(t, s.places[0])
	sock, err := s.places[1].Dial(context.Background(), "udp", "192.0.2.2:7400", "192.0.2.1:7400")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const n = 2000
	for i := range n {
		b := make([]byte, 1+rng.IntN(1400))
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		if head := []byte{'H', 'F', 1, byte(rng.UintN(5))}; i%2 == 0 {
			copy(b, head) // as if it were of this protocol: deeper into the decoder
		}
		if _, err := sock.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	var st api.Status
	eventually(t, "every datagram is counted", func() bool {
		o := a.tell(t, "status", "--json")
		strict(t, o.out, &st)
		sum := uint64(0)
		for _, c := range st.Peers[0].Rejected {
			sum += c
		}
		if sum > n {
			t.Fatalf("%d counted of %d: %v", sum, n, st.Peers[0].Rejected)
		}
		return sum == n
	})
	reasons := st.Peers[0].Rejected
	t.Logf("rejected: %v", reasons)
	if reasons["bad-magic"] == 0 || len(reasons) < 3 || st.Peers[0].Session != "none" {
		t.Errorf("peer %+v", st.Peers[0])
	}
	if err := sock.Close(); err != nil {
		t.Fatal(err)
	}
	b := start(t, s.places[1])
	eventually(t, "the real peer is ready", func() bool { return a.group().Ready && b.group().Ready && b.group().Active == "fw-a" })
	s.flow(t).answers(t)
	a.stop(t, unix.SIGTERM)
	if err := a.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
