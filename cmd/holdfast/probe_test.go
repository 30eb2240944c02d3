package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
)

// probe is a socket of the kernel's whose packets live for some hops only. Errors about
// them come back by its error queue (ip(7), IP_RECVERR): the kernel puts them there only
// if what they quote is a packet of this very socket.
type probe struct {
	kind int // unix.SOCK_STREAM, or SOCK_DGRAM for UDP and echo
	echo bool
}

var probes = map[string]probe{
	"UDP":  {kind: unix.SOCK_DGRAM},
	"ICMP": {kind: unix.SOCK_DGRAM, echo: true},
	"TCP":  {kind: unix.SOCK_STREAM},
}

// answer is what a probe heard: from a hop on the way, or from the far end.
type answer struct {
	from     netip.Addr
	farthest bool
}

// probeWait is how long a probe waits for its answer, longer than the node lets a packet
// wait for a neighbour. probeTries is how often it is sent, as traceroute does: on a busy
// machine a node may lose its lease and the packets it holds.
const (
	probeWait  = 6 * time.Second
	probeTries = 3
)

// send sends a probe with a hop limit to an address inside ns until it is answered.
func (p probe) send(ns *lab.Namespace, to netip.Addr, port uint16, hops int) (a answer, err error) {
	for range probeTries {
		err = ns.Do(func() error {
			a, err = p.ask(to, port, hops)
			return err
		})
		if !errors.Is(err, errSilence) {
			break
		}
	}
	return a, err
}

var errSilence = errors.New("no answer")

func (p probe) ask(to netip.Addr, port uint16, hops int) (answer, error) {
	family, proto, level, limit, tell := unix.AF_INET, 0, unix.IPPROTO_IP, unix.IP_TTL, unix.IP_RECVERR
	var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(to.AsSlice()[:4]), Port: int(port)}
	request := []byte{8, 0, 0, 0, 0, 0, 0, 1}
	if to.Is6() {
		family, level, limit, tell = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_RECVERR
		sa = &unix.SockaddrInet6{Addr: to.As16(), Port: int(port)}
		request[0] = 128
	}
	if p.echo {
		proto = unix.IPPROTO_ICMP
		if to.Is6() {
			proto = unix.IPPROTO_ICMPV6
		}
	}
	fd, err := unix.Socket(family, p.kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return answer{}, err
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.SetsockoptInt(fd, level, limit, hops), unix.SetsockoptInt(fd, level, tell, 1)); err != nil {
		return answer{}, err
	}
	if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return answer{}, fmt.Errorf("connect: %w", err)
	}
	if p.kind == unix.SOCK_DGRAM {
		if _, err := unix.Write(fd, request); err != nil {
			return answer{}, fmt.Errorf("send: %w", err)
		}
	}
	wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT*int16(p.kind&unix.SOCK_STREAM)}}
	switch n, err := polled(wait, time.Now().Add(probeWait)); {
	case err != nil:
		return answer{}, fmt.Errorf("poll: %w", err)
	case n == 0:
		return answer{}, errSilence
	}
	return heard(fd, to)
}

// polled is poll(2) until a deadline, whatever signals the process gets meanwhile.
func polled(fds []unix.PollFd, deadline time.Time) (n int, err error) {
	for {
		n, err = unix.Poll(fds, int(max(0, time.Until(deadline).Milliseconds())))
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// heard reads the error queue (struct sock_extended_err of linux/errqueue.h, and the
// address of who complained); with nothing in it the far end itself has answered.
func heard(fd int, to netip.Addr) (answer, error) {
	var oob [512]byte
	_, n, _, _, err := unix.Recvmsg(fd, nil, oob[:], unix.MSG_ERRQUEUE)
	if errors.Is(err, unix.EAGAIN) {
		return answer{to, true}, nil // an echo reply, a reset, or the connection is there
	}
	if err != nil {
		return answer{}, fmt.Errorf("error queue: %w", err)
	}
	all, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return answer{}, err
	}
	for _, m := range all {
		if len(m.Data) < 16+16 || m.Header.Type != unix.IP_RECVERR && m.Header.Type != unix.IPV6_RECVERR {
			continue
		}
		kind, offender := m.Data[5], m.Data[16:]
		var from netip.Addr
		switch binary.NativeEndian.Uint16(offender) {
		case unix.AF_INET:
			from = netip.AddrFrom4([4]byte(offender[4:8]))
		case unix.AF_INET6:
			from = netip.AddrFrom16([16]byte(offender[8:24]))
		}
		exceeded := to.Is4() && kind == 11 || to.Is6() && kind == 3
		return answer{from, !exceeded && from == to}, nil
	}
	return answer{}, errors.New("an error without its sender")
}

// TestH8_TracerouteShowsEveryHop: by datagrams, echo requests and SYNs, in both families,
// through the masquerade of IPv4, each hop is seen as it is: also the node (L1), and the
// routers before and behind it (H4).
func TestH8_TracerouteShowsEveryHop(t *testing.T) {
	t.Parallel()
	p := newPath(t, mtus{})
	for name, probe := range probes {
		for family, hops := range pathHops {
			t.Run(name+" over "+families[family], func(t *testing.T) {
				for i, want := range hops {
					got, err := probe.send(p.client, pathServer[family], uint16(33434+i), 1+i)
					if err != nil {
						t.Fatalf("hop %d: %v", 1+i, err)
					}
					if got.from != want || got.farthest != (i == len(hops)-1) {
						t.Errorf("hop %d: %+v, want %v", 1+i, got, want)
					}
				}
			})
		}
	}
}
