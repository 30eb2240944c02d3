package gen

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf/link"
)

// TCPFlows is a source of TCP connections in the kernel: first Open, which shakes hands
// for every one of them, then Send, which sends data on all of them in turn.
//
//	CLOSED --SYN--> (far side: SYN/ACK) --tcp_client: ACK--> OPEN --RST--> DEAD
//
// Data moves on by its length; where the far side's acknowledgements stay 1 MiB behind,
// it goes back to them, as a retransmission would. The far side is SinkAnswers, or
// anything that answers SYN with SYN/ACK and acknowledges data.
//
// It owns the XDP hook of the link that it sends by. Frames of other connections, and
// all else, reach the kernel of the namespace, which has to answer ARP for the sources.
type TCPFlows struct {
	live     *LiveFrames
	flows    uint32
	attached link.Link
}

// NewTCPFlows loads the programs and takes the link's XDP hook, in native mode.
func NewTCPFlows(f Flows) (*TCPFlows, error) {
	if err := f.check(smallestTCP); err != nil {
		return nil, fmt.Errorf("TCP flows: %w", err)
	}
	if f.Count > 1<<24 {
		return nil, fmt.Errorf("TCP flows: %d connections: at most %d are kept", f.Count, 1<<24)
	}
	live, err := newLive(f, smallestTCP, f.Count)
	if err != nil {
		return nil, err
	}
	g := &TCPFlows{live: live, flows: f.Count}
	g.attached, err = link.AttachXDP(link.XDPOptions{
		Program: live.objects.TcpClient, Interface: f.Ifindex, Flags: link.XDPDriverMode,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("TCP flows: XDP hook of link %d: %w", f.Ifindex, err), live.Close())
	}
	return g, nil
}

// openRate is how many SYNs a second Open sends where Flows names no rate: about half of
// what kernel routing forwards, so that few are lost. A lost SYN is repeated after 50 ms.
const openRate = 200_000

// openChunk is how many runs one system call of Open makes; runs without a frame take
// some 50 ns.
const openChunk = 1 << 16

// Open shakes hands for every connection that is not open yet, until all are, limit has
// passed or ctx ends. It returns how many are open, and an error where not all are.
func (g *TCPFlows) Open(ctx context.Context, limit time.Duration) (opened uint64, err error) {
	rate := g.live.rate
	defer func() { g.live.rate = rate }()
	if rate == 0 {
		g.live.rate = openRate
	}
	g.live.program = g.live.objects.LiveTcpOpen
	if _, err := g.live.arm(1 << 62); err != nil {
		return 0, err
	}
	for deadline := time.Now().Add(limit); ; {
		a, err := g.Answers()
		switch {
		case err != nil:
			return a.Opened, err
		case a.Opened >= uint64(g.flows):
			return a.Opened, nil
		case ctx.Err() != nil:
			return a.Opened, fmt.Errorf("TCP flows: %d of %d connections opened: %w", a.Opened, g.flows, ctx.Err())
		case time.Now().After(deadline):
			return a.Opened, fmt.Errorf("TCP flows: %d of %d connections opened in %v (%d reset)", a.Opened, g.flows, limit, a.Resets)
		}
		if _, err := g.live.run(openChunk); err != nil {
			return a.Opened, err
		}
	}
}

// Send sends segments with marks on all open connections in turn, bounded like
// LiveFrames.Send. It makes none where no connection is open.
func (g *TCPFlows) Send(limit time.Duration, count uint64) (made uint64, err error) {
	g.live.program = g.live.objects.LiveTcpData
	return g.live.Send(limit, count)
}

// Answers is what came back from the far side.
type Answers struct {
	Opened uint64 // connections
	Acks   uint64 // acknowledgements of data
	Resets uint64
}

// Answers returns what came back so far.
func (g *TCPFlows) Answers() (Answers, error) {
	var a liveAnswers
	if err := g.live.objects.Answered.Lookup(uint32(0), &a); err != nil {
		return Answers{}, fmt.Errorf("TCP flows: answers: %w", err)
	}
	return Answers{Opened: a.Opened, Acks: a.Acks, Resets: a.Resets}, nil
}

// Resent returns how often connections went back to what was acknowledged.
func (g *TCPFlows) Resent() (resent uint64, err error) {
	var flow uint32
	var f liveTcpFlow
	all := g.live.objects.Flows.Iterate()
	for all.Next(&flow, &f) {
		resent += uint64(f.Resent)
	}
	if err := all.Err(); err != nil {
		return 0, fmt.Errorf("TCP flows: records: %w", err)
	}
	return resent, nil
}

// Close gives the link back and unloads the programs.
func (g *TCPFlows) Close() error { return errors.Join(g.attached.Close(), g.live.Close()) }
