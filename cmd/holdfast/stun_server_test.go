package main

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/pion/stun/v3"

	"holdfast/internal/lab"
)

// stunServer answers as RFC 5780 wants of a server for behaviour discovery: on two
// addresses and two ports each, from where the request asks for (CHANGE-REQUEST), naming
// the other address and port (OTHER-ADDRESS).
//
//	sockets[address][port]; a request that came in by [i][j] is answered by [i^ip][j^port]
type stunServer struct {
	at      [2][2]netip.AddrPort
	sockets [2][2]net.PacketConn
}

// The flags of CHANGE-REQUEST (RFC 5780 section 7.2).
const (
	changeIP   = 0x4
	changePort = 0x2
)

// serveSTUN starts one, for as long as the test runs.
func serveSTUN(t *testing.T, ns *lab.Namespace, addresses [2]netip.Addr, ports [2]uint16) *stunServer {
	t.Helper()
	s := &stunServer{}
	var readers sync.WaitGroup
	for i, a := range addresses {
		for j, port := range ports {
			s.at[i][j] = netip.AddrPortFrom(a, port)
			conn, err := ns.ListenPacket("udp", s.at[i][j].String())
			if err != nil {
				t.Fatal(err)
			}
			s.sockets[i][j] = conn
		}
	}
	for i := range s.sockets {
		for j := range s.sockets[i] {
			readers.Go(func() { s.serve(i, j) })
		}
	}
	t.Cleanup(func() {
		for _, pair := range s.sockets {
			for _, conn := range pair {
				conn.Close()
			}
		}
		readers.Wait()
	})
	return s
}

// serve answers what one socket gets until it is closed.
func (s *stunServer) serve(i, j int) {
	var b [1500]byte
	for {
		n, from, err := s.sockets[i][j].ReadFrom(b[:])
		if err != nil {
			return // closed
		}
		request := &stun.Message{Raw: append([]byte(nil), b[:n]...)}
		if request.Decode() != nil || request.Type != stun.BindingRequest {
			continue
		}
		ip, port := 0, 0
		if change, err := request.Get(stun.AttrChangeRequest); err == nil && len(change) == 4 {
			if change[3]&changeIP != 0 {
				ip = 1
			}
			if change[3]&changePort != 0 {
				port = 1
			}
		}
		client := from.(*net.UDPAddr)
		other, origin := s.at[i^1][j^1], s.at[i^ip][j^port]
		response, err := stun.Build(stun.NewTransactionIDSetter(request.TransactionID), stun.BindingSuccess,
			&stun.XORMappedAddress{IP: client.IP, Port: client.Port},
			&stun.MappedAddress{IP: client.IP, Port: client.Port},
			&stun.ResponseOrigin{IP: origin.Addr().AsSlice(), Port: int(origin.Port())},
			&stun.OtherAddress{IP: other.Addr().AsSlice(), Port: int(other.Port())})
		if err != nil {
			continue
		}
		_, _ = s.sockets[i^ip][j^port].WriteTo(response.Raw, from) // lost ones are asked for again
	}
}
