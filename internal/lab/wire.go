package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Wire is a link's end in the hands of the test: it sends frames as they are and receives
// what the link receives, so that a goroutine can be a host whose protocols this kernel
// does not have (VLANs, SCTP, GRE, ESP). The kernel of the namespace sees the frames too,
// and answers them if it has an address there.
//
// One goroutine receives, any may send.
type Wire struct {
	name    string
	file    *os.File
	buffer  []byte
	control []byte
}

// Wire opens a link's end. Every frame that arrives after it returned can be received. It
// is the caller's to close.
func (n *Namespace) Wire(link string) (*Wire, error) {
	l, err := n.Link(link)
	if err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	w := &Wire{name: link + " in " + n.name, buffer: make([]byte, 1<<16), control: make([]byte, unix.CmsgSpace(auxdataLen))}
	if err := n.Do(func() error { return w.open(l.Attrs().Index) }); err != nil {
		return nil, fmt.Errorf("wire %s: %w", w.name, err)
	}
	return w, nil
}

func (w *Wire) open(ifindex int) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	for _, option := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{unix.SOL_PACKET, unix.PACKET_AUXDATA, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer},
	} {
		if err := unix.SetsockoptInt(fd, option.level, option.name, option.value); err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("setsockopt %d: %w", option.name, err)
		}
	}
	const allProtocols = uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00) // network byte order
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: ifindex}); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("bind: %w", err)
	}
	w.file = os.NewFile(uintptr(fd), "wire")
	return nil
}

// Send sends one frame.
func (w *Wire) Send(frame []byte) error {
	if _, err := w.file.Write(frame); err != nil {
		return fmt.Errorf("send %d bytes on %s: %w", len(frame), w.name, err)
	}
	return nil
}

// Receive returns the next frame, with its VLAN tag where it has one. It waits until the
// deadline; the error is then os.ErrDeadlineExceeded.
func (w *Wire) Receive(deadline time.Time) ([]byte, error) {
	if err := w.file.SetReadDeadline(deadline); err != nil {
		return nil, fmt.Errorf("receive on %s: %w", w.name, err)
	}
	raw, err := w.file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("receive on %s: %w", w.name, err)
	}
	var frame []byte
	waitErr := raw.Read(func(fd uintptr) bool {
		var n, controlLen int
		n, controlLen, _, _, err = unix.Recvmsg(int(fd), w.buffer, w.control, 0)
		if err == unix.EAGAIN || err == unix.EINTR || err == unix.ENETDOWN { // frames go on when the link is up
			return false
		}
		if err == nil {
			frame = retag(w.buffer[:n], w.control[:controlLen])
		}
		return true
	})
	if err := errors.Join(waitErr, err); waitErr != nil || err != nil && frame == nil {
		return nil, fmt.Errorf("receive on %s: %w", w.name, err)
	}
	return frame, nil
}

// struct tpacket_auxdata of <linux/if_packet.h>:
//
//	0        4     8         12    14    16         18          20
//	+--------+-----+---------+-----+-----+----------+-----------+
//	| status | len | snaplen | mac | net | VLAN TCI | VLAN TPID |
//	+--------+-----+---------+-----+-----+----------+-----------+
const (
	auxdataLen     = 20
	auxdataVLAN    = 1 << 4 // TP_STATUS_VLAN_VALID
	ethernetTypeAt = 12
)

// retag returns a copy of a frame with the tag that the kernel took out of it before it
// came to the socket (skb_vlan_untag).
func retag(frame, control []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(frame) < ethernetTypeAt {
		return append([]byte(nil), frame...)
	}
	out := append(make([]byte, 0, len(frame)+4), frame[:ethernetTypeAt]...)
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < auxdataLen {
			continue
		}
		if binary.NativeEndian.Uint32(m.Data)&auxdataVLAN != 0 {
			out = binary.BigEndian.AppendUint16(out, binary.NativeEndian.Uint16(m.Data[18:]))
			out = binary.BigEndian.AppendUint16(out, binary.NativeEndian.Uint16(m.Data[16:]))
		}
	}
	return append(out, frame[ethernetTypeAt:]...)
}

// Close closes the end. The link stays.
func (w *Wire) Close() error {
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("close wire %s: %w", w.name, err)
	}
	return nil
}
