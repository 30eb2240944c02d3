package dataplane

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/rules/limit"
	"holdfast/rules/table"
	"holdfast/sync/wire"
)

// overloadPolicy blocks who is in a table, and puts into it who has more than 2 connections to
// port 80 or begins more than 2 in 10 s to port 25, where its handshakes prove who it is.
const overloadPolicy = `
[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/24"]
[tables.brutes]
timeout = "1m"
max = 2
[[rules]]
id = "no-brutes"
action = "block"
from = "<brutes>"
[[rules]]
id = "web"
action = "pass"
in = "lan"
proto = ["tcp", "udp"]
to_port = 80
limit = { connections = 2, mask4 = 32 }
overload = "brutes"
flush = "rule"
[[rules]]
id = "mail"
action = "pass"
in = "lan"
proto = ["tcp", "udp"]
to_port = 25
limit = { rate = "2/10s" }
overload = "brutes"
flush = "all"
[[rules]]
id = "loosely"
action = "match"
to_port = [81, 82, 83]
proto = "tcp"
state = { mode = "sloppy" }
[[rules]]
id = "liberally"
action = "match"
to_port = 82
proto = "tcp"
state = { mode = "liberal" }
[[rules]]
id = "strictly"
action = "match"
to_port = 83
proto = "tcp"
state = { mode = "strict", pick-up = true }
[[rules]]
id = "loose"
action = "pass"
in = "lan"
proto = "tcp"
to_port = [81, 82, 83]
limit = { connections = 2 }
overload = "brutes"
flush = "all"
[[rules]]
id = "free"
action = "pass"
in = "lan"
`

// overloading gives the rig the policy, with some words of it replaced.
func (r *rig) overloading(replace ...string) {
	r.t.Helper()
	r.limited(1000)
	policy, err := config.ParsePolicy("overload", []byte(strings.NewReplacer(replace...).Replace(overloadPolicy)))
	if err != nil {
		r.t.Fatal(err)
	}
	snapshot := *r.snapshot.Load()
	if snapshot.Rules, err = rules.Compile(policy); err != nil {
		r.t.Fatal(err)
	}
	plan := rules.Limits(policy)
	if snapshot.Limits, err = limit.New(&plan, 1000); err != nil {
		r.t.Fatal(err)
	}
	if snapshot.Tables, err = table.New(rules.Tables(policy), nil); err != nil {
		r.t.Fatal(err)
	}
	snapshot.Hits = NewRuleHits(1, snapshot.Rules)
	r.snapshot.Store(&snapshot)
	r.w.snapshot = &snapshot
}

// brutes lists what was put into the table.
func (r *rig) brutes() (all []string) {
	for e := range r.w.snapshot.Tables.ByName("brutes").Entries() {
		if e.Cause.Kind == table.Overload {
			all = append(all, e.String())
		}
	}
	return all
}

// dials opens connections to a port and checks what becomes of each.
func (r *rig) dials(from, dport uint16, want ...drop.Reason) {
	r.t.Helper()
	for i, w := range want {
		if _, why := r.dial(from+uint16(i), dport); why != w {
			r.t.Errorf("connection %d to port %d: %v, want %v", i+1, dport, why, w)
		}
	}
}

