package gen

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"holdfast/internal/lab"
)

// pcapFile makes a capture file in one of its forms.
func pcapFile(order binary.AppendByteOrder, magic, linkType uint32, packets ...[]byte) []byte {
	var b []byte
	b = order.AppendUint32(b, magic)
	b = order.AppendUint16(order.AppendUint16(b, 2), 4)
	b = append(b, make([]byte, 8)...)
	b = order.AppendUint32(order.AppendUint32(b, 1<<16), linkType)
	for i, p := range packets {
		b = order.AppendUint32(order.AppendUint32(b, uint32(i)), 0)
		b = order.AppendUint32(order.AppendUint32(b, uint32(len(p))), uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// datagram is a UDP datagram whose payload is its number.
func datagram(t *testing.T, from, to string, n int, link gopacket.SerializableLayer) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(from), DstIP: net.ParseIP(to)}
	udp := &layers.UDP{SrcPort: 1000, DstPort: 2000}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	all := []gopacket.SerializableLayer{ip, udp, gopacket.Payload(fmt.Sprintf("packet %06d", n))}
	if link != nil {
		all = slices.Insert(all, 0, link)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// ends is
//
//	ns client [c0]==veth==[p0] bridge in ns switch [p1]==veth==[s0] ns server
type ends struct {
	l              *lab.Lab
	client, server *lab.Namespace
	middle         *lab.Namespace
	sides          [2]*Side
}

func newEnds(t *testing.T) *ends {
	t.Helper()
	e := &ends{l: lab.ForTest(t)}
	for name, ns := range map[string]**lab.Namespace{"client": &e.client, "switch": &e.middle, "server": &e.server} {
		var err error
		if *ns, err = e.l.Namespace(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		e.middle.Bridge("b"),
		e.l.Veth(lab.End{Namespace: e.client, Name: "c0", MAC: macG0}, lab.End{Namespace: e.middle, Name: "p0"}),
		e.l.Veth(lab.End{Namespace: e.server, Name: "s0", MAC: macS0}, lab.End{Namespace: e.middle, Name: "p1"}),
		e.middle.Attach("b", "p0"), e.middle.Attach("b", "p1"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	in(t, e.client, func() (err error) { e.sides[0], err = NewSide(index(t, e.client, "c0"), macS0, macG0); return err })
	in(t, e.server, func() (err error) { e.sides[1], err = NewSide(index(t, e.server, "s0"), macG0, macS0); return err })
	t.Cleanup(func() { e.sides[0].Close(); e.sides[1].Close() })
	return e
}

func TestReplayKeepsOrderAcrossSides(t *testing.T) {
	e := newEnds(t)
	onlyIP := lab.CaptureOptions{Filter: func(f []byte) bool { return f[12] == 8 && f[13] == 0 }}
	atClient, err := e.client.Capture("c0", onlyIP)
	if err != nil {
		t.Fatal(err)
	}
	atServer, err := e.server.Capture("s0", onlyIP)
	if err != nil {
		t.Fatal(err)
	}
	ethernet := &layers.Ethernet{SrcMAC: net.HardwareAddr{1: 7}, DstMAC: net.HardwareAddr{1: 8}, EthernetType: layers.EthernetTypeIPv4}
	ethernet.SrcMAC, ethernet.DstMAC = append(ethernet.SrcMAC, 0, 0, 0, 0), append(ethernet.DstMAC, 0, 0, 0, 0)
	const count = 300
	var packets [][]byte
	for n := range count {
		from, to := "10.7.0.5", "192.0.2.1"
		if n%5 == 1 || n%7 == 3 {
			from, to = to, from
		}
		packets = append(packets, slices.Clone(datagram(t, from, to, n, ethernet)))
	}
	packets = append(packets, slices.Clone(datagram(t, "172.16.0.1", "192.0.2.1", count, ethernet)), make([]byte, 60))
	file := pcapFile(binary.LittleEndian, pcapMicroseconds, pcapEthernet, packets...)
	done, err := Replay{Client: netip.MustParsePrefix("10.7.0.0/16"), Patience: time.Second, Limit: patience}.Run(t.Context(), bytes.NewReader(file), e.sides[0], e.sides[1])
	if err != nil {
		t.Fatal(err)
	}
	if done.Client+done.Server != count || done.AtServer != done.Client || done.AtClient != done.Server || done.Skipped != 2 || done.Impatient != 0 || done.Truncated {
		t.Errorf("%+v", done)
	}
	arrived := append(atClient.Frames(), atServer.Frames()...)
	slices.SortStableFunc(arrived, func(a, b lab.Frame) int { return a.Time.Compare(b.Time) })
	if len(arrived) != count {
		t.Fatalf("%d packets arrived", len(arrived))
	}
	for n, f := range arrived {
		if got, want := string(f.Data[42:55]), fmt.Sprintf("packet %06d", n); got != want {
			t.Fatalf("%s arrived in place of %s", got, want)
		}
	}
}

func TestReplayIsBounded(t *testing.T) {
	e := newEnds(t)
	var packets [][]byte
	for n := range 20 {
		packets = append(packets, slices.Clone(datagram(t, "10.7.0.5", "192.0.2.1", n, nil)))
	}
	file := pcapFile(binary.BigEndian, pcapNanoseconds, pcapRaw, packets...)
	prefix := netip.MustParsePrefix("10.7.0.0/16")
	for _, row := range []struct {
		name        string
		replay      Replay
		least, most uint64
		took        time.Duration
	}{
		{"count", Replay{Client: prefix, Count: 7}, 7, 7, 0},
		{"rate", Replay{Client: prefix, Rate: 200}, 20, 20, 95 * time.Millisecond},
		{"limit", Replay{Client: prefix, Rate: 100, Limit: 50 * time.Millisecond}, 1, 6, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			done, err := row.replay.Run(t.Context(), bytes.NewReader(file), e.sides[0], e.sides[1])
			if err != nil || done.Client < row.least || done.Client > row.most || done.Took < row.took || done.Truncated != (done.Client < 20) {
				t.Errorf("%+v, %v", done, err)
			}
		})
	}
	if err := e.client.Down("c0"); err != nil {
		t.Fatal(err)
	}
	if done, err := (Replay{Client: prefix}).Run(t.Context(), bytes.NewReader(file), e.sides[0], e.sides[1]); err == nil {
		t.Errorf("%+v over a link that is down", done)
	}
}

// What the path swallows costs Patience, not the replay.
func TestReplayGivesUpWaitingForWhatIsDropped(t *testing.T) {
	e := newEnds(t)
	if err := e.middle.Down("p1"); err != nil {
		t.Fatal(err)
	}
	file := pcapFile(binary.LittleEndian, pcapMicroseconds, pcapRaw, slices.Clone(datagram(t, "10.7.0.5", "192.0.2.1", 0, nil)))
	done, err := Replay{Client: netip.MustParsePrefix("10.7.0.0/16"), Patience: 20 * time.Millisecond}.Run(t.Context(), bytes.NewReader(file), e.sides[0], e.sides[1])
	if err != nil || done.Client != 1 || done.AtServer != 0 || done.Impatient != 1 || done.Took > patience/2 {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestPcapReaderRefusesWhatItCannotRead(t *testing.T) {
	good := pcapFile(binary.LittleEndian, pcapMicroseconds, pcapRaw, []byte("x"))
	for name, file := range map[string][]byte{
		"empty":       nil,
		"pcapng":      append([]byte{0x0a, 0x0d, 0x0d, 0x0a}, make([]byte, 40)...),
		"link type":   pcapFile(binary.LittleEndian, pcapMicroseconds, 113),
		"cut packet":  good[:len(good)-1],
		"cut header":  good[:30],
		"huge packet": append(pcapFile(binary.LittleEndian, pcapMicroseconds, pcapRaw), bytes.Repeat([]byte{0xff}, 16)...),
	} {
		r, err := newPcapReader(bytes.NewReader(file))
		if err == nil {
			_, err = r.next()
		}
		if err == nil || err == io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newPcapReader(strings.NewReader("not a capture at all, but long")); err == nil {
		t.Error("text was taken")
	}
}
