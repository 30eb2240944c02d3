//go:build !race

package conntrack

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Why this is sound: both arenas are private anonymous mappings that the collector does
// not know. Nothing stored in them holds a Go pointer (a test walks the types), so nothing
// can be collected too early. Only slices over a whole mapping leave this file, they keep
// their bounds checks, and Table.Close, after which no method may be called, is the only
// one that unmaps. A mapping starts on a page, so every alignment below 4096 holds, and
// it starts as zeros, which is the zero value of both element types.
//
// The race detector sees only the Go heap; in a race build the arenas are ordinary slices
// instead (arena_race.go), so that it watches them.

// raceBuild says that the race detector watches.
const raceBuild = false

// arena is address space for count elements. Memory is taken page by page as elements are
// first written, so a large capacity costs nothing until it is used.
type arena[T any] struct {
	all     []T
	mapping []byte
}

// hugePage is the size of a huge page in bytes. What is smaller could only share one with its
// neighbours, and the first write would clear all of it.
const hugePage = 2 << 20

// reserve maps address space for count elements and asks for huge pages: with 4 KiB pages
// every lookup in a large table would miss the TLB too.
func reserve[T any](count uint64) (arena[T], error) {
	size := count * uint64(unsafe.Sizeof(*new(T)))
	mapping, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return arena[T]{}, fmt.Errorf("reserving %d MiB of address space (lower the capacity, or raise the limit of address space): %w", size>>20, err)
	}
	if size < hugePage {
		return arena[T]{unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mapping))), count), mapping}, nil
	}
	if err := unix.Madvise(mapping, unix.MADV_HUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
		_ = unix.Munmap(mapping) // the first error says more
		return arena[T]{}, fmt.Errorf("asking for huge pages: %w", err)
	} // EINVAL: a kernel without transparent huge pages; slower, not wrong
	return arena[T]{unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mapping))), count), mapping}, nil
}

// discard gives the memory of elements [from, to) back, as far as it is whole pages. They
// read as zeros from now on, also for a reader that is just there.
func (a *arena[T]) discard(from, to uint64) {
	const page = 4096
	size := uint64(unsafe.Sizeof(*new(T)))
	first, last := (from*size+page-1)&^(page-1), to*size&^(page-1)
	if first < last {
		_ = unix.Madvise(a.mapping[first:last], unix.MADV_DONTNEED) // failing costs memory, nothing else
	}
}

// populate takes the memory of elements [from, to) now, written to by nobody.
func (a *arena[T]) populate(from, to uint64) error {
	const page = 4096
	size := uint64(unsafe.Sizeof(*new(T)))
	first, last := from*size&^(page-1), min((to*size+page-1)&^(page-1), uint64(len(a.mapping)))
	err := unix.Madvise(a.mapping[first:last], unix.MADV_POPULATE_WRITE)
	if errors.Is(err, unix.EINVAL) {
		return nil // before Linux 5.14: the path faults the pages in
	}
	return err
}

// release unmaps the arena.
func (a *arena[T]) release() error {
	mapping := a.mapping
	a.all, a.mapping = nil, nil
	if mapping == nil {
		return nil
	}
	return unix.Munmap(mapping)
}

// storeWord and storeLong store what others may be reading at that moment, without the
// locked instruction that atomic stores are on amd64: a new connection makes six of them.
//
// Why this is sound: an aligned store of this size is not torn on any machine that Go
// knows. No order is needed either: what lock-free readers find in the index or in a link
// word is a hint, which they verify under the lock that the writer holds here, or by a
// compare-and-swap that comes after. In a race build they are atomic.
func storeWord(p *atomic.Uint32, v uint32) { *(*uint32)(unsafe.Pointer(p)) = v }
func storeLong(p *atomic.Uint64, v uint64) { *(*uint64)(unsafe.Pointer(p)) = v }

// touch loads one word of each of an entry's two cache lines, so that the misses of a
// whole batch overlap. The values are not used.
func touch(c *Conn) {
	line := unsafe.Pointer(c)
	atomic.LoadUint32((*uint32)(line))
	atomic.LoadUint32((*uint32)(unsafe.Add(line, 64)))
}

// touchSix does the same for the addresses of IPv6.
func touchSix(s *six) { atomic.LoadUint32((*uint32)(unsafe.Pointer(s))) }
