package oracle

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

var seedFlag = flag.Uint64("seed", 0, "run the oracle with this seed instead of the committed ones")

// field is something that is compared.
type field uint8

const (
	fieldVerdict field = 1 << iota
	fieldExists
	fieldOrientation
	fieldState
	fieldRefresh
	fieldTimeout
	fieldReplied
	fieldAssured
)

var fieldNames = []string{"verdict", "exists", "orientation", "state", "refresh", "timeout", "replied", "assured"}

func (f field) String() string {
	var names []string
	for i, name := range fieldNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "+")
}

// comparison is one packet and what the two made of it.
type comparison struct {
	seg     *segment
	proto   packet.Proto
	mixed   bool
	before  observation // ours, before the packet
	kernel  observation
	ours    observation
	differs field
	past    *past
}

// dir is the packet's direction, seen from the entry that was there before it.
func (c *comparison) dir() conntrack.Direction {
	if (c.seg.from == wan) != c.before.reversed {
		return conntrack.Reply
	}
	return conntrack.Original
}

// compare fills in differs.
func (c *comparison) compare() {
	k, o := &c.kernel, &c.ours
	set := func(f field, different bool) {
		if different {
			c.differs |= f
		}
	}
	set(fieldVerdict, k.passed != o.passed)
	set(fieldExists, k.exists != o.exists)
	if !k.exists || !o.exists {
		return
	}
	set(fieldOrientation, k.reversed != o.reversed)
	set(fieldState, k.state != o.state)
	set(fieldRefresh, k.refreshed != o.refreshed)
	if k.refreshed && o.refreshed {
		set(fieldTimeout, k.timeout > o.timeout || k.timeout < o.timeout-1)
	}
	// What the kernel never takes back, once a row has allowed it.
	used := c.past.used
	set(fieldReplied, k.replied != o.replied && !(k.replied && used["challenge-is-no-reply"] > 0))
	set(fieldAssured, k.assured != o.assured && !(k.assured && used["new-life-is-not-assured"] > 0))
}

func (o *observation) String() string {
	verdict := "drop"
	if o.passed {
		verdict = "pass"
	}
	if !o.exists {
		return verdict + " no entry"
	}
	s := verdict + " " + o.state.String()
	if o.reversed {
		s += " reversed"
	}
	if o.refreshed {
		s += fmt.Sprintf(" timeout=%d", o.timeout)
	}
	if o.replied {
		s += " replied"
	}
	if o.assured {
		s += " assured"
	}
	return s
}

// bench runs sequences through both.
type bench struct {
	kernel  *kernel
	subject *subject
	flows   uint32
	packets int
	frame   []byte
	cover   coverage
	verbose *strings.Builder // a trace is written here where not nil
}

// coverage counts what was seen before and of a packet.
type coverage struct {
	cells   [2][6][10]int
	reasons map[string]int
}

// nextFlow returns ends that were never used.
func (b *bench) nextFlow(proto packet.Proto, mixed bool) flow {
	b.flows++
	n := b.flows
	f := flow{
		client: [4]byte{10, byte(n >> 16 & 0x7f), byte(n >> 8), byte(n)}, server: [4]byte{198, 18, 0, 1},
		clientPort: 40000 + uint16(n>>23), serverPort: 80, proto: proto,
	}
	if mixed { // the upper half of 10/8, as in the kernel's rules
		f.client[1] |= 0x80
	}
	return f
}

// run sends a sequence and returns the first comparison that no row allows, or nil.
func (b *bench) run(proto packet.Proto, mixed bool, script []segment, count bool) (*comparison, error) {
	f := b.nextFlow(proto, mixed)
	defer b.subject.end()
	p := &past{used: map[string]int{}}
	var before observation
	for i := range script {
		c := &comparison{seg: &script[i], proto: proto, mixed: mixed, before: before, past: p}
		b.packets++
		b.frame = c.seg.frame(b.frame[:0], &f, uint16(b.packets))
		var err error
		if c.kernel, err = b.kernel.send(b.frame, c.seg.from, &f); err != nil {
			return nil, fmt.Errorf("%v: %w", c.seg, err)
		}
		c.ours = b.subject.send(b.frame, c.seg.from, mixed)
		c.compare()
		if count {
			b.count(c)
		}
		var row *allowed
		if c.differs != 0 || c.hides() {
			row = b.allowedBy(c, count)
		}
		b.log(c, row)
		before = c.ours
		p.note(c)
		if row == nil {
			if c.differs != 0 {
				return c, b.kernel.forget(&f)
			}
			continue
		}
		p.used[row.name]++
		switch row.then {
		case finish:
			return nil, b.kernel.forget(&f)
		case adopt:
			if err := b.kernel.tell(&f, c.ours.state); err != nil {
				return nil, err
			}
		}
	}
	return nil, b.kernel.forget(&f)
}

