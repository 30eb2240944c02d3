package simulator

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/conntrack"
	"holdfast/sync/cluster"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// A recording is what two nodes of a released version of the language have said to each
// other, and the table that the second then had. It is made once, when a version is new,
// and never again: `go test ./sync/simulator -run Recorded -record v2`.
var record = flag.String("record", "", "record the stream of a new version of the language under this name")

const recordedFolder = "../wire/testdata/recorded/"

// recordedSchedule is what is recorded: connections of all kinds come, change, end and are
// killed, over a network that loses, repeats and reorders; the second node is started again
// in the middle, when the first one's lanes no longer keep all that they have told.
func recordedSchedule() Schedule {
	s := Schedule{Seed: 8, Shape: Shape{
		Nodes: 2, Workers: 2, Flows: 8, End: 1500 * ms, Backlog: 8,
		Timing: cluster.Timing{Heartbeat: 40 * ms, Lease: 100 * ms, DeadAfter: 150 * ms, AloneAfter: 800 * ms},
	}}
	for flow := range 8 {
		at := 200*ms + int64(flow)*10*ms
		s.add(Step{At: at, Action: Open, Flow: flow})
		for i := range int64(5) {
			s.add(Step{At: at + 30*ms + i*250*ms, Action: Exchange, Flow: flow, Amount: 4 + 20*(flow%2)})
		}
	}
	s.add(Step{At: 700 * ms, Action: KillOne, Flow: 2})
	s.add(Step{At: 900 * ms, Action: Open, Flow: 2})
	s.add(Step{At: 1000 * ms, Action: KillRule, Amount: 2})
	s.add(Step{At: 1100 * ms, Action: Open, Flow: 3})
	s.add(Step{At: 1150 * ms, Action: Open, Flow: 5})
	s.add(Step{At: 1200 * ms, Action: Close, Flow: 4})
	s.add(Step{At: 450 * ms, Until: 500 * ms, Action: Crash, Node: 1})
	for i, a := range []Action{Lose, Duplicate, Reorder} {
		s.add(Step{At: 550 * ms, Until: 1300 * ms, Action: a, Node: 0, Peer: 1, Amount: 60 - 20*i})
	}
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return int(min(max(a.At-b.At, -1), 1)) })
	return s
}

// recordedLife is which life of the second node is told everything.
const recordedLife = 2

// newRecording runs the schedule and returns what was said, and the second node's table.
func newRecording(t *testing.T) (said []batchSent, table string) {
	t.Helper()
	w := newWorld(recordedSchedule())
	defer w.end()
	w.tap = &tap{opens: map[uint32]*seal.Recorded{}, hear: func(b batchSent) { said = append(said, b) }}
	r, err := w.play()
	if err != nil || r.Err != nil || !r.Compared || r.Failovers != 0 || w.nodes[1].life != recordedLife {
		t.Fatalf("%v %+v", err, r)
	}
	return said, tableText(t, w.nodes[1])
}

