package xdp

import (
	"bytes"
	"errors"
	"testing"

	afxdp "github.com/asavie/xdp"

	"holdfast/dataplane/xsk"
)

// TestSocket: what arrives on the port arrives in the socket of its queue, and what
// the socket sends leaves past the egress hook, at either hook. The socket is one that
// somebody else wrote.
func TestSocket(t *testing.T) {
	for _, row := range []struct {
		name string
		mtu  peerMTU
		mode Mode
	}{
		{"native", ordinary, ModeNativeCopy},
		{"generic", jumbo, ModeGeneric},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPort(t, row.mtu)
			program := p.attach(t)
			if mode := program.Mode(xsk.ModeCopy); mode != row.mode {
				t.Errorf("mode %s, want %s", mode, row.mode)
			}
			var socket *afxdp.Socket
			check(t, p.node.Do(func() (err error) {
				socket, err = afxdp.NewSocket(program.Ifindex(), 0, nil)
				return err
			}))
			defer func() { check(t, socket.Close()) }()
			check(t, program.SetSocket(0, socket.FD()))
			check(t, program.Up())
			socket.Fill(socket.GetDescs(socket.NumFreeFillSlots()))
			p.address(t)
			p.sendTo(t, "to the socket")

			received := false
			eventually(t, "the datagram in the socket", func() bool {
				n, _, err := socket.Poll(0)
				check(t, err)
				for _, d := range socket.Receive(n) {
					received = received || bytes.Contains(socket.GetFrame(d), []byte("to the socket"))
				}
				return received
			})

			out := socket.GetDescs(1)
			out[0].Len = uint32(copy(socket.GetFrame(out[0]), marker))
			if n := socket.Transmit(out); n != 1 {
				t.Fatalf("%d frames transmitted, want 1", n)
			}
			_, _, err := socket.Poll(0)
			check(t, err)
			eventually(t, "the socket's frame on the wire", func() bool { return p.markers() > 0 })

			p.provoke(t)
			p.mute(t, provoked)
			if err := p.detach(); !errors.Is(err, ErrInUse) {
				t.Errorf("Detach beside a living socket: %v, want ErrInUse", err)
			}
		})
	}
}
