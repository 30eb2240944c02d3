package api

import (
	"fmt"
	"net/netip"
	"strings"
)

// String returns the tuple as `10.0.0.2:4711 > 203.0.113.9:443`.
func (t Tuple) String() string {
	return fmt.Sprintf("%s > %s", endpoint(t.Src, t.SrcPort), endpoint(t.Dst, t.DstPort))
}

func endpoint(addr string, port uint16) string {
	a, err := netip.ParseAddr(addr)
	if err != nil || port == 0 {
		return addr
	}
	return netip.AddrPortFrom(a, port).String()
}

// protoNumbers are the numbers that `conntrack -L` prints beside the names.
var protoNumbers = map[string]int{"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "icmpv6": 58, "sctp": 132, "udplite": 136}

// Conntrack returns the connection as a line of `conntrack -L` (conntrack-tools,
// libnetfilter_conntrack snprintf_default.c): protocol, number, seconds left, the state
// where the protocol has one, both tuples, [UNREPLIED] and [ASSURED]. It is what a kernel
// without nf_conntrack_acct prints: counters are in --json.
func (c *Conn) Conntrack() string {
	var b strings.Builder
	number, known := protoNumbers[c.Proto]
	name := c.Proto
	if !known {
		name = "unknown"
		fmt.Sscanf(c.Proto, "proto-%d", &number) // our own name of a protocol without one
		if c.Proto == "esp" {
			number = 50 // conntrack has no name for it
		}
	}
	fmt.Fprintf(&b, "%-8s %d %d ", name, number, int(c.Timeout))
	switch c.State {
	case "", "REPLIED", "UNREPLIED": // a protocol without states of its own
	default:
		b.WriteString(c.State + " ")
	}
	b.WriteString(c.conntrackTuple(&c.Original))
	if !c.Replied {
		b.WriteString("[UNREPLIED] ")
	}
	b.WriteString(c.conntrackTuple(&c.Reply))
	if c.Assured {
		b.WriteString("[ASSURED] ")
	}
	b.WriteString("mark=0 use=1")
	return b.String()
}

func (c *Conn) conntrackTuple(t *Tuple) string {
	s := fmt.Sprintf("src=%s dst=%s ", t.Src, t.Dst)
	switch c.Proto {
	case "icmp", "icmpv6":
		return s + fmt.Sprintf("type=%d code=%d id=%d ", t.DstPort>>8, t.DstPort&0xff, t.SrcPort)
	case "tcp", "udp", "sctp", "udplite", "dccp":
		return s + fmt.Sprintf("sport=%d dport=%d ", t.SrcPort, t.DstPort)
	case "gre": // keys are tracked for PPTP only, by either tracker
		return s + fmt.Sprintf("srckey=%#x dstkey=%#x ", t.SrcPort, t.DstPort)
	}
	return s
}
