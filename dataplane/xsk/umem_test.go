package xsk

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestUmemAllocFree(t *testing.T) {
	u, err := NewUmem(7) // odd: half a page at the end is nobody's
	if err != nil {
		t.Fatal(err)
	}
	batch := make([]Desc, 10)
	if n := u.Alloc(batch); n != 7 {
		t.Fatalf("%d of 7 frames", n)
	}
	checkSum(t, u, 7)
	d := batch[0]
	if d.Addr%FrameSize != Headroom || cap(u.Bytes(d)) != FrameRoom || len(u.Bytes(d)) != 0 {
		t.Fatalf("a new packet stands at %#x with room %d", d.Addr, cap(u.Bytes(d)))
	}
	u.Free(batch[:7])
	checkHome(t, u)

	u.Free(batch[:1]) // a second time
	u.Free([]Desc{{Addr: 7 * FrameSize}, {Addr: ^uint64(0)}})
	if u.Faults() != 3 || len(u.free) != 7 {
		t.Fatalf("%d faults, %d free: a frame freed twice, or none, must change nothing but the count of 3", u.Faults(), len(u.free))
	}
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	if err := u.Close(); err != nil {
		t.Fatalf("closing twice: %v", err)
	}
}

// TestUmemHandOver maps the memfd a second time, as a successor would.
func TestUmemHandOver(t *testing.T) {
	u, err := NewUmem(8)
	if err != nil {
		t.Fatal(err)
	}
	batch := make([]Desc, 1)
	u.Alloc(batch)
	batch[0].Len = 5
	copy(u.Bytes(batch[0]), "hello")
	if err := unix.Ftruncate(u.Fd(), 0); err == nil {
		t.Fatal("the memory can be cut short")
	}
	again, err := unix.Mmap(u.Fd(), 0, 8*FrameSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	if got := string(again[batch[0].Addr:][:5]); got != "hello" {
		t.Fatalf("the other mapping shows %q", got)
	}
	if err := unix.Munmap(again); err != nil {
		t.Fatal(err)
	}
}

func TestUmemRefusesSizes(t *testing.T) {
	for _, frames := range []int{-1, 0, framesMax + 1} {
		if _, err := NewUmem(frames); err == nil {
			t.Errorf("%d frames were accepted", frames)
		}
	}
}