// tableText is the exported form of a node's table in words, a line for each connection.
func tableText(t *testing.T, n *node) string {
	t.Helper()
	var lines []string
	var s conntrack.State
	for i := range n.table.High() {
		if !n.table.Export(i, n.local(), &s) {
			continue
		}
		s.Index, s.Idle = 0, 0
		var f wire.Frame
		frames := wire.Frames{Rest: wire.AppendInsert(nil, &s)}
		frames.Next(&f)
		fields, err := wire.Words(&f)
		if err != nil {
			t.Fatal(err)
		}
		line := ""
		for _, field := range fields[1:] {
			line += fmt.Sprintf(" %s=%v", field.Name, field.Value)
		}
		lines = append(lines, line[1:])
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// write writes a recording.
func write(t *testing.T, name string, said []batchSent, table string) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("# What two nodes told each other, in plaintext batches: virtual ns, sender > receiver, life of\n" +
		"# node 2, lane of the session, batch. Never to be made anew: it is what a released version says.\n")
	for _, s := range said {
		fmt.Fprintf(&b, "%d %d>%d %d %d %x\n", s.at, s.from, s.to, s.lives[2-s.from], s.lane, s.batch)
	}
	for file, text := range map[string]string{name + ".batches": b.String(), name + ".table": table} {
		if err := os.WriteFile(recordedFolder+file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// read reads a recording.
func read(t *testing.T, name string) (said []batchSent, table string) {
	t.Helper()
	f, err := os.Open(recordedFolder + name + ".batches")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		var s batchSent
		var text string
		if _, err := fmt.Sscanf(lines.Text(), "%d %d>%d %d %d %s", &s.at, &s.from, &s.to, &s.lives[1], &s.lane, &text); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		if s.batch, err = hex.DecodeString(text); err != nil {
			t.Fatal(err)
		}
		said = append(said, s)
	}
	b, err := os.ReadFile(recordedFolder + name + ".table")
	if err != nil || lines.Err() != nil {
		t.Fatal(err, lines.Err())
	}
	return said, string(b)
}

// TestP6_RecordedNodeOfAnEarlierVersionJoins lets a node that says, byte for byte, what
// version 1 said meet a node of today: it comes to hold the recorded table, and is ready.
func TestP6_RecordedNodeOfAnEarlierVersionJoins(t *testing.T) {
	if *record != "" {
		said, table := newRecording(t)
		write(t, *record, said, table)
	}
	for _, name := range []string{"v1"} {
		said, want := read(t, name)
		said = slices.DeleteFunc(said, func(s batchSent) bool { return s.from != 1 || s.lives[1] != recordedLife })
		joins(t, name, said, want)
		for i := range said {
			said[i].batch = withUnknown(said[i].batch)
		}
		joins(t, name+" with messages of types that nobody knows", said, want)
	}
}

// withUnknown puts a message of a made-up type before and after those of a batch.
func withUnknown(batch []byte) []byte {
	unknown := []byte{99, 0xff, 0, 5, 'w', 'h', 'a', 't', '?'}
	return slices.Concat(batch[:wire.BatchHeaderSize], unknown, batch[wire.BatchHeaderSize:], unknown)
}

// joins lets a puppet that says it meet a node of today, which has to come to hold a table.
func joins(t *testing.T, name string, said []batchSent, want string) {
	t.Helper()
	w := newWorld(recordedSchedule())
	defer w.end()
	p := newPuppet(t, w, said)
	for _, s := range said {
		w.until(s.at + handshakeTime)
		p.say(s)
	}
	w.until(w.now + 20*ms)
	n := w.nodes[1]
	if got := tableText(t, n); got != want {
		t.Errorf("%s: the table is\n%s\nwant\n%s", name, got, want)
	}
	status := n.cluster.Status(n.local()).Peers[0]
	if ready, why := n.cluster.Ready(); !ready || status.Language != 1 || w.err != nil {
		t.Errorf("%s: ready %v (%s), language %d, %v", name, ready, why, status.Language, w.err)
	}
	for why, count := range status.Rejected {
		if why != "malformed" || count > beforeHello(said) {
			t.Errorf("%s: %d times something was refused: %s", name, count, why)
		}
	}
}

// beforeHello returns how many batches were told before the first hello: they are refused
// and asked for again.
func beforeHello(said []batchSent) (n uint64) {
	for _, s := range said {
		h, rest, err := wire.DecodeHeader(s.batch)
		if err == nil && h.Kind == wire.Control && has(rest, wire.TypeHello) {
			return n
		}
		if h.Kind == wire.Stream {
			n++
		}
	}
	return n
}

// has reports whether a message of a type is among some.
func has(messages []byte, t wire.Type) bool {
	var f wire.Frame
	for frames := (wire.Frames{Rest: messages}); frames.Next(&f); {
		if f.Type == t {
			return true
		}
	}
	return false
}

// until takes the world's events up to a time. Nothing is asked of the law: one of the
// nodes is none.
func (w *World) until(t int64) {
	for len(w.events) > 0 && w.events[0].at <= t {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = max(w.now, t)
}

// handshakeTime is what the replay lags behind the recording, so that there is a session.
const handshakeTime = 30 * ms

// puppet is a node that says what was recorded: only its sessions are of today.
type puppet struct {
	t    *testing.T
	w    *World
	peer *seal.Peer
}

// newPuppet makes node 1 of a world a puppet, starts node 2 and gives both a session.
func newPuppet(t *testing.T, w *World, said []batchSent) *puppet {
	t.Helper()
	var boot uint64
	for _, s := range said {
		var f wire.Frame
		var hello wire.Hello
		if _, rest, err := wire.DecodeHeader(s.batch); err == nil && boot == 0 {
			for frames := (wire.Frames{Rest: rest}); frames.Next(&f); {
				if f.Type == wire.TypeHello && hello.Decode(&f) == nil {
					boot = hello.Boot
				}
			}
		}
	}
	peer, err := seal.NewPeer(seal.Config{Keys: w.keys, Payload: binary.BigEndian.AppendUint64(nil, boot), Part: seal.Initiator})
	if err != nil {
		t.Fatal(err)
	}
	p := &puppet{t: t, w: w, peer: peer}
	w.nodes[0].puppet = func(datagram []byte) { p.send(peer.Receive(w.now, bytes.Clone(datagram), nil).Reply) }
	w.now = said[0].at
	if err := w.nodes[1].start(); err != nil {
		t.Fatal(err)
	}
	p.send(peer.Tick(w.now, nil))
	w.until(w.now + handshakeTime/2)
	if peer.Session() == nil {
		t.Fatal("no session with the recorded node")
	}
	return p
}

func (p *puppet) send(datagram []byte) {
	if len(datagram) > 0 {
		if err := p.w.link(0, 1).Write(datagram); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *puppet) say(s batchSent) { p.send(p.peer.Session().Seal(s.lane, nil, s.batch)) }
