package gen

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asavie/xdp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// SendAFXDP sends the UDP frames of LiveFrames from an independent hand: every frame is
// built by gopacket and sent by github.com/asavie/xdp from an AF_XDP socket on queue 0 of
// the link. It ends when limit has passed, count frames were made or ctx ends, and returns
// how many frames the kernel took.
//
// A process makes one run and ends: the library never unmaps its rings, so the queue stays
// taken (EBUSY) for as long as the process lives. It panics where sending fails for any
// reason but EAGAIN and EBUSY; that comes back as an error.
func SendAFXDP(ctx context.Context, f Flows, limit time.Duration, count uint64) (made uint64, err error) {
	if err := f.check(smallestUDP); err != nil {
		return 0, fmt.Errorf("AF_XDP source: %w", err)
	}
	defer func() {
		if v := recover(); v != nil {
			err = errors.Join(err, fmt.Errorf("AF_XDP source: after %d frames the library panicked: %v", made, v))
		}
	}()
	socket, err := xdp.NewSocket(f.Ifindex, 0, &xdp.SocketOptions{
		NumFrames: afxdpFrames, FrameSize: 2048,
		FillRingNumDescs: 64, CompletionRingNumDescs: afxdpFrames, TxRingNumDescs: afxdpFrames,
	})
	if err != nil {
		return 0, fmt.Errorf("AF_XDP source: socket on link %d: %w", f.Ifindex, err)
	}
	defer func() {
		if closing := socket.Close(); closing != nil {
			err = errors.Join(err, fmt.Errorf("AF_XDP source: closing: %w", closing))
		}
	}()
	s := &afxdpSource{socket: socket, build: newBuilder(f), flows: f, begin: time.Now()}
	for s.made < count && ctx.Err() == nil && time.Since(s.begin) < limit {
		if err := s.batch(count - s.made); err != nil {
			return s.taken(), err
		}
	}
	if err := s.drain(ctx); err != nil {
		return s.taken(), err
	}
	return s.taken(), nil
}

// afxdpFrames is how many frames are in flight at most.
const afxdpFrames = 1024

// afxdpBatch is how many frames a call of Transmit gets: the kernel sends 32 a system
// call in copy mode (net/xdp/xsk.c, TX_BATCH_SIZE).
const afxdpBatch = 32

type afxdpSource struct {
	socket *xdp.Socket
	build  *builder
	flows  Flows
	begin  time.Time
	made   uint64 // handed to the ring
}

// taken returns how many frames the kernel has sent on.
func (s *afxdpSource) taken() uint64 { return s.made - uint64(s.socket.NumTransmitted()) }

// batch hands at most n frames to the ring: as many as have a place and are due.
func (s *afxdpSource) batch(n uint64) error {
	s.socket.Complete(s.socket.NumCompleted())
	n = min(n, afxdpBatch)
	if s.flows.Rate > 0 {
		due := uint64(time.Since(s.begin).Seconds()*float64(s.flows.Rate)) + 1
		n = min(n, due-min(due, s.made))
	}
	descs := s.socket.GetDescs(min(int(n), s.socket.NumFreeTxSlots()))
	for i := range descs {
		frame, err := s.build.frame(s.made + uint64(i))
		if err != nil {
			return fmt.Errorf("AF_XDP source: frame %d: %w", s.made, err)
		}
		descs[i].Len = uint32(copy(s.socket.GetFrame(descs[i]), frame))
	}
	// With nothing due it kicks what the kernel has not taken yet.
	s.made += uint64(s.socket.Transmit(descs))
	return nil
}

// drain kicks until the kernel has taken everything, for a second at most.
func (s *afxdpSource) drain(ctx context.Context) error {
	for end := time.Now().Add(time.Second); s.socket.NumTransmitted() > 0; {
		if ctx.Err() != nil || time.Now().After(end) {
			return fmt.Errorf("AF_XDP source: the kernel left %d frames in the ring", s.socket.NumTransmitted())
		}
		s.socket.Transmit(nil)
		s.socket.Complete(s.socket.NumCompleted())
	}
	return nil
}

// builder makes frames with gopacket.
type builder struct {
	flows    Flows
	ethernet layers.Ethernet
	ip       layers.IPv4
	buffer   gopacket.SerializeBuffer
	payload  []byte
}

func newBuilder(f Flows) *builder {
	return &builder{
		flows:    f,
		ethernet: layers.Ethernet{SrcMAC: f.SrcMAC, DstMAC: f.DstMAC, EthernetType: layers.EthernetTypeIPv4},
		ip:       layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolUDP, DstIP: f.Dst.AsSlice()},
		buffer:   gopacket.NewSerializeBuffer(),
		payload:  make([]byte, largest),
	}
}

// frame builds the n-th frame of all flows in turn; it is valid until the next call.
func (b *builder) frame(n uint64) ([]byte, error) {
	flow, number := uint32(n%uint64(b.flows.Count)), uint32(n/uint64(b.flows.Count))
	now, err := monotonic()
	if err != nil {
		return nil, err
	}
	source := b.flows.source(flow)
	b.ip.SrcIP, b.ip.Id = source.Addr().AsSlice(), uint16(n)
	udp := layers.UDP{SrcPort: layers.UDPPort(source.Port()), DstPort: layers.UDPPort(b.flows.DstPort)}
	if err := udp.SetNetworkLayerForChecksum(&b.ip); err != nil {
		return nil, err
	}
	payload := b.payload[:b.flows.sizeOf(flow, number, smallestUDP)-(smallestUDP-MarkBytes)]
	Mark{Flow: flow, Number: number, Time: now}.Append(payload[:0])
	err = gopacket.SerializeLayers(b.buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&b.ethernet, &b.ip, &udp, gopacket.Payload(payload))
	return b.buffer.Bytes(), err
}

// notReady says whether a link is not ready to send: a state that passes.
func notReady(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR)
}
