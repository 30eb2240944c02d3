package conntrack

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/dataplane/packet"
)

// A trace is a connection as packets, one row each:
//
//	-> S    seq=0 win=64240 ws=7 sackok  => new SS    what it shows
//	<- SA   seq=0 ack=1 win=65535 ws=7   => pass SR
//	.. 5s                                             time passes
//	!! failover                                       the state moves to another table
//
// "->" is the side of the first packet. Flags: S SYN, A ACK, F FIN, R RST, P PSH, none
// "-". seq counts from the sender's initial sequence number, ack from the peer's; "seq=#n"
// is absolute. len is payload, sack the right edge of a block, in the peer's numbers.
//
// Verdicts: new, pass (tracked, refreshes), fwd (forwarded, no refresh), reopen, miss,
// end (miss, and the entry ended), and drop reasons. The state is that after the packet.
//
// Every trace runs with several pairs of initial sequence numbers, so that each of its
// rows also runs across the wrap of 32 bits and of 31 (C5), and with translation.
func trace(t *testing.T, rows string) {
	t.Helper()
	traceAs(t, proposalFor(packet.Tuple{}).Class, []bool{false, true}, rows)
}

// traceAs is trace for connections of a class.
func traceAs(t *testing.T, class Class, nats []bool, rows string) {
	t.Helper()
	for _, isn := range [][2]uint32{{1000, 5000}, {0xfffffff0, 0x7ffffff0}, {0xffffffff, 0xffffffff}, {0x7fffffff, 0xfffff000}, {0, 0}} {
		for _, nat := range nats {
			tr := newTracer(t, isn, nat)
			tr.proposal.Class = class
			for n, row := range strings.Split(strings.TrimSpace(rows), "\n") {
				tr.row = fmt.Sprintf("isn %#x %#x, nat %v, row %d: %s", isn[0], isn[1], nat, n+1, strings.TrimSpace(row))
				tr.step(strings.Fields(row))
				if t.Failed() {
					return
				}
			}
		}
	}
}

var shortStates = map[TCPState]string{
	StateNone: "NO", SynSent: "SS", SynRecv: "SR", Established: "ES", FinWait: "FW",
	CloseWait: "CW", LastAck: "LA", TimeWait: "TW", Close: "CL", SynSent2: "S2",
}

// tracer runs the rows of one trace.
type tracer struct {
	t        *testing.T
	table    *Table
	now      int64
	isn      [2]uint32
	proposal Proposal
	row      string
	result   Result
	former   *Table // the one before the last failover
	index    uint32 // of the connection there
}

func newTracer(t *testing.T, isn [2]uint32, nat bool) *tracer {
	tr := &tracer{t: t, isn: isn, now: int64(time.Hour)}
	tr.table = newTable(t, Config{Capacity: 1000, Node: 1})
	tr.proposal = proposalFor(tuple(packet.TCP, "10.0.0.2", 40000, "198.51.100.7", 80))
	if nat {
		tr.proposal.Reply = tuple(packet.TCP, "198.51.100.7", 80, "203.0.113.2", 50001)
	}
	return tr
}