// TestO6_OverloadBlocksTheSource: who completes one handshake more than its rule lets it is in
// the table from that packet on, its orders to flush say what its rule says, and when the
// entry has left it may begin again.
func TestO6_OverloadBlocksTheSource(t *testing.T) {
	for _, row := range []struct {
		dport   uint16
		refused drop.Reason
		rule    string
		flushes func(r *rig) uint32
	}{
		{80, drop.SourceLimit, "web", func(*rig) uint32 { return rules.Number("web") }},
		{25, drop.SourceRate, "mail", func(*rig) uint32 { return 0 }},
	} {
		t.Run(row.rule, func(t *testing.T) {
			r := newRig(t)
			r.overloading()
			brutes := r.w.snapshot.Tables.ByName("brutes")
			r.dials(1, 8080, drop.Pass)
			r.dials(10, row.dport, drop.Pass, drop.Pass)
			if got := r.brutes(); len(got) != 0 {
				t.Fatalf("%v within the limit", got)
			}
			r.dials(20, row.dport, row.refused, drop.RuleBlock)
			r.dials(30, 8080, drop.RuleBlock)
			e, _ := brutes.Find(client.Netip())
			if e.String() != "10.0.0.10" || e.Cause != (table.Cause{Kind: table.Overload, Rule: rules.Number(row.rule)}) || e.Expires != r.w.now+60e9 {
				t.Errorf("the entry is %+v", e)
			}
			if told := r.toldOfTables(); len(told) != 1 || told[0].Prefix != e.Prefix || told[0].Table != "brutes" || told[0].Left != 60e9 || told[0].Cause != e.Cause {
				t.Errorf("the peers are told %+v", told)
			}
			orders := r.w.config.Overloads.Take()
			want := Flush{Table: brutes, Source: netip.MustParsePrefix("10.0.0.10/32"), Rule: row.flushes(r)}
			if _, ok := orders[want]; !ok || len(orders) != 1 {
				t.Errorf("orders %v, want %v", orders, want)
			}
			if n := r.w.config.Overloads.Taken(); n != 1 {
				t.Errorf("%d were taken in", n)
			}
			if n := r.w.snapshot.Table.Len(); n != 3 {
				t.Errorf("%d connections: the worker ends only the one that was too many", n)
			}
			r.w.now += 60e9
			brutes.Expire(r.w.now)
			r.dials(40, 8080, drop.Pass)
		})
	}
}

// toldOfTables returns the changes of tables that the worker's lane has told.
func (r *rig) toldOfTables() (all []table.Change) {
	r.lane.Flush()
	for n := uint64(1); n <= r.lane.Sent(); n++ {
		batch, _ := r.lane.Batch(n, nil)
		_, rest, err := wire.DecodeHeader(batch)
		if err != nil {
			r.t.Fatal(err)
		}
		var f wire.Frame
		for frames := (wire.Frames{Rest: rest}); frames.Next(&f); {
			var c wire.TableChange
			if f.Type == wire.TypeTableChange {
				if err := c.Decode(&f); err != nil {
					r.t.Fatal(err)
				}
				all = append(all, c.Change)
			}
		}
	}
	return all
}

// TestO6_ForgedSourceIsNeverBlocked: whatever is forged in the name of the client, who has all
// that it may, it is never put into the table, and a rule's limit holds all the same.
func TestO6_ForgedSourceIsNeverBlocked(t *testing.T) {
	r := newRig(t)
	r.overloading("max = 2", "max = 100")
	r.dials(1, 80, drop.Pass, drop.Pass)
	r.dials(11, 25, drop.Pass, drop.Pass)
	forged := func(dport, sport uint16, flags string, ack uint32) []out {
		return r.feed(lan, fromClient(packetIn{sport: sport, dport: dport, flags: flags, seq: 100, ack: ack}).frame(t))
	}
	for i := range uint16(200) {
		for _, dport := range []uint16{80, 25} {
			forged(dport, 1000+i, "S", 0)
		}
	}
	// A handshake needs a number that the server sends to somebody else. Guesses do not do.
	for _, dport := range []uint16{80, 25} {
		syn := forged(dport, 2000, "S", 0)
		if len(syn) != 1 {
			t.Fatalf("a SYN died: %v", r.dropped(lan))
		}
		var p packet.Parsed
		packet.Decode(syn[0].frame, &p)
		r.feed(wan, fromServer(packetIn{sport: dport, dport: p.Tuple.SrcPort, flags: "SA", seq: 500, ack: 101}).frame(t))
		for _, guess := range []uint32{0, 1, 500, 502, 1 << 30, 1<<31 + 400, 1<<32 - 1} {
			forged(dport, 2000, "A", guess)
			r.feed(lan, fromClient(packetIn{sport: 2000, dport: dport, flags: "A", seq: 101, ack: guess}).frame(t))
		}
	}
	// A datagram proves nothing, answered or not; nor does an ACK from nowhere.
	for i := range uint16(50) {
		r.query(3000+i, 80)
		r.query(3000+i, 25)
		forged(80, 4000+i, "A", 77)
		forged(83, 4000+i, "A", 77)
	}
	r.dropped(lan)
	// Nor does a handshake whose numbers nobody judges, picked up or not.
	refused := 0
	for _, dport := range []uint16{81, 82} {
		for i := range uint16(4) {
			if _, why := r.dial(5000+i, dport); why == drop.SourceLimit {
				refused++
			}
		}
	}
	if refused == 0 {
		t.Error("no connection of a loose mode was one too many")
	}
	if got := r.brutes(); len(got) != 0 {
		t.Errorf("%v was put into the table", got)
	}
	if orders := r.w.config.Overloads.Take(); len(orders) != 0 {
		t.Errorf("orders %v", orders)
	}
	if why := r.query(6000, 53); why != drop.Pass {
		t.Errorf("the client is blocked: %v", why)
	}
}

