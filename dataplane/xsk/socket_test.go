package xsk

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnkickedNeverLeaves closes a socket with descriptors staged, and one with some
// published and not taken: their packets never leave, their frames come back.
func TestUnkickedNeverLeaves(t *testing.T) {
	r := newRig(t, 1, 1)
	u := r.umem(1024)
	batch := make([]Desc, 96)

	s := r.open("p0", 0, u, Config{})
	if n := s.Transmit(batch[:write(u, batch, 0)]); n != len(batch) || s.Unsent() != n {
		t.Fatalf("%d staged, %d unsent", n, s.Unsent())
	}
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(s.Fd()), Events: unix.POLLIN}}, 0); err != nil {
		t.Fatal(err) // the kernel transmits here what it can see: nothing
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkHome(t, u)

	s = r.open("p0", 0, u, Config{TxBudget: 32})
	s.Transmit(batch[:write(u, batch, 0)])
	if k := s.Kick(); k != KickedMore || s.Unsent() != 64 {
		t.Fatalf("a kick of 32 of 96: %v, %d unsent", k, s.Unsent())
	}
	var poller Poller
	poller.AddSocket(s)
	if _, err := poller.Wait(0); err != nil || s.Unsent() != 64 {
		t.Fatalf("waiting transmitted: %d unsent, %v", s.Unsent(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what was kicked arrives", func() bool { return r.received("g0") >= 32 })
	if got := r.received("g0"); got != 32 {
		t.Errorf("%d packets left, 32 were kicked", got)
	}
	checkSum(t, u, 0)

	// The trap that Poller is for: poll(2) is a kick in copy mode.
	s = r.open("p0", 0, u, Config{TxBudget: 32})
	s.Transmit(batch[:write(u, batch, 0)])
	s.Kick()
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(s.Fd()), Events: unix.POLLIN}}, 0); err != nil {
		t.Fatal(err)
	}
	if s.Unsent() == 64 {
		t.Log("poll(2) did not transmit on this kernel")
	}
	r.close(u, s)
}

