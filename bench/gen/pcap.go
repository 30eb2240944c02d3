package gen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// pcapReader reads the classic capture file (draft-ietf-opsawg-pcap), of either byte
// order, with microseconds or nanoseconds. The reader of gopacket (pcapgo) would do, but
// brings golang.org/x/net along.
//
//	file:    magic 4 | major 2 | minor 2 | reserved 8 | snapshot length 4 | link type 4
//	packet:  seconds 4 | fraction 4 | captured length 4 | length 4 | captured bytes
type pcapReader struct {
	from     io.Reader
	order    binary.ByteOrder
	linkType uint16
	packet   []byte
}

// Magic numbers of the file, and the link types that are read.
const (
	pcapMicroseconds = 0xa1b2c3d4
	pcapNanoseconds  = 0xa1b23c4d
	pcapEthernet     = 1
	pcapRaw          = 101
)

// pcapLongest is the longest packet that is believed.
const pcapLongest = 1 << 18

func newPcapReader(from io.Reader) (*pcapReader, error) {
	var header [24]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return nil, fmt.Errorf("header of the capture file: %w", err)
	}
	r := &pcapReader{from: from}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if magic := order.Uint32(header[:]); magic == pcapMicroseconds || magic == pcapNanoseconds {
			r.order = order
		}
	}
	if r.order == nil {
		return nil, errors.New("not a classic pcap file (pcapng is converted by `tshark -F pcap`)")
	}
	r.linkType = uint16(r.order.Uint32(header[20:])) // above are the bits of the FCS
	if r.linkType != pcapEthernet && r.linkType != pcapRaw {
		return nil, fmt.Errorf("link type %d: only Ethernet (%d) and raw IP (%d) are read", r.linkType, pcapEthernet, pcapRaw)
	}
	return r, nil
}

// next returns the next IP packet, nil for one that is not IP or was not captured whole;
// valid until the next call. io.EOF at the end.
func (r *pcapReader) next() ([]byte, error) {
	var header [16]byte
	if _, err := io.ReadFull(r.from, header[:]); err != nil {
		return nil, err // io.EOF between packets
	}
	captured, length := r.order.Uint32(header[8:]), r.order.Uint32(header[12:])
	if captured > pcapLongest {
		return nil, fmt.Errorf("a packet of %d bytes: the file is damaged", captured)
	}
	if int(captured) > cap(r.packet) {
		r.packet = make([]byte, captured)
	}
	r.packet = r.packet[:captured]
	if _, err := io.ReadFull(r.from, r.packet); err != nil {
		return nil, fmt.Errorf("the last packet is cut: %w", err)
	}
	if captured != length {
		return nil, nil
	}
	return r.ip(), nil
}

// ip takes the Ethernet header off.
func (r *pcapReader) ip() []byte {
	if r.linkType == pcapRaw {
		return r.packet
	}
	if len(r.packet) < 14 {
		return nil
	}
	if t := binary.BigEndian.Uint16(r.packet[12:]); t != 0x0800 && t != 0x86dd {
		return nil
	}
	return r.packet[14:]
}
