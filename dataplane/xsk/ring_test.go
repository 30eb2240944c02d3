package xsk

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
)

// TestRingsAgainstTwin plays the kernel's side of each ring, starts the words just
// below their wrap, and compares with a plain queue.
func TestRingsAgainstTwin(t *testing.T) {
	const size = 16
	random := rand.New(rand.NewPCG(1, 2))
	var head, tail, flags uint32
	start := ^uint32(0) - 40

	t.Run("produce", func(t *testing.T) {
		head, tail = start, start
		ring := TxRing{producer: producer{head: &head, tail: &tail, flags: &flags, size: size, next: start, published: start, seen: start}, slots: make([]Desc, size)}
		var twin []uint64 // published and not consumed
		var staged []uint64
		next := uint64(0)
		for range 10_000 {
			n := ring.Reserve(random.IntN(size + 4))
			if room := size - len(twin) - len(staged); n > room {
				t.Fatalf("reserved %d of %d", n, room)
			}
			batch := make([]Desc, n)
			for i := range batch {
				batch[i].Addr = next
				staged = append(staged, next)
				next++
			}
			ring.Put(batch)
			if ring.Staged() != len(staged) || head-tail != uint32(len(twin)) {
				t.Fatal("staged descriptors are visible")
			}
			if random.IntN(2) == 0 {
				ring.Submit()
				twin, staged = append(twin, staged...), nil
			}
			for range random.IntN(len(twin) + 1) {
				if got := ring.slots[tail%size].Addr; got != twin[0] {
					t.Fatalf("the kernel reads %d, not %d", got, twin[0])
				}
				twin = twin[1:]
				atomic.AddUint32(&tail, 1)
			}
			if ring.Pending() != len(twin) {
				t.Fatalf("%d pending, not %d", ring.Pending(), len(twin))
			}
		}
	})

	t.Run("consume", func(t *testing.T) {
		head, tail = start, start
		ring := CompletionRing{consumer: consumer{head: &head, tail: &tail, size: size, next: start, released: start, seen: start}, slots: make([]uint64, size)}
		var twin []uint64
		next := uint64(0)
		for range 10_000 {
			for range random.IntN(int(size-(head-tail)) + 1) {
				ring.slots[head%size] = next
				twin = append(twin, next)
				next++
				atomic.AddUint32(&head, 1)
			}
			batch := make([]uint64, random.IntN(size+4))
			n := ring.Peek(batch)
			if n > len(twin) || !slices.Equal(batch[:n], twin[:n]) {
				t.Fatalf("peeked %v, not the first of %v", batch[:n], twin)
			}
			twin = twin[n:]
			if random.IntN(2) == 0 {
				ring.Release()
				if head-tail != uint32(len(twin)) {
					t.Fatalf("%d slots in use after release, not %d", head-tail, len(twin))
				}
			}
			if ring.Waiting() != len(twin) {
				t.Fatalf("%d waiting, not %d", ring.Waiting(), len(twin))
			}
		}
	})
}
