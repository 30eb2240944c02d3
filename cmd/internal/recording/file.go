package recording

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// frame is one captured frame. Its bytes are valid until the next is read.
type frame struct {
	at   time.Time
	link layers.LinkType
	data []byte
	cut  bool // the capture kept less than there was (snapshot length)
}

// file reads the frames of a capture.
type file struct {
	next func() ([]byte, gopacket.CaptureInfo, error)
	link func(gopacket.CaptureInfo) (layers.LinkType, error)
}

// blockHeader opens a pcapng file (draft-ietf-opsawg-pcapng, section 4.1).
const blockHeader = 0x0a0d0d0a

// openFile reads the head of a capture.
func openFile(r io.Reader) (*file, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	magic, err := b.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("not a capture: shorter than 4 bytes: %w", err)
	}
	if binary.BigEndian.Uint32(magic) != blockHeader {
		p, err := pcapgo.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("neither pcap nor pcapng: %w", err)
		}
		return &file{
			next: p.ReadPacketData,
			link: func(gopacket.CaptureInfo) (layers.LinkType, error) { return p.LinkType(), nil },
		}, nil
	}
	ng, err := pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		return nil, fmt.Errorf("pcapng: %w", err)
	}
	return &file{next: ng.ReadPacketData, link: func(ci gopacket.CaptureInfo) (layers.LinkType, error) {
		i, err := ng.Interface(ci.InterfaceIndex)
		return i.LinkType, err
	}}, nil
}

// read reads the next frame into f. The error is io.EOF at the end, also of a capture that
// was cut in the middle of a frame, as one that is still being written is.
func (r *file) read(f *frame) error {
	data, info, err := r.next()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	if err != nil {
		return err
	}
	link, err := r.link(info)
	if err != nil {
		return err
	}
	*f = frame{at: info.Timestamp, link: link, data: data, cut: info.CaptureLength < info.Length}
	return nil
}
