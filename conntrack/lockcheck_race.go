//go:build race

package conntrack

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// checkLocks switches the check on. It costs microseconds a lock, so only tests that are
// about locks do.
var checkLocks atomic.Bool

// holder is one goroutine's use of one table.
type holder struct {
	table     *Table
	goroutine string
}

var (
	heldMu sync.Mutex
	held   = map[holder][]uint32{}
)

// noteLock is called before shard s is locked. It panics where the lock order is broken:
// at most two shards, and the second above the first.
func noteLock(t *Table, s uint32) {
	if !checkLocks.Load() {
		return
	}
	h := holder{t, goroutine()}
	heldMu.Lock()
	defer heldMu.Unlock()
	shards := held[h]
	if len(shards) > 1 || len(shards) == 1 && shards[0] >= s {
		panic(fmt.Sprintf("conntrack: lock order: goroutine %s takes shard %d while it holds %v", h.goroutine, s, shards))
	}
	held[h] = append(shards, s)
}

// noteUnlock is called before shard s is unlocked.
func noteUnlock(t *Table, s uint32) {
	if !checkLocks.Load() {
		return
	}
	h := holder{t, goroutine()}
	heldMu.Lock()
	defer heldMu.Unlock()
	var rest []uint32
	for _, other := range held[h] {
		if other != s {
			rest = append(rest, other)
		}
	}
	if len(rest) == 0 {
		delete(held, h)
		return
	}
	held[h] = rest
}

// goroutine returns the number of the calling goroutine, as its stack trace begins:
// "goroutine 18 [running]:".
func goroutine() string {
	var buf [64]byte
	return string(bytes.Fields(buf[:runtime.Stack(buf[:], false)])[1])
}