// hides reports whether the packet is one after which the two may differ in what cannot
// be seen yet, so that rows are tried although nothing differs.
func (c *comparison) hides() bool {
	if !c.before.exists || c.proto != packet.TCP {
		return false
	}
	other := c.seg.seq != c.past.first[c.dir()]
	return c.ours.reopened || c.seg.sack != nil ||
		kindOf(c.seg.flags) == kindSYNACK && (c.before.state == sr || c.before.state == s2) && other ||
		c.step(orig, kindSYN, s2) || c.step(repl, kindSYN, s2) || c.step(repl, kindACK, la) && c.past.recent
}

func (b *bench) allowedBy(c *comparison, count bool) *allowed {
	for _, row := range differences {
		if row.match(c) {
			if count {
				row.used++
			}
			return row
		}
	}
	return nil
}

// log writes one row of a trace.
func (b *bench) log(c *comparison, row *allowed) {
	if b.verbose == nil {
		return
	}
	fmt.Fprintf(b.verbose, "\t%v\n\t\t=> %v [%v]\n", c.seg, &c.ours, c.ours.reason)
	switch {
	case row != nil:
		fmt.Fprintf(b.verbose, "\t\tkernel: %v (allowed: %s)\n", &c.kernel, row.name)
	case c.differs != 0:
		fmt.Fprintf(b.verbose, "\t\tkernel: %v  <-- %v\n", &c.kernel, c.differs)
	}
}

func (b *bench) count(c *comparison) {
	if c.proto == packet.TCP {
		b.cover.cells[c.dir()][kindOf(c.seg.flags)][c.before.state]++
	}
	if !c.ours.passed {
		b.cover.reasons[c.ours.reason.String()]++
	}
}

// The kinds of segments, in the order of BEHAVIOUR 1.1.
const (
	kindSYN = iota
	kindSYNACK
	kindFIN
	kindACK
	kindRST
	kindNone
)

var kindNames = [6]string{"SYN", "SYN/ACK", "FIN", "ACK", "RST", "NONE"}

// kindOf classes flags by the precedence of BEHAVIOUR 1.1.
func kindOf(f packet.TCPFlags) int {
	switch {
	case f&rst != 0:
		return kindRST
	case f&(syn|ack) == syn|ack:
		return kindSYNACK
	case f&syn != 0:
		return kindSYN
	case f&fin != 0:
		return kindFIN
	case f&ack != 0:
		return kindACK
	}
	return kindNone
}

// signature groups comparisons that have the same cause, as far as can be told.
func (c *comparison) signature() string {
	return fmt.Sprintf("%v: %v %s in %v: kernel %v, ours %v [%v]", c.differs, c.dir(), kindNames[kindOf(c.seg.flags)], c.before.state, &c.kernel, &c.ours, c.ours.reason)
}

// shrink leaves out packets for as long as the last still differs in the same way.
func (b *bench) shrink(proto packet.Proto, mixed bool, script []segment, want string) []segment {
	for size := max(len(script)/2, 1); size > 0; size /= 2 {
		for at := 0; at+size <= len(script); {
			less := append(append([]segment{}, script[:at]...), script[at+size:]...)
			if c, err := b.run(proto, mixed, less, false); err == nil && c != nil && c.signature() == want {
				script = less
				continue
			}
			at += size
		}
	}
	return script
}

// The committed runs. The gate takes the first; a soak takes packets until the total.
const (
	oracleSeed  = 1
	gatePackets = 60_000
	soakPackets = 1_000_000

	// A soak must see every reachable cell of the state table so often (BEHAVIOUR 1.1).
	soakCell = 100

	failuresMax = 12 // then the run ends: the traces are long
)

