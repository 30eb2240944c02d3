package gen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
)

// FrameBytes is the length of the frames of LiveFrames, without the FCS: the smallest
// that Ethernet knows.
const FrameBytes = 60

// testLiveFrames is BPF_F_TEST_XDP_LIVE_FRAMES (<linux/bpf.h>).
const testLiveFrames = 1 << 1

// chunk is how many frames one system call makes: some 400 ms, which is how far Send may
// overrun its time. Every call ends with a grace period of RCU (synchronize_rcu in
// xdp_test_run_teardown), some 5 ms in which nothing is sent: with calls of 20 ms the load
// came in gusts, and a forwarder that was fast enough to go to sleep in between got less.
const chunk = 1 << 19

// Flows says what LiveFrames sends: UDP datagrams of Count flows, in turn. The source
// address of flow f is Src + f/32768.
type Flows struct {
	DstMAC, SrcMAC net.HardwareAddr
	Src, Dst       netip.Addr // IPv4
	DstPort        uint16
	Count          uint32
	Ifindex        int // the link to send out of, in the namespace of the caller's thread
}

// LiveFrames is a source of frames in the kernel. Make it, and call Send, inside the
// namespace of the link. Not safe for concurrent use.
type LiveFrames struct {
	objects liveObjects
}

// NewLiveFrames loads the program. It needs root and Linux >= 5.18.
func NewLiveFrames(f Flows) (*LiveFrames, error) {
	if !f.Src.Is4() || !f.Dst.Is4() || f.Count == 0 || len(f.DstMAC) != 6 || len(f.SrcMAC) != 6 {
		return nil, errors.New("live frames: two IPv4 addresses, two MACs and at least one flow are needed")
	}
	g := &LiveFrames{}
	if err := loadLiveObjects(&g.objects, nil); err != nil {
		return nil, fmt.Errorf("live frames: loading the program (root and Linux >= 5.18 are needed): %w", err)
	}
	src, dst := f.Src.As4(), f.Dst.As4()
	c := liveConfig{
		Src: binary.BigEndian.Uint32(src[:]), Dst: binary.BigEndian.Uint32(dst[:]),
		Flows: f.Count, Ifindex: uint32(f.Ifindex), DstPort: f.DstPort,
	}
	copy(c.DstMac[:], f.DstMAC)
	copy(c.SrcMac[:], f.SrcMAC)
	if err := g.objects.Settings.Put(uint32(0), &c); err != nil {
		return nil, errors.Join(fmt.Errorf("live frames: settings: %w", err), g.Close())
	}
	return g, nil
}

// Send makes frames until the given time has passed or count frames were made,
// whichever is first, and returns how many frames the link took on.
func (g *LiveFrames) Send(limit time.Duration, count uint64) (made uint64, err error) {
	data := make([]byte, FrameBytes)
	for begin := time.Now(); made < count && time.Since(begin) < limit; {
		n := min(chunk, count-made)
		_, err := g.objects.LiveFrames.Run(&ebpf.RunOptions{
			Data: data, Repeat: uint32(n), Flags: testLiveFrames, BatchSize: 64,
		})
		if err != nil {
			return made, fmt.Errorf("live frames: %w", err)
		}
		made += n
	}
	return made, nil
}

// Close unloads the program.
func (g *LiveFrames) Close() error { return g.objects.Close() }
