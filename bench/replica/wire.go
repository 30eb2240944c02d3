package replica

import (
	"errors"
	"fmt"
	"net"
	"time"

	"holdfast/bench/tracker"
	"holdfast/conntrack"
	"holdfast/sync/journal"
	"holdfast/sync/seal"
)

// headers are those of a datagram on an Ethernet: Ethernet, IPv4 and UDP, in bytes.
const headers = 14 + 20 + 8

// Wire is what telling of a connection costs on the wire, in bytes: the whole of every frame,
// shared out among what it tells.
type Wire struct{ New, Update, Delete float64 }

// meter is a way that counts what leaves by it.
type meter struct {
	way   net.Conn
	bytes int
}

// Write sends a datagram (journal.Way).
func (m *meter) Write(datagram []byte) error {
	m.bytes += len(datagram) + headers
	_, err := m.way.Write(datagram)
	return err
}

// How many packets a worker takes in a turn under load, at whose end it flushes: a burst of
// one port, and one of both.
const (
	OnePort   = 64
	BothPorts = 128
)

// Measure tells of so many established, masqueraded TCP connections by a sealed lane over a
// socket, as a worker does in turns of so many packets: that they are there, that they have
// changed, that they have ended. It counts the bytes. In a turn of all of them every datagram
// but the last is full.
func Measure(conns, turn int) (w Wire, err error) {
	load, err := tracker.Fill(conns, 0)
	if err != nil {
		return w, err
	}
	defer load.Close()
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	way, err := net.Dial("udp4", sink.LocalAddr().String())
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, way.Close()) }()
	sessions, err := newSession()
	if err != nil {
		return w, err
	}
	m := &meter{way: way}
	link := &journal.Link{Way: m, Sessions: sessions}
	lane := journal.New(0, journal.NewOutlet([]*journal.Link{link}))
	each := func(tell func(s *conntrack.State)) float64 {
		before, told := m.bytes, 0
		var s conntrack.State
		for i := range load.Table.High() {
			if !load.Table.Export(i, int64(time.Hour), &s) {
				continue
			}
			tell(&s)
			if told++; told%turn == 0 {
				lane.Flush()
			}
		}
		lane.Flush()
		return float64(m.bytes-before) / float64(told)
	}
	w.New = each(lane.Insert)
	w.Update = each(lane.Update)
	w.Delete = each(func(s *conntrack.State) { lane.Delete(s, conntrack.EndExpired) })
	if refused := link.Refused.Load(); refused > 0 {
		return w, fmt.Errorf("the socket refused %d datagrams", refused)
	}
	return w, nil
}

// newSession returns one end of a sealed session.
func newSession() (*seal.Peer, error) {
	keys := []seal.Key{seal.NewKey()}
	a, err := seal.NewPeer(seal.Config{Keys: keys})
	if err != nil {
		return nil, err
	}
	b, err := seal.NewPeer(seal.Config{Keys: keys, Part: seal.Responder})
	if err != nil {
		return nil, err
	}
	confirm := a.Receive(0, b.Receive(0, a.Tick(0, nil), nil).Reply, nil).Reply
	a.Receive(0, b.Receive(0, confirm, nil).Reply, nil)
	if a.Session() == nil {
		return nil, errors.New("no session came about")
	}
	return a, nil
}
