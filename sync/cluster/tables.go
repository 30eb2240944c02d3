package cluster

import (
	"iter"
	"sync"
	"sync/atomic"

	"holdfast/rules/table"
	"holdfast/sync/journal"
	"holdfast/sync/peer"
	"holdfast/sync/wire"
)

// What is added to tables of addresses is told by the lanes, change by change, and compared all
// the time:
//
//	every node                                     every peer
//	  |  ------- table-sums(round 5, ...) ---------> |  the same, or not for two rounds: it was lost
//	  |  <------ table-request("brutes") ----------- |
//	  |  ======= table-change, ... ================> |  by the lane of transfers, with its credit
//
// A change holds by its version whatever comes first, so both ends ask, and nobody has to be
// right: what either lacks it gets.

// Times of comparing tables, in ns.
const (
	sumsEvery  = int64(1e9)
	sumsJoin   = int64(50e6) // while a peer is not ready
	askFirst   = int64(500e6)
	askLast    = int64(60e9) // the wait doubles up to it while asking does not help
	provenLate = int64(30e9) // what was not found equal for so long is asked for although it moves
)

// tableStep is how many changes one step of the prover tells of.
const tableStep = 512

// tablesOf is what a node knows of the tables of one peer.
type tablesOf struct {
	// Of the reader.
	round  uint32 // of ours, told last
	told   int64  // when that was
	parts  gathered
	known  map[string]*comparedTable
	spoken bool // the peer has the capability

	proven    atomic.Int64 // when all tables that both have were last found equal; 0: never in this life of the peer
	divergent atomic.Int32 // tables that differ, and nothing is on its way
	asked     atomic.Uint64
	refused   atomic.Uint64 // changes that found no table, or no room

	mu     sync.Mutex
	wanted map[string]bool // by the peer: at most table.Max, the prover takes them
	forget bool

	// Of the prover.
	next func() (table.Change, bool) // of the table that is told; nil: none is
	stop func()
}

// comparedTable is how a table of ours compares with the peer's.
type comparedTable struct {
	ours, theirs table.Digest // as they were when they differed last
	proven       int64        // when they were last the same; 0: never
	divergent    bool
	askAt, wait  int64
}

// gathered is the parts of a round of the peer's sums that have come.
type gathered struct {
	round uint32
	have  uint32 // by part
	sums  []wire.TableSum
}

// take takes a part in and reports whether the round is whole.
func (g *gathered) take(m *wire.TableSums) bool {
	if g.round != m.Round {
		*g = gathered{round: m.Round, sums: g.sums[:0]}
	}
	if g.have>>m.Part&1 != 0 || len(g.sums)+len(m.Sums) > table.Max {
		return false
	}
	g.have |= 1 << m.Part
	g.sums = append(g.sums, m.Sums...)
	return g.have == 1<<m.Parts-1
}

// tables returns those of this node, nil where it replicates none.
func (n *Node) tables() *table.Tables {
	if n.config.Tables == nil {
		return nil
	}
	return n.config.Tables()
}

func (n *Node) capabilities() wire.Capabilities {
	if n.config.Tables == nil {
		return 0
	}
	return wire.TellsTables
}

// changeTable takes in a change that the peer tells of (journal.Applier.OnTableChange). A table
// that this node does not have is no fault: its policy comes a moment later, or went before.
func (r *remote) changeTable(c *table.Change) bool {
	t := r.node.tables().ByName(c.Table)
	if t == nil {
		r.tabled.refused.Add(1)
		return true
	}
	if out := t.Merge(c, r.now); out == table.Full || out == table.IsConst {
		r.tabled.refused.Add(1)
	}
	return true
}

// beginTables begins with another life of the peer.
func (r *remote) beginTables() {
	x := &r.tabled
	x.known, x.parts, x.told = map[string]*comparedTable{}, gathered{}, 0
	x.proven.Store(0)
	x.divergent.Store(0)
	x.mu.Lock()
	x.wanted, x.forget = nil, true
	x.mu.Unlock()
}

// lackTables says why this node may lack entries of tables that the peer has; "": it does not.
func (r *remote) lackTables() string {
	if r.tabled.spoken && r.node.config.Tables != nil && r.tabled.proven.Load() == 0 {
		return "its tables of addresses have not been compared with this node's yet"
	}
	return ""
}

// sumTables tells the peer what this node's tables come to, when it is due. The reader calls it.
func (r *remote) sumTables() {
	x := &r.tabled
	if r.node.config.Tables == nil || !x.spoken || r.machine.Phase() != peer.Stream {
		return
	}
	every := sumsEvery
	if b := r.last.Load(); b == nil || !b.Ready || x.proven.Load() == 0 {
		every = sumsJoin
	}
	if x.told != 0 && r.now-x.told < every {
		return
	}
	x.told = r.now
	x.round++
	parts := split(r.node.tables(), r.now)
	for i, sums := range parts {
		m := wire.TableSums{Round: x.round, Part: uint8(i), Parts: uint8(len(parts)), Sums: sums}
		r.sendControl(m.Append)
	}
}

