package conntrack

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/dataplane/packet"
)

// inShard returns n UDP tuples whose hash lies in one shard of the table.
func inShard(table *Table, shard uint32, n int, r *rand.Rand) (all []packet.Tuple) {
	for len(all) < n {
		tup := numbered(r.IntN(1 << 28))
		tup.SrcPort, tup.DstPort = uint16(r.Uint32()), uint16(r.Uint32())
		if shardOf(table.secret.hash(&tup)) == shard {
			all = append(all, tup)
		}
	}
	return all
}

// TestO1_CrossedShards lets goroutines work in two shards that are each other's: where one
// has its original tuples the other has its replies, and the other way round. Part of the
// connections is one goroutine's own, and must be there whenever it looks; part they all
// want, from both sides. A deadlock is told from slowness by a deadline.
//
//	            shard x          shard y
//	even   original --------> reply
//	odd    reply    <-------- original
func TestO1_CrossedShards(t *testing.T) {
	checkLocks.Store(true)
	defer checkLocks.Store(false)
	const workers, own, shared, rounds = 4, 16, 8, 750
	table := newTable(t, Config{Capacity: 4096, Node: 1})
	r := rand.New(rand.NewPCG(1, 3))
	x, y := uint32(700), uint32(1300)
	xs, ys := inShard(table, x, workers*own+shared, r), inShard(table, y, workers*own+shared, r)
	var begun, over atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		for g := range workers {
			wg.Go(func() {
				c := crosser{t: t, table: table, r: rand.New(rand.NewPCG(uint64(g), 9)), begun: &begun, over: &over}
				for range rounds {
					k := g*own + c.r.IntN(own)
					mine := c.r.IntN(3) != 0
					if !mine {
						k = workers*own + c.r.IntN(shared)
					}
					pr := proposalFor(xs[k])
					pr.Reply = ys[k]
					if g%2 == 1 {
						pr.Original, pr.Reply = pr.Reply, pr.Original
					}
					if !c.round(&pr, mine) {
						return
					}
				}
			})
		}
		wg.Wait()
	}()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("deadlock:\n%s", buf[:runtime.Stack(buf, true)])
	}
	if want := int(begun.Load() - over.Load()); table.Len() != want || want == 0 {
		t.Errorf("%d began and %d ended, but %d are there", begun.Load(), over.Load(), table.Len())
	}
	for s := range uint32(shardsCount) {
		if n := table.shards[s].slots; n != 0 && s != x && s != y {
			t.Fatalf("shard %d has %d slots: the tuples do not cross", s, n)
		}
	}
	if table.shards[x].slots != table.shards[y].slots {
		t.Errorf("%d tuples in one shard, %d in the other", table.shards[x].slots, table.shards[y].slots)
	}
}

// crosser is one goroutine of TestO1_CrossedShards.
type crosser struct {
	t           *testing.T
	table       *Table
	r           *rand.Rand
	begun, over *atomic.Int64
	result      Result
	state       State
	applied     Applied
}

// round begins a connection, as a packet or as a peer would, finds it by both its tuples,
// and ends it now and then. mine says that nobody else touches it.
func (c *crosser) round(pr *Proposal, mine bool) bool {
	p := parsed(pr.Original, 0)
	hits := make([]Hit, 1)
	for tries := 0; ; tries++ {
		c.table.Lookup([]packet.Parsed{p}, hits)
		if c.table.Track(&p, &hits[0], 1, &c.result) == OutcomePass {
			break
		}
		switch out := c.table.Insert(pr, &p, 1, &c.result); {
		case out == Inserted:
			c.begun.Add(1)
		case out == Exists && !mine: // another was faster, or the same from the other side
			if tries < 100 {
				continue
			}
			fallthrough
		default:
			c.t.Errorf("insert: %v at try %d", out, tries)
			return false
		}
		break
	}
	index, life := c.result.Index, c.result.Incarnation
	for _, tuple := range []packet.Tuple{pr.Original, pr.Reply} {
		p.Tuple = tuple
		c.table.Lookup([]packet.Parsed{p}, hits)
		if out := c.table.Track(&p, &hits[0], 1, &c.result); mine && (out != OutcomePass || c.result.Index != index || c.result.Incarnation != life) {
			c.t.Errorf("%v is lost: %v", tuple, out)
			return false
		}
	}
	if c.r.IntN(2) == 0 && c.table.Remove(index, life, 1, &c.state) {
		c.over.Add(1)
		if c.r.IntN(2) == 0 { // and a peer tells of it again, as a later life
			c.state.Incarnation += 1 << 16
			switch out := c.table.Apply(&c.state, 1, &c.applied); {
			case out == AppliedNew:
				c.begun.Add(1)
			case mine:
				c.t.Errorf("apply: %v", out)
				return false
			}
			c.over.Add(int64(len(c.applied.Ended)))
		}
	}
	return true
}
