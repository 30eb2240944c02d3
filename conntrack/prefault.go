package conntrack

import "fmt"

// prefaultAhead is for how many new connections memory is kept ready: 16 MiB of entries.
const prefaultAhead = 128 << 10

// Prefault makes memory ready for the next connections, so that the packet path meets no
// page fault: the kernel zeroes a huge page in 0.1 to 3 ms (the latter in a virtual
// machine, 2026-11-21), which a worker would spend inside one Insert, or holding a shard
// that grows. One goroutine outside the path calls it now and then, say every 100 ms; it
// returns at once where nothing is to do. Without it everything works, but slower. An
// error says that the kernel could not give memory: the path will feel that soon.
func (t *Table) Prefault() error {
	if want := min(uint64(t.high.Load())+prefaultAhead, uint64(t.capacity)); want > t.ready {
		// In steps of half the distance, so that it is not called for every connection.
		if t.ready == 0 || want-t.ready >= prefaultAhead/2 || want == uint64(t.capacity) {
			if err := t.conns.populate(t.ready, want); err != nil {
				return fmt.Errorf("conntrack: memory for the next %d connections: %w", want-t.ready, err)
			}
			t.ready = want
		}
	}
	// The next level of the index, when the shards are on the average 3/4 on the way.
	level := t.readyLevel
	if level < t.levelMax && uint64(t.high.Load())*2 > shardsCount*growAt<<level*3/4 {
		if err := t.index.populate(levelStart(level+1), levelStart(level+2)); err != nil {
			return fmt.Errorf("conntrack: memory for level %d of the index: %w", level+1, err)
		}
		t.readyLevel = level + 1
	}
	return nil
}