func newTable(t testing.TB, cfg Config) *Table {
	t.Helper()
	cfg.Secret = Secret{1 << 63, 0x9e3779b97f4a7c15, 3, 5, 0xd6e8feb86659fd93, 11, 13, 0xa0761d6478bd642f}
	table, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

func tuple(proto packet.Proto, src string, sport uint16, dst string, dport uint16) packet.Tuple {
	return packet.Tuple{
		Src: packet.AddrFrom(netip.MustParseAddr(src)), Dst: packet.AddrFrom(netip.MustParseAddr(dst)),
		SrcPort: sport, DstPort: dport, Proto: proto,
	}
}

func proposalFor(original packet.Tuple) Proposal {
	return Proposal{Original: original, Reply: original.Reply(), Class: Class{Rule: 77, Ingress: 0, Egress: 1}}
}

// parsed makes what the decoder would find in a packet of so much payload.
func parsed(tuple packet.Tuple, payload int) packet.Parsed {
	p := packet.Parsed{
		Tuple: tuple, Kind: packet.KindIP, Version: 6,
		L3: 14, L4: 54, Payload: 74, End: uint32(74 + payload), TTL: 64,
	}
	if tuple.Src.Is4() {
		p.Version = 4
	}
	if tuple.Proto == packet.ICMP || tuple.Proto == packet.ICMPv6 {
		p.ICMPType, p.ICMPCode = uint8(tuple.DstPort>>8), uint8(tuple.DstPort)
	}
	return p
}

func (tr *tracer) fatalf(format string, args ...any) {
	tr.t.Helper()
	tr.t.Fatalf("%s\n\t%s", tr.row, fmt.Sprintf(format, args...))
}

func (tr *tracer) step(f []string) {
	tr.t.Helper()
	if len(f) == 0 || strings.HasPrefix(f[0], "#") {
		return
	}
	switch f[0] {
	case "..":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			tr.fatalf("%v", err)
		}
		tr.now += int64(d)
	case "!!":
		if len(f) > 1 && f[1] == "back" {
			tr.back()
		} else {
			tr.failover()
		}
	case "->", "<-":
		tr.packet(f)
	default:
		tr.fatalf("what is %q?", f[0])
	}
}

// packet sends one and checks what became of it.
func (tr *tracer) packet(f []string) {
	tr.t.Helper()
	tr.now += int64(10 * time.Millisecond)
	dir := Original
	if f[0] == "<-" {
		dir = Reply
	}
	p, rest := tr.segment(dir, f[1:])
	if len(rest) < 3 || rest[0] != "=>" {
		tr.fatalf("wants: => verdict state")
	}
	verdict, state := tr.send(&p), "NO"
	var v View
	if tr.table.View(tr.result.Index, tr.now, &v) {
		state = shortStates[v.TCP]
		if verdict == "pass" && v.Idle != 0 {
			verdict = "fwd"
		}
	}
	if verdict != rest[1] || state != rest[2] {
		tr.fatalf("got %s %s", verdict, state)
	}
}

// send runs a packet through the table as the pipeline does, with a rule that lets only
// the original side begin.
func (tr *tracer) send(p *packet.Parsed) string {
	keys, hits, r := []packet.Parsed{*p}, make([]Hit, 1), &tr.result
	tr.table.Lookup(keys, hits)
	switch tr.table.Track(p, &hits[0], tr.now, r) {
	case OutcomePass:
		if r.Change == ChangeReopened {
			return "reopen"
		}
		return "pass"
	case OutcomeDrop:
		return r.Reason.String()
	}
	if r.Change == ChangeEnded {
		return "end"
	}
	if p.Tuple != tr.proposal.Original {
		return "miss"
	}
	switch tr.table.Insert(&tr.proposal, p, tr.now, r) {
	case Inserted:
		return "new"
	case Refused:
		return r.Reason.String()
	}
	return "not inserted"
}

// segment reads the fields of a row up to "=>".
func (tr *tracer) segment(dir Direction, f []string) (p packet.Parsed, rest []string) {
	values, base := map[string]string{}, tr.isn[dir]
	flags := f[0]
	i := 1
	for ; i < len(f) && f[i] != "=>"; i++ {
		key, value, _ := strings.Cut(f[i], "=")
		values[key] = value
	}
	number := func(key string, base uint32) uint32 {
		text := values[key]
		if text == "" {
			return base
		}
		if raw, ok := strings.CutPrefix(text, "#"); ok {
			text, base = raw, 0
		}
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			tr.fatalf("%v", err)
		}
		return base + uint32(n)
	}
	side := tr.proposal.Original
	if dir == Reply {
		side = tr.proposal.Reply
	}
	p = parsed(side, int(number("len", 0)))
	for _, c := range flags {
		p.TCPFlags |= map[rune]packet.TCPFlags{
			'S': packet.FlagSYN, 'A': packet.FlagACK, 'F': packet.FlagFIN, 'R': packet.FlagRST, 'P': packet.FlagPSH,
		}[c]
	}
	p.Seq = number("seq", base)
	if p.TCPFlags&packet.FlagACK != 0 {
		p.Ack = number("ack", tr.isn[dir^1])
	}
	p.Window, p.SACKRight = 65535, p.Ack
	if _, ok := values["win"]; ok {
		p.Window = uint16(number("win", 0))
	}
	if _, ok := values["ws"]; ok {
		p.WScale, p.TCPOptions = uint8(number("ws", 0)), p.TCPOptions|packet.HasWScale
	}
	if _, ok := values["sackok"]; ok {
		p.TCPOptions |= packet.HasSACKPermitted
	}
	if _, ok := values["sack"]; ok {
		p.TCPOptions |= packet.HasSACK
		if right := number("sack", tr.isn[dir^1]); after(right, p.Ack) {
			p.SACKRight = right
		}
	}
	return p, f[i:]
}