// TestO6_OverloadTakesInWhatCountsAsOne: the entry is what the limit tells sources apart by,
// and what the table keeps out stays out, whether the policy says so or a command.
func TestO6_OverloadTakesInWhatCountsAsOne(t *testing.T) {
	for _, row := range []struct {
		name    string
		replace []string
		command string // an entry, excluding
		want    []string
		after   drop.Reason // what becomes of the next connection
		orders  int
	}{
		{"an address", nil, "", []string{"10.0.0.10"}, drop.RuleBlock, 1},
		{"a network", []string{"mask4 = 32", "mask4 = 24"}, "", []string{"10.0.0.0/24"}, drop.RuleBlock, 1},
		{"kept out by the policy", []string{"max = 2", `addresses = "!10.0.0.0/28"`}, "", nil, drop.SourceLimit, 0},
		{"kept out by a command", nil, "10.0.0.10/32", nil, drop.SourceLimit, 0},
		{"kept out of its network", []string{"mask4 = 32", "mask4 = 24", "max = 2", `addresses = "!10.0.0.10"`}, "", []string{"10.0.0.0/24"}, drop.SourceLimit, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			r.overloading(row.replace...)
			if row.command != "" {
				r.w.snapshot.Tables.ByName("brutes").AddPrefix(netip.MustParsePrefix(row.command), table.Exclude, 1, table.Forever, table.Cause{Kind: table.Command})
			}
			r.dials(1, 80, drop.Pass, drop.Pass, drop.SourceLimit)
			r.dials(10, 80, row.after)
			if got := r.brutes(); !slices.Equal(got, row.want) {
				t.Errorf("the table holds %v, want %v", got, row.want)
			}
			if n := len(r.w.config.Overloads.Take()); n != row.orders {
				t.Errorf("%d orders, want %d", n, row.orders)
			}
		})
	}
}

// TestO6_FullTableIsCounted: who finds no room is not blocked, the connection that was too
// many ends all the same, and both counts say so.
func TestO6_FullTableIsCounted(t *testing.T) {
	r := newRig(t)
	r.overloading()
	brutes := r.w.snapshot.Tables.ByName("brutes")
	for i := range byte(2) {
		a := packet.AddrFrom(netip.AddrFrom4([4]byte{192, 0, 2, i}))
		brutes.Add(&a, 1, table.Forever, table.Cause{Kind: table.Command})
	}
	r.dials(1, 80, drop.Pass, drop.Pass, drop.SourceLimit, drop.SourceLimit)
	if r.w.config.Overloads.NoRoom() != 2 || r.w.config.Overloads.Taken() != 0 || brutes.Refused() != 2 {
		t.Errorf("%d found no room, %d were taken in, the table has refused %d", r.w.config.Overloads.NoRoom(), r.w.config.Overloads.Taken(), brutes.Refused())
	}
	if n := len(r.w.config.Overloads.Take()); n != 0 {
		t.Errorf("%d orders for sources that are not in the table", n)
	}
}

// TestO6_FlushOrdersAreBounded: a source is one order however often it comes, and what finds
// no room is counted.
func TestO6_FlushOrdersAreBounded(t *testing.T) {
	o := NewOverloads()
	for round := range 3 {
		for i := range uint32(flushesMax + 10) {
			o.order(Flush{Source: netip.MustParsePrefix("10.0.0.0/8"), Rule: i})
		}
		if n := o.Shed(); n != uint64(10*(round+1)) {
			t.Errorf("round %d: %d shed", round, n)
		}
	}
	select {
	case <-o.Ready():
	default:
		t.Error("nobody is told")
	}
	if n := len(o.Take()); n != flushesMax {
		t.Errorf("%d orders", n)
	}
	if n := len(o.Take()); n != 0 {
		t.Errorf("%d orders twice", n)
	}
}
