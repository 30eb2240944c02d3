package nat

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// roundTripPolicy has every kind at once: what comes in by the LAN leaves by the WAN as
// another source, to another destination where that is one of the forwarded addresses.
func roundTripPolicy(t testing.TB) (*Policy, *Pool) {
	forward := func(to string, target Target) Translation {
		return Translation{Kind: Destination, In: ports(lan), To: prefixes(to), Targets: []Target{target}}
	}
	moved := forward("192.0.2.2/32", target("198.51.100.2"))
	moved.Protos, moved.ToPorts, moved.TargetPorts = protos(packet.TCP, packet.UDP, packet.UDPLite, packet.DCCP, packet.SCTP),
		[]PortSpan{through(1, 30000)}, through(30001, 60000)
	return compiled(t, moved,
		forward("192.0.2.1/32", target("198.51.100.1")), forward("2001:db8:2::1/128", target("2001:db8:3::1")),
		Translation{Kind: Static, Out: ports(wan), Inside: netip.MustParsePrefix("10.1.0.0/16"), Outside: netip.MustParsePrefix("100.64.0.0/16")},
		Translation{Kind: NPTv6, Out: ports(wan), Inside: netip.MustParsePrefix("fd01:203:405::/48"), Outside: netip.MustParsePrefix("2001:db8:1::/48")},
		Translation{Kind: Exempt, Out: ports(wan), From: prefixes("10.2.0.0/16")},
		Translation{Kind: Source, Out: ports(wan), From: prefixes("10.3.0.0/16"), Targets: []Target{PrefixTarget(netip.MustParsePrefix("203.0.113.128/28"))}},
		masquerade("10.0.0.0/8", "fd00::/8"),
	)
}

// TestI1_ThereAndBackIsTheOriginal: a random packet of any protocol, translated by any
// kind or two of them, has the checksums of a full computation, and its answer, translated
// back, is what would have answered the original: byte for byte the same packet, when
// the answer's ends are exchanged.
func TestI1_ThereAndBackIsTheOriginal(t *testing.T) {
	policy, pool := roundTripPolicy(t)
	for range steps() / 10_000 { // of rapid's 100 each
		thereAndBack(t, policy, pool)
	}
}

func thereAndBack(t *testing.T, policy *Policy, pool *Pool) {
	rapid.Check(t, func(rt *rapid.T) {
		original := drawOpening(rt)
		payload := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "payload")
		goAndReturn(rt, policy, pool, original, payload, rapid.IntRange(0, 1).Draw(rt, "attempt"))
	})
}

// failing is what a test and a property have in common.
type failing interface{ Fatalf(string, ...any) }

// goAndReturn translates a packet and its answer, and reports whether it was translatable.
func goAndReturn(t failing, policy *Policy, pool *Pool, original packet.Tuple, payload []byte, attempt int) bool {
	turn := policy.Destination(&original, lan)
	reply, b, outcome := policy.Source(&turn, wan, attempt)
	switch outcome {
	case Untranslatable, Exhausted:
		return false
	}
	if got := pool.BindingOf(original, reply); got != b {
		t.Fatalf("BindingOf gives %+v, Source %+v", got, b)
	}
	defer pool.Release(b)

	there := rewritten(t, original, reply.Reply(), payload)
	if want := frameOf(reply.Reply(), payload); !bytes.Equal(there, want) {
		t.Fatalf("%v as %v\ngot  % x\nfull % x", original, reply.Reply(), there, want)
	}
	back := rewritten(t, reply, original.Reply(), payload)
	if want := frameOf(original.Reply(), payload); !bytes.Equal(back, want) {
		t.Fatalf("%v as %v\ngot  % x\nfull % x", reply, original.Reply(), back, want)
	}
	return true
}

