package explain

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane"
)

// frameMax bounds a frame of a trace, in bytes: what tcpdump writes at most.
const frameMax = 256 << 10

// source is what both readers of pcapgo are.
type source interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

// open tells pcap from pcapng and reads the head.
func open(r io.Reader) (source, error) {
	in := bufio.NewReader(r)
	magic, err := in.Peek(4)
	if err != nil {
		return nil, errors.New("it is shorter than the head of a pcap file")
	}
	if string(magic) == "\x0a\x0d\x0d\x0a" {
		return pcapgo.NewNgReader(newBlocks(in), pcapgo.NgReaderOptions{SkipUnknownVersion: true})
	}
	p, err := pcapgo.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("it is neither pcap nor pcapng: %w", err)
	}
	p.SetSnaplen(frameMax)
	return p, nil
}

// Trace explains the packets of a trace that was taken on a port, one after the other, and
// hands each to each. The View is that of a file, and is changed. Errors name the packet.
func (v *View) Trace(r io.Reader, port string, each func(*api.Explanation) error) error {
	in, err := v.port(port)
	if err != nil {
		return err
	}
	from, err := open(r)
	if err != nil {
		return err
	}
	if from.LinkType() != layers.LinkTypeEthernet {
		return fmt.Errorf("it has frames of %v: take it on an Ethernet device", from.LinkType())
	}
	f := dataplane.NewFollower(v.Ports)
	now := int64(0)
	for n := 1; ; n++ {
		frame, info, err := from.ReadPacketData()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("packet %d: the file is broken: %w", n, err)
		}
		now = max(now, info.Timestamp.UnixNano()) // traces may have small steps back
		e, way := f.Follow(v.Snapshot, now, in, frame)
		x := v.tell(in, &e, false)
		if way == dataplane.Leaves {
			x.In = v.portName(e.Conn.Egress)
		}
		at := info.Timestamp.UTC()
		x.Number, x.At = n, &at
		if err := each(&x); err != nil {
			return err
		}
	}
}
