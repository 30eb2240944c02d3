package packet

import (
	"bytes"
	"testing"

	"holdfast/dataplane/drop"
)

// FuzzDecode: no frame makes Decode panic, change the frame, or pass with offsets that do
// not stand in order; and what is made in answer to it is itself a good frame.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := append([]byte(nil), frame...)
		p := Parsed{Kind: 99}
		reason := Decode(frame, &p)
		if !bytes.Equal(frame, before) {
			t.Fatal("the frame was changed")
		}
		if reason == drop.Unset || reason == drop.Pass && p.Kind == KindUnset {
			t.Fatalf("%v with kind %d", reason, p.Kind)
		}
		if reason != drop.Pass {
			return
		}
		offsets := []int{ethernetLen, int(p.L3), int(p.L4), int(p.Payload), int(p.End), len(frame)}
		for i := range len(offsets) - 1 {
			if offsets[i] > offsets[i+1] {
				t.Fatalf("offsets %v", offsets)
			}
		}
		if p.Version != 0 && p.Len() < 20 {
			t.Fatalf("packet of %d bytes", p.Len())
		}
		VerifyChecksum(frame, &p)
		answers(t, frame, &p)
	})
}

// answers makes every answer to a packet.
func answers(t *testing.T, frame []byte, p *Parsed) {
	from := addr(wall4)
	if p.Version == 6 {
		from = addr(wall6)
	}
	buf := make([]byte, 2048)
	for _, a := range append(icmpAnswers[:len(icmpAnswers):len(icmpAnswers)], reset) {
		n := a.put(buf, frame, p, from)
		if n == 0 {
			continue
		}
		if p.Kind != KindIP {
			t.Fatalf("%s about kind %d", a.name, p.Kind)
		}
		var q Parsed
		// A sender with our own address gets a packet that is refused on arrival.
		if r := Decode(buf[:n], &q); r != drop.Pass && p.Tuple.Src != from {
			t.Fatalf("%s: %v\n% x", a.name, r, buf[:n])
		} else if r == drop.Pass && !VerifyChecksum(buf[:n], &q) {
			t.Fatalf("%s: checksum\n% x", a.name, buf[:n])
		}
	}
}

// FuzzRewriteRoundTrip: a rewrite and its reverse give the frame back, and the checksum is
// right in between exactly when it was right before.
func FuzzRewriteRoundTrip(f *testing.F) {
	f.Fuzz(func(t *testing.T, frame, address []byte, srcPort, dstPort uint16) {
		var p Parsed
		if Decode(frame, &p) != drop.Pass || p.Kind != KindIP || len(address) < 16 {
			return
		}
		to := p.Tuple
		if p.Version == 4 {
			to.Src.set4(address)
		} else if to.Dst = Addr(address); to.Dst.Is4() {
			return
		}
		switch {
		case p.IsICMPQuery():
			to.SrcPort = srcPort
		case hasPorts(p.Tuple.Proto):
			to.SrcPort, to.DstPort = srcPort, dstPort
		}
		right := VerifyChecksum(frame, &p)
		before := oneZero(frame, &p)
		there, back := RewriteTo(p.Tuple, to), RewriteTo(to, p.Tuple)
		there.Apply(frame, &p)
		if p.Version == 4 && slowSum(frame[p.L3:p.L4]) != 0xffff {
			t.Fatal("IPv4 header checksum")
		}
		if got := VerifyChecksum(frame, &p); got != right {
			t.Fatalf("checksum right: %v, was %v", got, right)
		}
		back.Apply(frame, &p)
		if after := oneZero(frame, &p); !bytes.Equal(after, before) {
			t.Fatalf("there and back\n% x\n% x", before, after)
		}
	})
}

// oneZero returns a copy of the frame in which a checksum of 0xffff is written 0: a sender
// may use either, and a rewrite keeps the value but not the spelling.
func oneZero(frame []byte, p *Parsed) []byte {
	c := append([]byte(nil), frame...)
	fields := [][]byte{c[p.L3+ipv4SumAt:][:2]}
	if p.Version == 6 {
		fields = nil
	}
	if at := sumAt(p.Tuple.Proto); at >= 0 {
		fields = append(fields, c[int(p.L4)+at:][:2])
	}
	for _, s := range fields {
		if s[0]&s[1] == 0xff {
			clear(s)
		}
	}
	return c
}