// TestKickWithLinkDown: weather, not an error.
func TestKickWithLinkDown(t *testing.T) {
	r := newRig(t, 1, 1)
	u := r.umem(1024)
	s := r.open("p0", 0, u, Config{})
	batch := make([]Desc, 10)

	if err := r.space.Down("g0"); err != nil { // no carrier: each packet is dropped
		t.Fatal(err)
	}
	s.Transmit(batch[:write(u, batch, 0)])
	eventually(t, "all dropped", func() bool { return kickAll(s) == KickedAll })
	checkSum(t, u, 0)

	if err := r.space.Down("p0"); err != nil {
		t.Fatal(err)
	}
	s.Reclaim()
	s.Transmit(batch[:write(u, batch, 0)])
	if k := s.Kick(); k != KickedDown || s.Unsent() != 10 {
		t.Fatalf("%v with %d unsent", k, s.Unsent())
	}
	checkSum(t, u, 0)

	for _, link := range []string{"p0", "g0"} {
		if err := r.space.Up(link); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the same socket sends again", func() bool { return kickAll(s) == KickedAll })
	if w := s.Weather(); w.Down != 1 || w.Gone != 0 || w.Other != 0 {
		t.Errorf("weather %+v", w)
	}

	s.Transmit(batch[:write(u, batch, 0)])
	if err := r.space.Delete("p0"); err != nil {
		t.Fatal(err)
	}
	if k := s.Kick(); k != KickedGone {
		t.Fatalf("%v after the device has left", k)
	}
	// A gone socket is no anchor: the next one registers the memory anew.
	other := r.open("p1", 0, u, Config{})
	checkSum(t, u, 0)
	r.close(u, s, other)
}

// TestCompletionRingNeverFills sends many times what the completion ring holds and
// never calls Reclaim.
func TestCompletionRingNeverFills(t *testing.T) {
	r := newRig(t, 1, 1)
	u := r.umem(1024)
	s := r.open("p0", 0, u, Config{Rings: RingSizes{Fill: 64, Rx: 64, Tx: 256, Completion: 32}})
	batch := make([]Desc, 64)
	left := 0
	for range 200 {
		n := write(u, batch, 0)
		sent := s.Transmit(batch[:n])
		u.Free(batch[sent:n])
		kickAll(s)
		left += sent
		checkSum(t, u, 0)
	}
	if left < 200*32 {
		t.Errorf("%d of at least %d packets left", left, 200*32)
	}
	r.close(u, s)
}

// TestTransmitRefusesBadDescriptors: the kernel would skip them and never give the
// frame back.
func TestTransmitRefusesBadDescriptors(t *testing.T) {
	r := newRig(t, 1, 1)
	u := r.umem(512)
	s := r.open("p0", 0, u, Config{})
	batch := make([]Desc, 6)
	write(u, batch, 0)
	held := batch[5]
	u.Free([]Desc{held})
	batch[1].Len = 13                                  // no Ethernet header
	batch[2].Len = FrameRoom + 1                       // out of its frame
	batch[3].Options = unix.XDP_TX_METADATA            // not used
	batch[5] = Desc{Addr: held.Addr, Len: frameLength} // not held
	if n := s.Transmit(batch); n != 6 || s.Unsent() != 2 || u.Faults() != 4 {
		t.Fatalf("%d taken, %d unsent, %d faults", n, s.Unsent(), u.Faults())
	}
	if k := kickAll(s); k != KickedAll {
		t.Fatal(k)
	}
	s.Reclaim()
	if statistics, err := s.Statistics(); err != nil || statistics.TxInvalid != 0 {
		t.Errorf("the kernel saw a bad descriptor: %+v, %v", statistics, err)
	}
	u.faults = 0
	r.close(u, s)
}

// TestReopenInAnyOrder: the registration outlives the socket that made it, and is made
// anew when none is left.
func TestReopenInAnyOrder(t *testing.T) {
	r := newRig(t, 2, 1)
	u := r.umem(small.Frames(3))
	first, second := r.open("p0", 0, u, Config{}), r.open("p1", 0, u, Config{})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third := r.open("p0", 1, u, Config{})
	first = r.open("p0", 0, u, Config{}) // the queue that was just given up
	checkSum(t, u, 0)
	for range 5 {
		for _, s := range []*Socket{first, second, third} {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		checkHome(t, u)
		first, second, third = r.open("p0", 0, u, Config{}), r.open("p1", 0, u, Config{}), r.open("p0", 1, u, Config{})
	}
	if err := u.Close(); err == nil {
		t.Error("the memory was closed under open sockets")
	}
	r.close(u, first, second, third)
}

// TestLimbo: a zero-copy device may write into frames of a closed socket until the
// queue can be bound again. No device here has zero-copy, so the test says so itself.
func TestLimbo(t *testing.T) {
	r := newRig(t, 1, 1)
	u := r.umem(1024)
	batch := make([]Desc, 10)
	for _, gone := range []string{"", "p0"} {
		s := r.open("p0", 0, u, Config{})
		s.Transmit(batch[:write(u, batch, 0)])
		s.mode = ModeZeroCopy
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkSum(t, u, 0)
		if a := u.Account(); a.Limbo != small.Fill || a.Free != 1024-small.Fill {
			t.Fatalf("limbo is not what the fill ring held: %+v", a)
		}
		again := "p0"
		if gone != "" {
			if err := r.space.Delete(gone); err != nil {
				t.Fatal(err)
			}
			again = "g1"
		}
		s = r.open(again, 0, u, Config{})
		if a := u.Account(); a.Limbo != 0 {
			t.Fatalf("still in limbo: %+v", a)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkHome(t, u)
	}
	r.close(u)
}

func TestOpenRefuses(t *testing.T) {
	r := newRig(t, 2, 1)
	u, other := r.umem(1024), r.umem(1024)
	holder := r.open("p0", 0, u, Config{})

	_, err := r.tryOpen("p0", 0, u, Config{})
	expectError(t, err, ErrDeviceTaken, "queue 0 of p0", "this worker itself")
	_, err = r.tryOpen("p0", 0, other, Config{Patience: -1})
	expectError(t, err, ErrDeviceTaken, "queue 0 of p0", "holdfast detach")
	_, err = r.tryOpen("p0", 2, other, Config{})
	expectError(t, err, unix.EINVAL, "queue 2 of p0", "queues 0 to 1", "`ethtool -L p0 combined 3`")
	_, err = r.tryOpen("p0", 1, other, Config{Modes: []Mode{ModeZeroCopy}})
	expectError(t, err, unix.EOPNOTSUPP, "queue 1 of p0")
	_, err = r.tryOpen("p0", 1, other, Config{Rings: RingSizes{Fill: 100, Rx: 64, Tx: 64, Completion: 64}})
	expectError(t, err, nil, "fill ring of 100 slots")
	_, err = Open(Config{Ifindex: 1 << 30, Umem: other})
	expectError(t, err, ErrNoDevice)
	if _, err = ReceiveQueues("nosuch0"); !errors.Is(err, ErrNoDevice) {
		t.Errorf("queues of no device: %v", err)
	}

	// CAP_NET_RAW is dropped on a thread that ends with the function.
	err = r.space.Do(func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			return err
		}
		_, err := Open(Config{Ifindex: holder.ifindex, Queue: 1, Umem: other})
		return err
	})
	expectError(t, err, ErrNoPermission, "queue 1 of p0", "run as root")
	expectError(t, socketError(unix.EAFNOSUPPORT), ErrNoAFXDP, "CONFIG_XDP_SOCKETS")
	expectError(t, registerError(unix.ENOBUFS), ErrLockedMemory, "LimitMEMLOCK")

	// Nothing is left half set up: the free queue opens at once.
	s := r.open("p0", 1, other, Config{Patience: -1})
	r.close(other, s)
	r.close(u, holder)
}

// expectError fails unless err is want (where that is not nil) and says all of parts.
func expectError(t *testing.T, err, want error, parts ...string) {
	t.Helper()
	if err == nil || want != nil && !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}