// TestREL20_ThereAndBack is the same with packets by lot, of which there can be many: ten
// million in a soak. HOLDFAST_SEED repeats a run.
func TestREL20_ThereAndBack(t *testing.T) {
	total, seed := steps()/5, uint64(20)
	if steps() >= 1_000_000 {
		total = 10_000_000
	}
	if s := os.Getenv("HOLDFAST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			t.Fatalf("HOLDFAST_SEED: %v", err)
		}
		seed = n
	}
	policy, pool := roundTripPolicy(t)
	r, translated := rand.New(rand.NewPCG(seed, 20)), 0
	var payload [64]byte
	for range total {
		for i := 0; i < len(payload); i += 8 {
			binary.NativeEndian.PutUint64(payload[i:], r.Uint64())
		}
		if goAndReturn(t, policy, pool, openingByLot(r), payload[:r.IntN(len(payload))], r.IntN(2)) {
			translated++
		}
	}
	t.Logf("seed %d: %d of %d packets were translated there and back", seed, translated, total)
	if translated < total/2 { // the others were refused on a second attempt, where one to one leaves no other
		t.Error("too few")
	}
}

// openingByLot is drawOpening without rapid.
func openingByLot(r *rand.Rand) (original packet.Tuple) {
	all := [...]packet.Proto{packet.TCP, packet.UDP, packet.UDPLite, packet.DCCP, packet.SCTP, packet.ICMP, packet.ESP, 200}
	original.Proto = all[r.IntN(len(all))]
	query := uint16(packet.ICMPEchoRequest) << 8
	if r.IntN(2) == 0 {
		original.Src = addr([...]string{"fd01:203:405::", "fd02::"}[r.IntN(2)])
		binary.NativeEndian.PutUint64(original.Src[6:], r.Uint64())
		original.Dst = addr([...]string{"2001:db8:2::1", "2001:db8:2::9"}[r.IntN(2)])
		if original.Proto == packet.ICMP {
			original.Proto, query = packet.ICMPv6, packet.ICMPv6EchoRequest<<8
		}
	} else {
		original.Src = packet.AddrFrom(netip.AddrFrom4([4]byte{10, byte(1 + r.IntN(4)), byte(r.Uint32()), byte(r.Uint32())}))
		original.Dst = addr([...]string{"192.0.2.1", "192.0.2.2", "192.0.2.9"}[r.IntN(3)])
	}
	switch spaceOf(original.Proto) {
	case noPorts:
	case identifiers:
		original.SrcPort, original.DstPort = uint16(r.Uint32()), query
	default:
		original.SrcPort, original.DstPort = uint16(1+r.IntN(0xffff)), uint16(1+r.IntN(60000))
	}
	return original
}

// rewritten builds a packet with one tuple and rewrites it to another.
func rewritten(t failing, from, to packet.Tuple, payload []byte) []byte {
	frame := frameOf(from, payload)
	var p packet.Parsed
	if why := packet.Decode(frame, &p); why != drop.Pass {
		t.Fatalf("%v: %v\n% x", from, why, frame)
	}
	if p.Tuple != from {
		t.Fatalf("decoded as %v, built as %v", p.Tuple, from)
	}
	r := packet.RewriteTo(from, to)
	r.Apply(frame, &p)
	return frame
}

// drawOpening draws the first packet of a connection from one of the kinds' prefixes.
func drawOpening(t *rapid.T) (original packet.Tuple) {
	all := protos(packet.TCP, packet.UDP, packet.UDPLite, packet.DCCP, packet.SCTP, packet.ICMP, packet.ESP, 200)
	original.Proto = rapid.SampledFrom(all).Draw(t, "proto")
	host := rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "host")
	if rapid.Bool().Draw(t, "v6") {
		src := rapid.SampledFrom([]string{"fd01:203:405::", "fd02::"}).Draw(t, "net")
		original.Src = addr(src)
		copy(original.Src[6:], host)
		original.Dst = addr(rapid.SampledFrom([]string{"2001:db8:2::1", "2001:db8:2::9"}).Draw(t, "dst"))
		if original.Proto == packet.ICMP {
			original.Proto = packet.ICMPv6
		}
	} else {
		net := rapid.SampledFrom([]byte{1, 2, 3, 4}).Draw(t, "net")
		original.Src = packet.AddrFrom(netip.AddrFrom4([4]byte{10, net, host[0], host[1]}))
		original.Dst = addr(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "192.0.2.9"}).Draw(t, "dst"))
	}
	switch spaceOf(original.Proto) {
	case noPorts:
	case identifiers:
		original.SrcPort, original.DstPort = rapid.Uint16().Draw(t, "id"), packet.ICMPEchoRequest<<8
		if original.Proto == packet.ICMPv6 {
			original.DstPort = packet.ICMPv6EchoRequest << 8
		}
	default:
		original.SrcPort, original.DstPort = rapid.Uint16Min(1).Draw(t, "sport"), rapid.Uint16Range(1, 60000).Draw(t, "dport")
	}
	return original
}