// split returns the sums of all tables, as many in a part as fit a batch however long their names.
func split(tables *table.Tables, now int64) [][]wire.TableSum {
	const fit = (journal.BatchMax - wire.BatchHeaderSize - wire.TableSumsFixed) / wire.TableSumMax
	parts := [][]wire.TableSum{nil}
	for _, t := range tables.All() {
		d, ok := t.Digest(now)
		if !ok {
			continue
		}
		last := &parts[len(parts)-1]
		if len(*last) == fit {
			parts = append(parts, nil)
			last = &parts[len(parts)-1]
		}
		*last = append(*last, wire.TableSum{Table: t.Name(), Digest: d})
	}
	return parts
}

// onTableSums takes in what the peer's tables come to, and asks for those that differ.
func (r *remote) onTableSums(m *wire.TableSums) {
	x := &r.tabled
	if r.node.config.Tables == nil || r.machine.Phase() != peer.Stream || r.machine.Boot() != bootOf(r.under) || !x.parts.take(m) {
		return
	}
	var ask []string
	whole, divergent := true, int32(0)
	for i := range x.parts.sums {
		s := &x.parts.sums[i]
		t := r.node.tables().ByName(s.Table)
		if t == nil {
			continue
		}
		ours, ok := t.Digest(r.now)
		if !ok {
			continue
		}
		c := x.known[s.Table]
		if c == nil {
			c = &comparedTable{wait: askFirst}
			x.known[s.Table] = c // bounded: it is a name of ours
		}
		if c.compare(&ours, &s.Digest, r.now) {
			ask = append(ask, s.Table)
		}
		whole = whole && c.proven == r.now
		if c.divergent {
			divergent++
		}
	}
	x.divergent.Store(divergent)
	if whole {
		x.proven.Store(r.now)
	}
	r.askTables(ask)
}

// compare takes in what a table comes to at both ends and reports whether to ask for it.
func (c *comparedTable) compare(ours, theirs *table.Digest, now int64) bool {
	if ours.Same(theirs) {
		*c = comparedTable{proven: now, wait: askFirst}
		return false
	}
	// What is left moves all the time, of what is equal too.
	moves := ours.Sum != c.ours.Sum || theirs.Sum != c.theirs.Sum || ours.Floor != c.ours.Floor || theirs.Floor != c.theirs.Floor
	c.ours, c.theirs, c.divergent = *ours, *theirs, !moves
	if now < c.askAt || moves && c.proven != 0 && now-c.proven < provenLate {
		return false
	}
	c.askAt, c.wait = now+c.wait, min(2*c.wait, askLast)
	return true
}

// askTables asks for tables, as many in a batch as fit it however long their names.
func (r *remote) askTables(names []string) {
	const fit = (journal.BatchMax - wire.BatchHeaderSize - wire.FrameHeaderSize - 1) / (1 + wire.TableNameMax)
	for ; len(names) > 0; names = names[min(fit, len(names)):] {
		m := wire.TableRequest{Tables: names[:min(fit, len(names))]}
		r.tabled.asked.Add(uint64(len(m.Tables)))
		r.sendControl(m.Append)
	}
}

// onTableRequest leaves what the peer asks for to the prover.
func (r *remote) onTableRequest(m *wire.TableRequest) {
	x := &r.tabled
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, name := range m.Tables {
		if r.node.tables().ByName(name) == nil {
			continue
		}
		if x.wanted == nil {
			x.wanted = map[string]bool{}
		}
		if len(x.wanted) < table.Max {
			x.wanted[name] = true
		}
	}
}

// tellTables tells a peer more of the tables that it has asked for. The prover calls it.
func (p *prover) tellTables(r *remote, now int64) (moved bool) {
	x := &r.tabled
	if x.forgotten() {
		x.end()
	}
	if x.next == nil && !x.begin(p.node.tables(), now) {
		return false
	}
	bulk := r.share.bulk
	acked := r.confirmed[bulk.Lane()].Load()
	for range tableStep {
		if sent := bulk.Sent(); sent-min(acked, sent) >= r.share.credit {
			return moved
		}
		c, ok := x.next()
		if !ok {
			bulk.Flush()
			x.end()
			return true
		}
		bulk.TableChange(&wire.TableChange{Change: c})
		moved = true
	}
	bulk.Flush()
	return moved
}

func (x *tablesOf) forgotten() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	forget := x.forget
	x.forget = false
	return forget
}

// begin takes up a table that is wanted, if one is.
func (x *tablesOf) begin(tables *table.Tables, now int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for name := range x.wanted {
		delete(x.wanted, name)
		if t := tables.ByName(name); t != nil {
			x.next, x.stop = iter.Pull(t.Changes(now))
			return true
		}
	}
	return false
}

// end lets go of the table that is told.
func (x *tablesOf) end() {
	if x.stop != nil {
		x.stop()
	}
	x.next, x.stop = nil, nil
}

// TablesReport is how the tables of addresses of two nodes compare.
type TablesReport struct {
	Proven    int64  // when all that both have were last found equal, CLOCK_BOOTTIME ns; 0: never
	Divergent int    // tables that differ
	Asked     uint64 // tables that were asked for because they differed
	Refused   uint64 // changes that found no table here, or no room
}

func (x *tablesOf) report() TablesReport {
	return TablesReport{
		Proven: x.proven.Load(), Divergent: int(x.divergent.Load()), Asked: x.asked.Load(), Refused: x.refused.Load(),
	}
}
