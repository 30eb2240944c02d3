package xsk

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
)

// deadline is how long a test waits for what must happen.
const deadline = 10 * time.Second

// rig is a forwarder's two ports and the far ends of their cables, all in one
// namespace of its own:
//
//	g0 =========== p0  (forwarder)  p1 =========== g1
//	     queues0                         queues1
type rig struct {
	tb    testing.TB
	lab   *lab.Lab
	space *lab.Namespace
	maps  map[string]*ebpf.Map // XSKMAP of each device
}

// newRig builds it, or skips where that is not possible.
func newRig(tb testing.TB, queues0, queues1 int) *rig {
	tb.Helper()
	l := lab.ForTest(tb)
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Skipf("needs AF_XDP: %v", socketError(err))
	}
	if err := unix.Close(fd); err != nil {
		tb.Fatal(err)
	}
	space, err := l.Namespace("rig")
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig{tb: tb, lab: l, space: space, maps: map[string]*ebpf.Map{}}
	r.cable("g0", "p0", queues0)
	r.cable("g1", "p1", queues1)
	return r
}

// cable makes a pair of devices that say nothing by themselves and send every frame to
// the XSKMAP of the device, or drop it.
func (r *rig) cable(a, b string, queues int) {
	r.tb.Helper()
	for _, silence := range []string{"net/ipv6/conf/default/disable_ipv6", "net/ipv6/conf/all/disable_ipv6"} {
		if err := r.space.Sysctl(silence, "1"); err != nil {
			r.tb.Logf("no IPv6 to silence: %v", err)
		}
	}
	if err := r.lab.Veth(lab.End{Namespace: r.space, Name: a, Queues: queues}, lab.End{Namespace: r.space, Name: b, Queues: queues}); err != nil {
		r.tb.Fatal(err)
	}
	r.attach(a, queues)
	r.attach(b, queues)
}

// attach loads `return bpf_redirect_map(&xskmap, ctx->rx_queue_index, XDP_DROP)`.
func (r *rig) attach(device string, queues int) {
	r.tb.Helper()
	sockets, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(queues)})
	if err != nil {
		r.tb.Fatalf("XSKMAP: %v", err)
	}
	r.tb.Cleanup(func() { _ = sockets.Close() })
	const xdpDrop, queueIndexOffset = 1, 16
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "Apache-2.0",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, queueIndexOffset, asm.Word),
			asm.LoadMapPtr(asm.R1, sockets.FD()),
			asm.Mov.Imm(asm.R3, xdpDrop),
			asm.FnRedirectMap.Call(),
			asm.Return(),
		},
	})
	if err != nil {
		r.tb.Fatalf("XDP program: %v", err)
	}
	defer func() { _ = program.Close() }()
	err = r.space.Do(func() error {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		return netlink.LinkSetXdpFdWithFlags(link, program.FD(), unix.XDP_FLAGS_DRV_MODE)
	})
	if err != nil {
		r.tb.Fatalf("attach to %s: %v", device, err)
	}
	r.maps[device] = sockets
}

func (r *rig) umem(frames int) *Umem {
	r.tb.Helper()
	u, err := NewUmem(frames)
	if err != nil {
		r.tb.Fatal(err)
	}
	return u
}

// small rings keep tests quick.
var small = RingSizes{Fill: 256, Rx: 256, Tx: 256, Completion: 256}

// tryOpen opens a socket inside the namespace and puts it into the device's XSKMAP.
// Fields of c that are zero get small rings.
func (r *rig) tryOpen(device string, queue int, u *Umem, c Config) (*Socket, error) {
	var s *Socket
	err := r.space.Do(func() error {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		c.Ifindex, c.Queue, c.Umem = link.Attrs().Index, queue, u
		if c.Rings == (RingSizes{}) {
			c.Rings = small
		}
		if s, err = Open(c); err != nil {
			return err
		}
		return r.maps[device].Put(uint32(queue), uint32(s.Fd()))
	})
	return s, err
}

