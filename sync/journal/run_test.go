package journal

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/conntrack"
	"holdfast/sync/seal"
)

// udpWay is a way over UDP sockets of the loopback, and who listens at its far end.
func udpWay(t testing.TB) (*UDP, *net.UDPConn) {
	t.Helper()
	far, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(far.Close(), unix.Close(fd)); err != nil {
			t.Error(err)
		}
	})
	port := far.LocalAddr().(*net.UDPAddr).Port
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := far.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return NewUDP(fd), far
}

// runs counts what is handed to a way together.
type runs struct {
	*UDP
	calls, datagrams int
}

func (r *runs) Write(datagram []byte) error {
	r.calls, r.datagrams = r.calls+1, r.datagrams+1
	return r.UDP.Write(datagram)
}

func (r *runs) WriteRun(run []byte, size int) error {
	r.calls, r.datagrams = r.calls+1, r.datagrams+count(run, size)
	return r.UDP.WriteRun(run, size)
}

// What a lane tells in a turn arrives as single datagrams, in order, whatever their lengths,
// and those of one length leave by one call; where the kernel does not cut, one by one.
func TestBatchesLeaveInRuns(t *testing.T) {
	for _, c := range []struct {
		name      string
		cannot    bool
		callsMost int
	}{{"the kernel cuts", false, 5}, {"it cannot", true, 5}} {
		t.Run(c.name, func(t *testing.T) {
			u, far := udpWay(t)
			u.cannot.Store(c.cannot)
			r := &runs{UDP: u}
			ours, theirs := sessions(t)
			l := &Link{Way: r, Sessions: one{ours}}
			j := New(3, NewOutlet([]*Link{l}))
			told := 0
			for i := range 300 { // 6 batches of one length and a short one, then of mixed lengths
				s := tcp(i)
				if i >= 200 && i%3 == 0 {
					s = udp(i)
				}
				j.Insert(&s)
				told++
				if i == 199 || i == 299 {
					if i == 199 && r.calls != 0 {
						t.Errorf("%d calls before Flush", r.calls)
					}
					j.Flush()
				}
			}
			if int(j.Sent()) != r.datagrams || l.Sent.Load() != j.Sent() || l.Refused.Load() != 0 {
				t.Fatalf("%d batches, %d datagrams, %d counted, %d refused", j.Sent(), r.datagrams, l.Sent.Load(), l.Refused.Load())
			}
			if r.calls > c.callsMost || u.cannot.Load() != c.cannot {
				t.Errorf("%d calls for %d datagrams; the kernel cannot cut: %v", r.calls, r.datagrams, u.cannot.Load())
			}
			w := way{session: theirs}
			for n := uint64(1); n <= j.Sent(); n++ {
				buf := make([]byte, 1<<16)
				size, err := far.Read(buf)
				if err != nil {
					t.Fatalf("batch %d: %v", n, err)
				}
				plain, lane, why := w.session.Open(nil, buf[:size])
				if why != seal.Accepted || lane != 3 {
					t.Fatalf("batch %d: %v, lane %d", n, why, lane)
				}
				if got, _ := j.Batch(n, nil); string(plain) != string(got) {
					t.Fatalf("datagram %d is not batch %d", n, n)
				}
			}
		})
	}
}

// A socket whose kernel refuses to cut is told so once, and nothing is lost by it.
func TestAKernelThatDoesNotCutIsRemembered(t *testing.T) {
	u, far := udpWay(t)
	// Without checksums the kernel does not cut (udp_send_skb: EIO or EINVAL).
	if err := unix.SetsockoptInt(int(u.Socket), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := u.WriteRun(make([]byte, 1000+1000+300), 1000); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{1000, 1000, 300} {
			n, err := far.Read(make([]byte, 4096))
			if err != nil || n != want {
				t.Fatalf("%d bytes, %v; want %d", n, err, want)
			}
		}
	}
	if !u.cannot.Load() {
		t.Error("it is tried again")
	}
}

// Nothing is allocated to tell in runs.
func TestRunsAllocateNothing(t *testing.T) {
	u, _ := udpWay(t)
	run := make([]byte, 4*100)
	if n := testing.AllocsPerRun(100, func() { _ = u.WriteRun(run, 100) }); n != 0 {
		t.Errorf("%v pieces of memory for a run", n)
	}
}

// BenchmarkFlush is a worker's turn of new connections, told to a peer over the loopback, whose
// half is part of it: a link in the lab does it on the sender's core too.
func BenchmarkFlush(b *testing.B) {
	for _, c := range []struct {
		name   string
		turn   int
		of     func(int) conntrack.State
		cannot bool
	}{
		{"64 of UDP in a run", 64, udp, false}, {"64 of UDP one by one", 64, udp, true},
		{"128 of TCP in a run", 128, tcp, false}, {"128 of TCP one by one", 128, tcp, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			u, far := udpWay(b)
			u.cannot.Store(c.cannot)
			if err := far.SetReadBuffer(1 << 12); err != nil { // what comes is dropped: who sends is measured
				b.Fatal(err)
			}
			ours, _ := sessions(b)
			j := New(0, NewOutlet([]*Link{{Way: u, Sessions: one{ours}}}))
			s := c.of(1)
			var before, after unix.Rusage
			_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
			for b.Loop() {
				for range c.turn {
					j.Insert(&s)
				}
				j.Flush()
			}
			_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
			cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(cpu)/float64(b.N*c.turn), "cpu-ns/conn")
			b.ReportMetric(float64(j.Sent())/float64(b.N), "batches/turn")
		})
	}
}