// frameOf builds a packet with a tuple, a payload and right checksums, by the RFCs and by
// nothing of the product.
func frameOf(t packet.Tuple, payload []byte) []byte {
	segment, sumAt := segmentOf(t, payload)
	var header []byte
	pseudo := append(append([]byte{}, t.Src[:]...), t.Dst[:]...)
	etherType := []byte{0x86, 0xdd}
	if t.Src.Is4() {
		etherType = []byte{8, 0}
		pseudo = append(append([]byte{}, t.Src[12:]...), t.Dst[12:]...)
		header = append([]byte{0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, byte(t.Proto), 0, 0}, pseudo...)
		binary.BigEndian.PutUint16(header[2:], uint16(20+len(segment)))
		binary.BigEndian.PutUint16(header[10:], ^onesSumOf(header))
	} else {
		header = append([]byte{0x60, 0, 0, 0, 0, 0, byte(t.Proto), 64}, pseudo...)
		binary.BigEndian.PutUint16(header[4:], uint16(len(segment)))
	}
	switch {
	case t.Proto == packet.SCTP:
		binary.LittleEndian.PutUint32(segment[8:], crc32.Checksum(segment, crc32.MakeTable(crc32.Castagnoli)))
	case sumAt >= 0:
		if t.Proto == packet.ICMP {
			pseudo = nil
		} else {
			pseudo = append(pseudo, 0, byte(t.Proto), byte(len(segment)>>8), byte(len(segment)))
		}
		sum := ^onesSumOf(append(pseudo, segment...))
		if sum == 0 && (t.Proto == packet.UDP || t.Proto == packet.UDPLite) {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(segment[sumAt:], sum)
	}
	frame := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, etherType...)
	return append(append(frame, header...), segment...)
}

// segmentOf builds a transport header and payload without checksum; sumAt is where that
// stands, -1 where there is none.
func segmentOf(t packet.Tuple, payload []byte) (segment []byte, sumAt int) {
	ends := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, t.SrcPort), t.DstPort)
	switch t.Proto {
	case packet.TCP:
		return append(append(ends, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0), payload...), 16
	case packet.UDP, packet.UDPLite:
		return append(append(ends, byte((8+len(payload))>>8), byte(8+len(payload)), 0, 0), payload...), 6
	case packet.SCTP: // one INIT
		chunk := []byte{1, 0, 0, 20, 0, 0, 0, 9, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1}
		return append(append(ends, 0, 0, 0, 0, 0, 0, 0, 0), chunk...), 8
	case packet.DCCP: // one request, RFC 4340 section 5.2
		return append(append(ends, 5, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0), payload...), 6
	case packet.ICMP, packet.ICMPv6:
		return append([]byte{byte(t.DstPort >> 8), 0, 0, 0, byte(t.SrcPort >> 8), byte(t.SrcPort), 0, 1}, payload...), 2
	}
	return append([]byte{1, 2, 3, 4, 5, 6, 7, 8}, payload...), -1
}

func onesSumOf(b []byte) (sum uint16) {
	for ; len(b) > 1; b = b[2:] {
		sum = onesAdd(sum, binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum = onesAdd(sum, uint16(b[0])<<8)
	}
	return sum
}
