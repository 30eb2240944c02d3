package gen

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// testLiveFrames is BPF_F_TEST_XDP_LIVE_FRAMES (<linux/bpf.h>).
const testLiveFrames = 1 << 1

// chunk is how many runs one system call makes: some 400 ms, which is how far Send may
// overrun its time. Every call ends with a grace period of RCU (synchronize_rcu in
// xdp_test_run_teardown), some 5 ms in which nothing is sent: with calls of 20 ms the load
// came in gusts, and a forwarder that was fast enough to go to sleep in between got less.
const chunk = 1 << 19

// LiveFrames is a source of frames in the kernel. Make it, and call Send, inside the
// namespace of the link. Not safe for concurrent use.
type LiveFrames struct {
	objects liveObjects
	program *ebpf.Program // the one that Send runs
	room    int           // bytes of the frames that the kernel lays out, see room
	rate    uint64
}

// NewLiveFrames makes a source of UDP datagrams, each with a mark. It needs root and
// Linux >= 5.18.
func NewLiveFrames(f Flows) (*LiveFrames, error) {
	if err := f.check(smallestUDP); err != nil {
		return nil, fmt.Errorf("live frames: %w", err)
	}
	g, err := newLive(f, smallestUDP, 1)
	if err != nil {
		return nil, err
	}
	g.program = g.objects.LiveUdp
	return g, nil
}

// NewSYNFlood makes a source of SYNs, each from a port drawn by lot and one of f.Count
// addresses, a power of two, of which f.Src is the first and divisible by it. The SYNs
// have 62 bytes and no mark.
func NewSYNFlood(f Flows) (*LiveFrames, error) {
	if err := f.check(frameSYN); err != nil {
		return nil, fmt.Errorf("SYN flood: %w", err)
	}
	if f.Count < 2 || f.Count&(f.Count-1) != 0 || number(f.Src)&(f.Count-1) != 0 {
		return nil, fmt.Errorf("SYN flood: %d sources from %s on: a power of two, and the first divisible by it, are needed", f.Count, f.Src)
	}
	f.Count, f.Size = f.Count-1, frameSYN // a mask
	g, err := newLive(f, frameSYN, 1)
	if err != nil {
		return nil, err
	}
	g.program = g.objects.LiveSynFlood
	return g, nil
}

// newLive loads the programs, with room for the records of so many connections.
func newLive(f Flows, smallest int, connections uint32) (*LiveFrames, error) {
	spec, err := loadLive()
	if err != nil {
		return nil, fmt.Errorf("live frames: %w", err)
	}
	spec.Maps[liveMapFlows].MaxEntries = connections
	g := &LiveFrames{rate: f.Rate, room: f.room(smallest)}
	if err := spec.LoadAndAssign(&g.objects, nil); err != nil {
		return nil, fmt.Errorf("live frames: loading the programs (root and Linux >= 5.18 are needed): %w", err)
	}
	c := liveConfig{
		Src: number(f.Src), Dst: number(f.Dst), Flows: f.Count, Ifindex: uint32(f.Ifindex), DstPort: f.DstPort,
	}
	if f.Size != IMIX {
		c.Size = uint16(f.sizeOf(0, 0, smallest))
	}
	copy(c.DstMac[:], f.DstMAC)
	copy(c.SrcMac[:], f.SrcMAC)
	if err := g.objects.Settings.Put(uint32(0), &c); err != nil {
		return nil, errors.Join(fmt.Errorf("live frames: settings: %w", err), g.Close())
	}
	return g, nil
}

// room returns the size of frames before the program cuts them: one byte more than the
// largest. A receiver that answers in a frame (XDP_TX) leaves its length behind, and the
// kernel does not put that right when it recycles the frame, unless the program changes
// its length too (net/bpf/test_run.c, frame_was_changed and ctx_was_changed).
func (f *Flows) room(smallest int) int {
	if f.Size == IMIX {
		return largest + 1
	}
	return f.sizeOf(0, 0, smallest) + 1
}

// Send makes frames until the given time has passed or count frames were made, whichever
// is first, and returns how many were made. A frame that the link then had no room for is
// made too: the link's statistics know.
func (g *LiveFrames) Send(limit time.Duration, count uint64) (made uint64, err error) {
	before, err := g.arm(count)
	if err != nil {
		return 0, err
	}
	for begin := time.Now(); ; {
		made, err = g.run(min(chunk, g.runs(count-made)))
		made -= before
		if err != nil || made >= count || time.Since(begin) >= limit {
			return made, err
		}
	}
}

// runs estimates how many runs of the program make n frames. With a rate most runs make
// none, so that even few frames take a whole chunk.
func (g *LiveFrames) runs(n uint64) uint64 {
	if g.rate == 0 {
		return n
	}
	return chunk
}

// arm allows count more frames from now on and returns how many there are already.
func (g *LiveFrames) arm(count uint64) (sent uint64, err error) {
	var p liveProgress
	if err := g.objects.State.Lookup(uint32(0), &p); err != nil {
		return 0, fmt.Errorf("live frames: progress: %w", err)
	}
	p.Until, p.Base, p.Rate = p.Sent+count, p.Sent, g.rate
	if p.Start, err = monotonic(); err != nil {
		return 0, err
	}
	if err := g.objects.State.Put(uint32(0), &p); err != nil {
		return 0, fmt.Errorf("live frames: progress: %w", err)
	}
	return p.Sent, nil
}

// run runs the program n times and returns how many frames there are then in all.
func (g *LiveFrames) run(n uint64) (sent uint64, err error) {
	_, err = g.program.Run(&ebpf.RunOptions{
		Data: make([]byte, g.room), Repeat: uint32(max(1, n)), Flags: testLiveFrames, BatchSize: 64,
	})
	if err != nil {
		return 0, fmt.Errorf("live frames: %w", err)
	}
	var p liveProgress
	if err := g.objects.State.Lookup(uint32(0), &p); err != nil {
		return 0, fmt.Errorf("live frames: progress: %w", err)
	}
	return p.Sent, nil
}

// Close unloads the programs.
func (g *LiveFrames) Close() error { return g.objects.Close() }

// monotonic reads the clock of the marks.
func monotonic() (uint64, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, fmt.Errorf("CLOCK_MONOTONIC: %w", err)
	}
	return uint64(now.Nano()), nil
}
