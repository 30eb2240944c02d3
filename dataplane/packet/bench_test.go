package packet

import (
	"testing"

	"holdfast/dataplane/drop"
)

var timestamps = []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}

// pathFrames are the frames that the path meets most.
func pathFrames(tb testing.TB) []struct {
	name  string
	frame []byte
} {
	synOptions := []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}
	sack := append([]byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 10}, 0, 0, 8, 0, 0, 0, 9, 0)
	return []struct {
		name  string
		frame []byte
	}{
		{"UDP64", summed(tb, ipv4(client4, server4, UDP, nil, udp(make([]byte, 22))))},
		{"TCP4", summed(tb, ipv4(client4, server4, TCP, nil, tcp(FlagACK, nil, make([]byte, 6))))},
		{"TCP4Timestamps", summed(tb, ipv4(client4, server4, TCP, nil, tcp(FlagACK, timestamps, make([]byte, 512))))},
		{"TCP4SYN", summed(tb, ipv4(client4, server4, TCP, nil, tcp(FlagSYN, synOptions, nil)))},
		{"TCP4SACK", summed(tb, ipv4(client4, server4, TCP, nil, tcp(FlagACK, sack, nil)))},
		{"ICMP4", summed(tb, ipv4(client4, server4, ICMP, nil, icmp(8, 0, 7, make([]byte, 56))))},
		{"UDP6", summed(tb, ipv6(client6, server6, UDP, nil, udp(make([]byte, 22))))},
		{"TCP6Timestamps", summed(tb, ipv6(client6, server6, TCP, nil, tcp(FlagACK, timestamps, make([]byte, 512))))},
		{"TCP6DstOpts", summed(tb, ipv6(client6, server6, extDestination, make6(TCP), tcp(FlagACK, nil, nil)))},
	}
}

// make6 returns a destination options header of 8 bytes followed by next.
func make6(next Proto) []byte { return []byte{uint8(next), 0, 1, 4, 0, 0, 0, 0} }

func BenchmarkDecode(b *testing.B) {
	for _, f := range pathFrames(b) {
		b.Run(f.name, func(b *testing.B) {
			var p Parsed
			b.ReportAllocs()
			for b.Loop() {
				if Decode(f.frame, &p) != drop.Pass {
					b.Fatal("refused")
				}
			}
		})
	}
}

// translated returns another tuple of the same family and protocol.
func translated(t Tuple) Tuple {
	t.SrcPort ^= 0x5a5a
	if t.Src.Is4() {
		t.Src = addr("198.51.100.77")
	} else {
		t.Src = addr("2001:db8:77::77")
	}
	return t
}

func BenchmarkRewrite(b *testing.B) {
	for _, f := range pathFrames(b) {
		p := mustDecode(b, f.frame)
		there := RewriteTo(p.Tuple, translated(p.Tuple))
		b.Run("Apply/"+f.name, func(b *testing.B) {
			frame := append([]byte(nil), f.frame...)
			b.ReportAllocs()
			for b.Loop() {
				there.Apply(frame, p)
			}
		})
	}
	p := mustDecode(b, pathFrames(b)[0].frame)
	to := translated(p.Tuple)
	b.Run("RewriteTo", func(b *testing.B) {
		for b.Loop() {
			r := RewriteTo(p.Tuple, to)
			_ = r
		}
	})
	b.Run("Set", func(b *testing.B) {
		var r Rewrite
		from := p.Tuple
		for b.Loop() {
			r.Set(&from, &to)
		}
	})
	b.Run("TTLAndMACs", func(b *testing.B) {
		frame := append([]byte(nil), pathFrames(b)[0].frame...)
		for b.Loop() {
			frame[22] = 64
			DecrementTTL(frame, p)
			SetMACs(frame, macHost, macWall)
		}
	})
}
