package recording

import (
	"fmt"
	"io"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// PlaintextPort is the UDP port that plaintext batches are written to in a capture, so that
// Wireshark with examples/wireshark/holdfast.lua shows them. No node sends to it.
const PlaintextPort = 7401

// plaintext writes a capture of batches, each as the payload of a UDP datagram between the
// addresses that the sealed one had. The nil pointer writes nothing.
type plaintext struct {
	out    *pcapgo.NgWriter
	buffer gopacket.SerializeBuffer
}

func newPlaintext(w io.Writer) (*plaintext, error) {
	out, err := pcapgo.NewNgWriter(w, layers.LinkTypeRaw)
	if err != nil {
		return nil, fmt.Errorf("writing the decrypted capture: %w", err)
	}
	return &plaintext{out: out, buffer: gopacket.NewSerializeBuffer()}, nil
}

func (p *plaintext) write(f *frame, d *datagram, batch []byte) error {
	if p == nil {
		return nil
	}
	udp := layers.UDP{SrcPort: layers.UDPPort(d.from.Port()), DstPort: PlaintextPort}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	}
	src, dst := d.from.Addr().AsSlice(), d.to.Addr().AsSlice()
	if d.from.Addr().Is4() {
		ip = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src, DstIP: dst}
	} else {
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src, DstIP: dst}
	}
	err := udp.SetNetworkLayerForChecksum(ip)
	if err == nil {
		options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
		err = gopacket.SerializeLayers(p.buffer, options, ip, &udp, gopacket.Payload(batch))
	}
	if err == nil {
		b := p.buffer.Bytes()
		err = p.out.WritePacket(gopacket.CaptureInfo{Timestamp: f.at, CaptureLength: len(b), Length: len(b)}, b)
	}
	if err != nil {
		return fmt.Errorf("writing the decrypted capture: %w", err)
	}
	return nil
}

func (p *plaintext) flush() error {
	if p == nil {
		return nil
	}
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("writing the decrypted capture: %w", err)
	}
	return nil
}
