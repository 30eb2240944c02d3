package capture

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"

	"holdfast/dataplane"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/rules"
)

// Names are what numbers in logged packets are called.
type Names struct {
	Ports []string                        // by PortID
	Rule  func(uint32) (rules.Rule, bool) // by its number, one that is gone too
}

// attributes returns what a line says of a packet. Every value comes from the fields that
// the decoder has checked; no byte of the packet is looked at here.
func (n *Names) attributes(to []slog.Attr, p *dataplane.LoggedPacket, suppressed uint64) []slog.Attr {
	add := func(key, value string) { to = append(to, slog.String(key, value)) }
	count := func(key string, value uint64) { to = append(to, slog.Uint64(key, value)) }
	rule, known := n.Rule(p.Rule)
	if !known {
		rule.ID = fmt.Sprintf("number-%d", p.Rule)
	}
	add("rule", rule.ID)
	if !rule.Pos.IsZero() {
		add("at", rule.Pos.String())
	}
	add("verdict", verdict(p))
	if p.Reason != drop.Pass {
		add("reason", p.Reason.String())
	}
	add("in", portName(n.Ports, p.In))
	add("out", portName(n.Ports, p.Out))
	to = appendTuple(to, &p.Parsed)
	count("len", uint64(max(p.Parsed.Len(), 0)))
	count("ttl", uint64(p.Parsed.TTL))
	if p.Translated {
		add("nat", endpoint(&p.Sent, p.Sent.Src, p.Sent.SrcPort)+">"+endpoint(&p.Sent, p.Sent.Dst, p.Sent.DstPort))
	}
	if p.Incarnation != 0 {
		add("conn", p.Incarnation.String())
		add("dir", p.Direction.String())
	}
	if suppressed > 0 {
		count("suppressed", suppressed)
	}
	return to
}

// verdict is what became of the packet: what the rule said, or "drop" where the rule let it
// pass and something else did not.
func verdict(p *dataplane.LoggedPacket) string {
	if p.Action == rules.Pass && p.Reason != drop.Pass {
		return "drop"
	}
	return p.Action.String()
}

// appendTuple appends who speaks to whom, in what the packet's protocol has.
func appendTuple(to []slog.Attr, p *packet.Parsed) []slog.Attr {
	t := &p.Tuple
	to = append(to, slog.String("proto", t.Proto.String()), slog.String("src", t.Src.String()))
	ports := hasPorts(t.Proto)
	if ports {
		to = append(to, slog.Uint64("sport", uint64(t.SrcPort)))
	}
	to = append(to, slog.String("dst", t.Dst.String()))
	if ports {
		to = append(to, slog.Uint64("dport", uint64(t.DstPort)))
	}
	switch t.Proto {
	case packet.TCP:
		to = append(to, slog.String("flags", flagLetters(p.TCPFlags)), slog.Uint64("seq", uint64(p.Seq)))
		if p.TCPFlags&packet.FlagACK != 0 {
			to = append(to, slog.Uint64("ack", uint64(p.Ack)))
		}
	case packet.ICMP, packet.ICMPv6:
		to = append(to, slog.Uint64("type", uint64(p.ICMPType)), slog.Uint64("code", uint64(p.ICMPCode)))
		if p.IsICMPQuery() {
			to = append(to, slog.Uint64("icmp_id", uint64(t.SrcPort)))
		}
	}
	return to
}

// hasPorts reports whether the two numbers of a protocol's tuples are ports.
func hasPorts(p packet.Proto) bool {
	switch p {
	case packet.TCP, packet.UDP, packet.UDPLite, packet.SCTP, packet.DCCP:
		return true
	}
	return false
}

// endpoint writes an address, with its port where the protocol has ports.
func endpoint(t *packet.Tuple, a packet.Addr, port uint16) string {
	if hasPorts(t.Proto) {
		return netip.AddrPortFrom(a.Netip(), port).String()
	}
	return a.String()
}

// flagLetters writes TCP flags as rules do, the lowest bit first.
func flagLetters(f packet.TCPFlags) string {
	const letters = "FSRPAUEW"
	var b [len(letters)]byte
	n := 0
	for i := range len(letters) {
		if f>>i&1 != 0 {
			b[n] = letters[i]
			n++
		}
	}
	return string(b[:n])
}

// comment writes attributes as the comment of a packet: key=value, those with spaces quoted.
func comment(attrs []slog.Attr) string {
	var b strings.Builder
	for i, a := range attrs {
		if i > 0 {
			b.WriteByte(' ')
		}
		value := a.Value.String()
		if strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c == '"' || !strconv.IsPrint(c) }) {
			value = strconv.Quote(value)
		}
		b.WriteString(a.Key + "=" + value)
	}
	return b.String()
}