// failover moves the connection to a second table, as replication would, and goes on there.
func (tr *tracer) failover() {
	tr.t.Helper()
	var s State
	if !tr.table.Export(tr.result.Index, tr.now, &s) {
		tr.fatalf("there is nothing to fail over")
	}
	tr.former, tr.index = tr.table, tr.result.Index
	tr.table = newTable(tr.t, Config{Capacity: 1000, Node: 2})
	var a Applied
	if got := tr.table.Apply(&s, tr.now, &a); got != AppliedNew {
		tr.fatalf("apply: %v of %+v", got, s)
	}
	tr.result.Index = a.Index
	var again State
	tr.table.Export(a.Index, tr.now, &again)
	again.Index = s.Index
	if again != s {
		tr.fatalf("exported form is\n\t%+v\n\tand after the way through another table\n\t%+v", s, again)
	}
}

// back moves the connection back to the table where it was before the last failover, whose node has
// given the role up meanwhile, and has heard what is due to be told.
func (tr *tracer) back() {
	tr.t.Helper()
	var was, is, s State
	tr.former.Export(tr.index, tr.now, &was)
	for next := tr.former.RoundEdges(0, 3); next != 0; {
		next = tr.former.RoundEdges(next, 3)
	}
	if tr.former.Export(tr.index, tr.now, &is); is != was {
		tr.fatalf("with its edges rounded it is exported as\n\t%+v\nand not as before\n\t%+v", is, was)
	}
	tr.table.Export(tr.result.Index, tr.now, &s)
	var a Applied
	if got := tr.former.Apply(&s, tr.now, &a); got != AppliedMerged {
		tr.fatalf("apply: %v of %+v", got, s)
	}
	tr.table, tr.result.Index = tr.former, tr.index
}

// shake is the handshake that most traces begin with: both sides offer a scale of 7, so
// that a window field of 100 means 12800 bytes.
const shake = `
	-> S   seq=0           win=64240 ws=7 sackok  => new  SS
	<- SA  seq=0   ack=1   win=65160 ws=7 sackok  => pass SR
	-> A   seq=1   ack=1   win=502                => pass ES
`

// shakePlain is the same without options.
const shakePlain = `
	-> S   seq=0           win=10000  => new  SS
	<- SA  seq=0   ack=1   win=10000  => pass SR
	-> A   seq=1   ack=1   win=10000  => pass ES
`

// closed is shake and an orderly close by the client.
const closed = shake + `
	-> FA  seq=1   ack=1   => pass FW
	<- A   seq=1   ack=2   => pass CW
	<- FA  seq=1   ack=2   => pass LA
	-> A   seq=2   ack=2   => pass TW
`

// run steps through rows with the numbers that the tracer has now.
func (tr *tracer) run(rows string) {
	tr.t.Helper()
	for _, row := range strings.Split(rows, "\n") {
		tr.row = row
		tr.step(strings.Fields(row))
	}
}

func (tr *tracer) view() (v View) {
	tr.t.Helper()
	if !tr.table.View(tr.result.Index, tr.now, &v) {
		tr.fatalf("no connection")
	}
	return v
}
