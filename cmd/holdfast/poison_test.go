package main

import (
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
)

// markedBinary panics at packets that are marked (tag `marked`).
var markedBinary string

// markedFrame is a datagram of the client at which that binary panics.
func markedFrame(t *testing.T, to net.HardwareAddr, body string) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: client.AsSlice(), DstIP: server.AsSlice()}
	udp := &layers.UDP{SrcPort: 4000, DstPort: 9}
	udp.SetNetworkLayerForChecksum(ip)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, DstMAC: to, EthernetType: layers.EthernetTypeIPv4},
		ip, udp, gopacket.Payload("holdfast: panic at this "+body)); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// contained asks a daemon what its panics have come to.
func (d *daemon) contained(t *testing.T) api.Containment {
	t.Helper()
	s, err := d.ask()
	if err != nil {
		t.Fatal(err)
	}
	return s.Containment
}

// quarantined returns how many packets of lan a daemon has dropped undecoded.
func (d *daemon) quarantined(t *testing.T) uint64 {
	t.Helper()
	var drops api.Drops
	strict(t, d.tell(t, "drops", "--json").said(t), &drops)
	for _, p := range drops.Ports {
		if p.Port == "lan" {
			return p.Receive["quarantined"]
		}
	}
	return 0
}

// goesOn sends something over a connection to an echo and waits for all of it.
func goesOn(t *testing.T, conn net.Conn, what string) {
	t.Helper()
	back := make([]byte, len(what))
	err := conn.SetDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = conn.Write([]byte(what))
	}
	if err == nil {
		_, err = io.ReadFull(conn, back)
	}
	if err != nil || string(back) != what {
		t.Fatalf("%s came back as %q: %v", what, back, err)
	}
}

// TestREL24_APacketTakesDownNoNode: a packet that makes the path panic costs itself on the
// active node: no failover, no connection. The standby knows it by then, and drops it at first
// sight when it has taken over; another one costs itself there as well.
func TestREL24_APacketTakesDownNoNode(t *testing.T) {
	s := newSite(t, 0)
	var err error
	if markedBinary, err = build(t, "-tags", "marked"); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.places {
		p.binary = markedBinary
	}
	a, b := s.startPair(t)
	echoes(t, s.server, netip.AddrPortFrom(server, 7))
	conn := dial(t, s.client, "tcp", "", netip.AddrPortFrom(server, 7))
	goesOn(t, conn, "before")
	term := a.group().Term

	w, err := s.client.Wire("c0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	status, err := a.ask()
	if err != nil {
		t.Fatal(err)
	}
	to, err := net.ParseMAC(status.Ports[0].MAC)
	if err != nil || status.Ports[0].Name != "lan" {
		t.Fatalf("ports %+v: %v", status.Ports, err)
	}
	first, second := markedFrame(t, to, "first"), markedFrame(t, to, "again")
	send := func(frame []byte) {
		t.Helper()
		if err := w.Send(frame); err != nil {
			t.Fatal(err)
		}
	}
	send(first)
	eventually(t, "a contains a panic", func() bool { return a.contained(t).Panics == 1 })
	eventually(t, "b knows the packet", func() bool { return b.contained(t) == api.Containment{Quarantined: 1} })
	for range 50 {
		send(first)
		goesOn(t, conn, "among them")
	}
	eventually(t, "a drops it undecoded", func() bool { return a.quarantined(t) == 50 })
	if g := a.group(); g.Role != "active" || g.Term != term || a.contained(t).Panics != 1 {
		t.Errorf("after 51 such packets: %+v, %+v", g, a.contained(t))
	}
	crashesAre(t, a, first)

	a.stop(t, unix.SIGKILL)
	eventually(t, "b is active", func() bool { return b.group().Role == "active" })
	goesOn(t, conn, "after the failover")
	send(first)
	eventually(t, "b drops it undecoded", func() bool { return b.quarantined(t) == 1 })
	send(second)
	eventually(t, "b contains a panic", func() bool { return b.contained(t).Panics == 1 })
	goesOn(t, conn, "after another")
	if n := b.quarantined(t); n != 1 {
		t.Errorf("b dropped %d packets undecoded, of two that differ", n)
	}
}

// crashesAre looks whether a daemon shows and writes one crash, with its packet.
func crashesAre(t *testing.T, d *daemon, frame []byte) {
	t.Helper()
	name := t.TempDir() + "/crashes.pcapng"
	var all api.Crashes
	if err := json.Unmarshal([]byte(d.tell(t, "crashes", "--json", "--write", name).said(t)), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Crashes) != 1 || all.Crashes[0].Panic != "a packet is marked" || all.Crashes[0].Port != "lan" || string(all.Crashes[0].Frame) != string(frame) {
		t.Errorf("crashes: %+v", all)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := r.ReadPacketData()
	if err != nil || string(data) != string(frame) {
		t.Errorf("written: %x, %v, want %x", data, err, frame)
	}
}
