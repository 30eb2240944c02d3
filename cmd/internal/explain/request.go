package explain

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane/packet"
)

// sender is the station that described packets come from.
var sender = net.HardwareAddr{2, 0, 0, 0, 1, 0}

// frameOf builds the frame that a request describes, for a station. Errors wrap api.ErrUsage.
func frameOf(r *api.ExplainRequest, mac packet.MAC) ([]byte, error) {
	wrong := func(format string, args ...any) ([]byte, error) {
		return nil, fmt.Errorf("%w: explain: %s", api.ErrUsage, fmt.Sprintf(format, args...))
	}
	ported := r.Proto == "tcp" || r.Proto == "udp"
	from, err := endOf(r.From, ported)
	if err != nil {
		return wrong("from %v", err)
	}
	to, err := endOf(r.To, ported)
	if err != nil {
		return wrong("to %v", err)
	}
	if from.Addr().Is4() != to.Addr().Is4() {
		return wrong("from %v and to %v are of two families", from.Addr(), to.Addr())
	}
	eth := &layers.Ethernet{SrcMAC: sender, DstMAC: mac[:], EthernetType: layers.EthernetTypeIPv4}
	four := &layers.IPv4{Version: 4, TTL: cmp.Or(r.TTL, 64), SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(), Flags: layers.IPv4DontFragment}
	six := &layers.IPv6{Version: 6, HopLimit: cmp.Or(r.TTL, 64), SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	var network gopacket.NetworkLayer = four
	stack := []gopacket.SerializableLayer{eth, four}
	if from.Addr().Is6() {
		eth.EthernetType, network, stack[1] = layers.EthernetTypeIPv6, six, six
	}
	switch r.Proto {
	case "tcp":
		tcp := &layers.TCP{SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), Window: 65535}
		if err := setFlags(tcp, cmp.Or(r.Flags, "S")); err != nil {
			return wrong("%v", err)
		}
		four.Protocol, six.NextHeader = layers.IPProtocolTCP, layers.IPProtocolTCP
		stack = append(stack, tcp)
		err = tcp.SetNetworkLayerForChecksum(network)
	case "udp":
		udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
		four.Protocol, six.NextHeader = layers.IPProtocolUDP, layers.IPProtocolUDP
		stack = append(stack, udp)
		err = udp.SetNetworkLayerForChecksum(network)
	case "icmp", "icmpv6":
		if (r.Proto == "icmp") != from.Addr().Is4() {
			return wrong("proto %s does not go from %v", r.Proto, from.Addr())
		}
		four.Protocol, six.NextHeader = layers.IPProtocolICMPv4, layers.IPProtocolICMPv6
		if from.Addr().Is4() {
			stack = append(stack, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 1, Seq: 1})
			break
		}
		head := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
		err = head.SetNetworkLayerForChecksum(network)
		stack = append(stack, head, &layers.ICMPv6Echo{Identifier: 1, SeqNumber: 1})
	default:
		return wrong("proto %q: it is tcp, udp, icmp or icmpv6 (an echo request)", r.Proto)
	}
	if err != nil {
		return wrong("%v", err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		return wrong("%v", err)
	}
	return buf.Bytes(), nil
}

// endOf reads one end of a packet.
func endOf(s string, ported bool) (netip.AddrPort, error) {
	if ported {
		end, err := netip.ParseAddrPort(s)
		if err != nil {
			return end, fmt.Errorf("%q: write it as 10.0.0.5:4000 or [2001:db8::5]:4000", s)
		}
		return end, nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q: write an address alone, such as 10.0.0.5", s)
	}
	return netip.AddrPortFrom(addr, 0), nil
}

func setFlags(tcp *layers.TCP, letters string) error {
	for _, c := range strings.ToUpper(letters) {
		flag := map[rune]*bool{'F': &tcp.FIN, 'S': &tcp.SYN, 'R': &tcp.RST, 'P': &tcp.PSH, 'A': &tcp.ACK, 'U': &tcp.URG, 'E': &tcp.ECE, 'W': &tcp.CWR}[c]
		if flag == nil {
			return fmt.Errorf("flags %q: write letters of FSRPAUEW, such as S or SA", letters)
		}
		*flag = true
	}
	return nil
}
