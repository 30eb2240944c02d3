//go:build race

package conntrack

import "sync/atomic"

// raceBuild says that the race detector watches.
const raceBuild = true

// arena in a race build is an ordinary slice, because the race detector watches only the
// Go heap. See arena_unsafe.go.
type arena[T any] struct{ all []T }

func reserve[T any](count uint64) (arena[T], error) {
	return arena[T]{make([]T, count)}, nil
}

func (a *arena[T]) discard(uint64, uint64) {}

func (a *arena[T]) populate(uint64, uint64) error { return nil }

func (a *arena[T]) release() error {
	a.all = nil
	return nil
}

// storeWord and storeLong are atomic stores here, see arena_unsafe.go.
func storeWord(p *atomic.Uint32, v uint32) { p.Store(v) }
func storeLong(p *atomic.Uint64, v uint64) { p.Store(v) }

// touch loads the one word of an entry that may be read without its lock.
func touch(c *Conn) { c.link.Load() }

// touchSix does nothing here: all of it is guarded.
func touchSix(*six) {}
