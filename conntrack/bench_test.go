package conntrack

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"holdfast/dataplane/packet"
)

// ladder is the sizes at which the table is measured. Ten million connections take
// about 2.4 GB while the benchmark runs.
var ladder = []struct {
	name  string
	conns int
}{{"1k", 1000}, {"1M", 1000 * 1000}, {"10M", 10 * 1000 * 1000}}

// filled returns tables of the ladder, made once per size.
var filled = struct {
	sync.Mutex
	size  int
	table *Table
}{}

func filledTable(b *testing.B, conns int) *Table {
	filled.Lock()
	defer filled.Unlock()
	if filled.size == conns {
		return filled.table
	}
	if filled.table != nil {
		filled.table.Close()
	}
	table, err := New(Config{Capacity: uint32(conns)})
	if err != nil {
		b.Fatal(err)
	}
	var r Result
	for i := range conns {
		p := tcpPacket(numbered(i), packet.FlagSYN, 99, 0)
		pr := proposalFor(p.Tuple)
		if got := table.Insert(&pr, &p, 1, &r); got != Inserted {
			b.Fatal(got)
		}
		for j, f := range []packet.TCPFlags{packet.FlagSYN | packet.FlagACK, packet.FlagACK} {
			hit := Hit{Index: r.Index, Found: true, Direction: Direction(1 - j), Hash: table.secret.hash(&p.Tuple)}
			q := tcpPacket(p.Tuple, f, 100, 200)
			if j == 0 {
				q = tcpPacket(p.Tuple.Reply(), f, 199, 100)
			}
			if table.Track(&q, &hit, 1, &r) != OutcomePass {
				b.Fatal(r.Reason)
			}
		}
	}
	filled.size, filled.table = conns, table
	return table
}

func tcpPacket(tup packet.Tuple, f packet.TCPFlags, seq, ack uint32) packet.Parsed {
	tup.Proto = packet.TCP
	p := parsed(tup, 0)
	p.TCPFlags, p.Seq, p.Ack, p.SACKRight, p.Window = f, seq, ack, ack, 65535
	return p
}

// randomKeys returns packets of random connections, more than a cache holds.
func randomKeys(conns int) []packet.Parsed {
	keys := make([]packet.Parsed, 1<<16)
	for i := range keys {
		keys[i] = tcpPacket(numbered(rand.IntN(conns)), packet.FlagACK, 100, 200)
		if i%2 == 1 {
			keys[i] = tcpPacket(keys[i].Tuple.Reply(), packet.FlagACK, 200, 100)
		}
	}
	return keys
}

// BenchmarkLookup is the ladder that the project reports: ns per lookup, one packet at a
// time against batches of 64. "One" means that the next lookup waits for the entry of
// this one, as a path does that takes each packet to its end.
func BenchmarkLookup(b *testing.B) {
	for _, rung := range ladder {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/batch=%d", rung.name, batch), func(b *testing.B) {
				if testing.Short() && rung.conns > 1000000 {
					b.Skip("short")
				}
				table, keys := filledTable(b, rung.conns), randomKeys(rung.conns)
				hits := make([]Hit, batch)
				at, found := 0, 0
				b.ResetTimer()
				for n := 0; n < b.N; n += batch {
					table.Lookup(keys[at:at+batch], hits)
					for i := range hits {
						c := &table.conns.all[hits[i].Index]
						if table.hasTuple(c, hits[i].Index, hits[i].Direction, &keys[at+i].Tuple) {
							found++
						}
					}
					// With one packet the next key depends on the entry just read.
					at = (at + batch + int(hits[0].Index>>31)) & (1<<16 - 1)
				}
				b.StopTimer()
				// A hint may be another entry with the same tag, one in a hundred: Track looks on then.
				if found < b.N-b.N/30-1 {
					b.Fatalf("%d of %d found", found, b.N)
				}
			})
		}
	}
}