func (r *rig) open(device string, queue int, u *Umem, c Config) *Socket {
	r.tb.Helper()
	s, err := r.tryOpen(device, queue, u, c)
	if err != nil {
		r.tb.Fatal(err)
	}
	return s
}

// received returns how many packets a device has taken in since it was made.
func (r *rig) received(device string) uint64 {
	r.tb.Helper()
	link, err := r.space.Link(device)
	if err != nil {
		r.tb.Fatal(err)
	}
	return link.Attrs().Statistics.RxPackets
}

// close ends sockets and their memory, and checks that every frame came home. Packets
// on their way out are waited for: their frames would be in limbo.
func (r *rig) close(u *Umem, sockets ...*Socket) {
	r.tb.Helper()
	for _, s := range sockets {
		eventually(r.tb, "nothing in flight", func() bool {
			s.Reclaim()
			return s.fd < 0 || s.sent <= s.Unsent()
		})
		if err := s.Close(); err != nil {
			r.tb.Error(err)
		}
	}
	checkHome(r.tb, u)
	if err := u.Close(); err != nil {
		r.tb.Error(err)
	}
}

// checkSum fails unless the frames add up, held of them with the caller.
func checkSum(tb testing.TB, u *Umem, held int) {
	tb.Helper()
	a := u.Account()
	if a.Sum() != a.Total || a.Held != held || u.Faults() != 0 {
		tb.Fatalf("frames do not add up: %+v is %d, %d should be held, %d faults", a, a.Sum(), held, u.Faults())
	}
	for _, place := range []int{a.Free, a.Held, a.Fill, a.Rx, a.Tx, a.Completion, a.Kernel, a.Limbo} {
		if place < 0 {
			tb.Fatalf("a place has less than no frame: %+v", a)
		}
	}
}

// checkHome fails unless every frame is in the free list, once.
func checkHome(tb testing.TB, u *Umem) {
	tb.Helper()
	checkSum(tb, u, 0)
	seen := make([]bool, u.Frames())
	for _, frame := range u.free {
		if frame&offsetMask != 0 || seen[frame>>frameShift] {
			tb.Fatalf("the free list has frame %#x twice, or it is none", frame)
		}
		seen[frame>>frameShift] = true
	}
	if len(u.free) != u.Frames() {
		tb.Fatalf("%d of %d frames came home: %+v", len(u.free), u.Frames(), u.Account())
	}
}

// eventually waits for a condition by trying it again and again.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for end := time.Now().Add(deadline); !holds(); {
		if time.Now().After(end) {
			tb.Fatalf("not within %v: %s", deadline, what)
		}
	}
}

const frameLength = 64

// write makes batch frames of a protocol nobody speaks (IEEE 802 local experimental
// EtherType 1), numbered from first on, and returns how many frames there were for it.
func write(u *Umem, batch []Desc, first uint32) int {
	n := u.Alloc(batch)
	for i := range batch[:n] {
		batch[i].Len = frameLength
		frame := u.Bytes(batch[i])
		clear(frame)
		copy(frame, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x88\xb5")
		binary.BigEndian.PutUint32(frame[14:], first+uint32(i))
	}
	return n
}

// number reads what write wrote.
func number(frame []byte) (uint32, error) {
	if len(frame) != frameLength || frame[12] != 0x88 || frame[13] != 0xb5 {
		return 0, fmt.Errorf("not a frame of ours: %x", frame)
	}
	return binary.BigEndian.Uint32(frame[14:]), nil
}

// kickAll kicks until nothing is left or nothing moves.
func kickAll(s *Socket) Kicked {
	for {
		if k := s.Kick(); k != KickedMore {
			return k
		}
	}
}

// forward takes one turn: what came in on in leaves on out.
func forward(in, out *Socket, batch []Desc) int {
	n := in.Receive(batch)
	sent := out.Transmit(batch[:n])
	in.Umem().Free(batch[sent:n])
	kickAll(out)
	out.Reclaim()
	in.Refill()
	return n
}