// TestREL22_Oracle is the differential test against nf_conntrack; see the package comment.
func TestREL22_Oracle(t *testing.T) {
	b := &bench{kernel: newKernel(t), subject: newSubject(t, 100_000), cover: coverage{reasons: map[string]int{}}}
	seed, total, soak := uint64(oracleSeed), gatePackets, os.Getenv("HOLDFAST_SOAK") != ""
	if soak {
		total = soakPackets
	}
	if *seedFlag != 0 {
		seed = *seedFlag
	}
	start, n := time.Now(), uint64(0)
	for failures := 0; b.packets < total && failures < failuresMax; n++ {
		proto, mixed, script := generate(seed, n)
		c, err := b.run(proto, mixed, script, true)
		if err != nil {
			t.Fatalf("seed %d, sequence %d: %v", seed, n, err)
		}
		if c != nil {
			t.Error(b.explain(c, seed, n, script))
			failures++
		}
	}
	t.Logf("seed %d: %d sequences, %d packets, %.0f packets/s", seed, n, b.packets, float64(b.packets)/time.Since(start).Seconds())
	if t.Failed() {
		return
	}
	need := 1
	if soak {
		need = soakCell
	}
	b.report(t, need, soak)
}

// explain reports a difference with the shortest trace that still shows it.
func (b *bench) explain(c *comparison, seed, n uint64, script []segment) string {
	want := c.signature()
	short := b.shrink(c.proto, c.mixed, script, want)
	b.verbose = &strings.Builder{}
	defer func() { b.verbose = nil }()
	if _, err := b.run(c.proto, c.mixed, short, false); err != nil {
		return fmt.Sprintf("seed %d, sequence %d: %s\n\t%v", seed, n, want, err)
	}
	return fmt.Sprintf("seed %d, sequence %d: %s\n%s", seed, n, want, b.verbose)
}

// unreached are the tracker's reasons that cannot come up here.
var unreached = map[string]string{
	"table-full":  "the oracle's table never fills; package conntrack tests its limit",
	"tuple-clash": "there is no translation here; the pipeline names it after proposals ran out",

	"sctp-no-connection": sctpUncompared, "sctp-tag-invalid": sctpUncompared, "sctp-state-invalid": sctpUncompared,

	"icmp-error-type": errorsElsewhere, "icmp-bad-checksum": errorsElsewhere, "icmp-error-quote": errorsElsewhere,
	"icmp-error-mismatched": errorsElsewhere, "icmp-error-sequence": errorsElsewhere,
}

const errorsElsewhere = "errors that quote a packet of a connection are compared through the path (dataplane)"

const sctpUncompared = "SCTP is not compared with the kernel; package conntrack tests it by traces"

// report prints the coverage and fails where it has gaps. need is how often each cell must
// have been seen.
func (b *bench) report(t *testing.T, need int, soak bool) {
	var text strings.Builder
	text.WriteString("packets by direction, kind and state before:\n")
	fmt.Fprintf(&text, "\t%-17s", "")
	for state := range conntrack.TCPState(10) {
		fmt.Fprintf(&text, "%12v", state)
	}
	for dir := range conntrack.Direction(2) {
		for kind := range kindNames {
			fmt.Fprintf(&text, "\n\t%-9v%-8s", dir, kindNames[kind])
			for state := range conntrack.TCPState(10) {
				n := b.cover.cells[dir][kind][state]
				fmt.Fprintf(&text, "%12d", n)
				if n < need {
					t.Errorf("%v %s in %v came %d times, want %d", dir, kindNames[kind], state, n, need)
				}
			}
		}
	}
	text.WriteString("\nby reason:")
	for _, reason := range drop.Reasons() {
		if reason < drop.TCPNoConnection || reason > drop.TupleClash {
			continue
		}
		n, why := b.cover.reasons[reason.String()], unreached[reason.String()]
		fmt.Fprintf(&text, " %v %d", reason, n)
		switch {
		case why != "":
			fmt.Fprintf(&text, " (%s)", why)
		case n == 0:
			t.Errorf("the drop reason %v never came", reason)
		}
	}
	text.WriteString("\nallowed differences, by use:")
	for _, row := range differences {
		fmt.Fprintf(&text, "\n\t%7d  %-32s %s", row.used, row.name, row.decision)
		if soak && *seedFlag == 0 && row.used == 0 {
			t.Errorf("the allowed difference %s never came: remove its row", row.name)
		}
	}
	t.Log(text.String())
}