// BenchmarkTrack is ns per packet of established TCP connections, lookup and tracking,
// in batches of 64.
func BenchmarkTrack(b *testing.B) {
	for _, rung := range ladder {
		b.Run(rung.name, func(b *testing.B) {
			if testing.Short() && rung.conns > 1000000 {
				b.Skip("short")
			}
			table, keys := filledTable(b, rung.conns), randomKeys(rung.conns)
			hits := make([]Hit, 64)
			var r Result
			at := 0
			b.ResetTimer()
			for n := 0; n < b.N; n += 64 {
				batch := keys[at : at+64]
				table.Lookup(batch, hits)
				for i := range batch {
					if table.Track(&batch[i], &hits[i], 2, &r) != OutcomePass {
						b.Fatalf("%+v: %v", batch[i], r.Reason)
					}
				}
				at = (at + 64) & (1<<16 - 1)
			}
		})
	}
}

// BenchmarkInsert is ns per new connection into a table that holds the rung's number and
// grows: lookup in batches of 64, miss, insert. "cold" meets the page faults itself, as a
// path would that nobody runs Prefault for.
func BenchmarkInsert(b *testing.B) {
	for _, rung := range ladder {
		for _, memory := range []string{"ready", "cold"} {
			b.Run(rung.name+"/"+memory, func(b *testing.B) {
				if testing.Short() && rung.conns > 1000000 {
					b.Skip("short")
				}
				benchmarkInsert(b, rung.conns, memory == "ready")
			})
		}
	}
}

func benchmarkInsert(b *testing.B, conns int, ready bool) {
	table, err := New(Config{Capacity: uint32(conns + b.N + 64)})
	if err != nil {
		b.Fatal(err)
	}
	defer table.Close()
	for i := range conns {
		insertNumbered(b, table, i)
	}
	keys, hits := make([]packet.Parsed, 64), make([]Hit, 64)
	var r Result
	var longest time.Duration
	b.ResetTimer()
	for n := 0; n < b.N; n += 64 {
		if ready && n%(16<<10) == 0 {
			b.StopTimer()
			for last := uint32(99); last != table.readyLevel; {
				last = table.readyLevel
				if err := table.Prefault(); err != nil {
					b.Fatal(err)
				}
			}
			b.StartTimer()
		}
		for i := range keys {
			keys[i].Tuple, keys[i].Kind = numbered(conns+n+i), packet.KindIP
		}
		table.Lookup(keys, hits)
		begin := time.Now()
		for i := range keys {
			pr := Proposal{Original: keys[i].Tuple, Reply: keys[i].Tuple.Reply()}
			if table.Track(&keys[i], &hits[i], 1, &r) != OutcomeMiss || table.Insert(&pr, &keys[i], 1, &r) != Inserted {
				b.Fatal(r.Reason)
			}
		}
		longest = max(longest, time.Since(begin))
	}
	b.ReportMetric(float64(longest.Microseconds()), "us/worst-batch")
}

// BenchmarkSweep is ns per entry looked at, none of them expired.
func BenchmarkSweep(b *testing.B) {
	table := filledTable(b, 1000*1000)
	ended := make([]Ended, 64)
	from := uint32(0)
	b.ResetTimer()
	for n := 0; n < b.N; n += 1000 {
		from, _ = table.Sweep(from, 1000, 2, GraceOwner, ended)
	}
}

// BenchmarkGrow is us per rehash of one shard, under its lock, in a table of the rung's size.
func BenchmarkGrow(b *testing.B) {
	for _, rung := range ladder {
		b.Run(rung.name, func(b *testing.B) {
			if testing.Short() && rung.conns > 1000000 {
				b.Skip("short")
			}
			table, err := New(Config{Capacity: uint32(4 * rung.conns)})
			if err != nil {
				b.Fatal(err)
			}
			defer table.Close()
			for i := range rung.conns {
				insertNumbered(b, table, i)
			}
			var longest time.Duration
			b.ResetTimer()
			for n := range b.N {
				s := uint32(n % shardsCount)
				if n >= shardsCount || table.levels[s].Load() == table.levelMax {
					b.Fatal("at most 1024 times: -benchtime 1000x")
				}
				begin := time.Now()
				table.growLocked(s)
				longest = max(longest, time.Since(begin))
			}
			b.ReportMetric(float64(longest.Microseconds()), "us/worst")
		})
	}
}
