package packet

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"holdfast/dataplane/drop"
)

// TestG8_Chunks: what the set of chunks says, over packets that gopacket built.
func TestG8_Chunks(t *testing.T) {
	kind := func(k layers.SCTPChunkType) layers.SCTPChunk { return layers.SCTPChunk{Type: k, Length: 4} }
	head := func(tag uint32) *layers.SCTP {
		return &layers.SCTP{SrcPort: 7000, DstPort: 38412, VerificationTag: tag}
	}
	for _, r := range []struct {
		name     string
		frame    []byte
		tag      uint32
		initiate uint32
		chunks   SCTPChunks
	}{
		{"INIT", built(t, layers.IPProtocolSCTP, head(0), &layers.SCTPInit{SCTPChunk: kind(1), InitiateTag: 77, OutboundStreams: 1, InboundStreams: 1}), 0, 77, ChunkInit},
		{"INIT ACK", built(t, layers.IPProtocolSCTP, head(77), &layers.SCTPInit{SCTPChunk: kind(2), InitiateTag: 99, Parameters: []layers.SCTPInitParameter{{Type: 7, Length: 8, ActualLength: 8, Value: []byte("cook")}}}), 77, 99, ChunkInitAck},
		{"COOKIE ECHO, DATA", built(t, layers.IPProtocolSCTP, head(99), &layers.SCTPCookieEcho{SCTPChunk: kind(10), Cookie: []byte("cook")},
			&layers.SCTPData{SCTPChunk: layers.SCTPChunk{Length: 17}, BeginFragment: true, EndFragment: true, PayloadProtocol: 60}), 99, 0, ChunkCookieEcho | ChunkData},
		{"COOKIE ACK, SACK", built(t, layers.IPProtocolSCTP, head(77), &layers.SCTPEmptyLayer{SCTPChunk: kind(11)}, &layers.SCTPSack{SCTPChunk: kind(3)}), 77, 0, ChunkCookieAck | ChunkSACK},
		{"SHUTDOWN", built(t, layers.IPProtocolSCTP, head(99), &layers.SCTPShutdown{SCTPChunk: kind(7)}), 99, 0, ChunkShutdown},
		{"SHUTDOWN ACK", built(t, layers.IPProtocolSCTP, head(77), &layers.SCTPShutdownAck{SCTPChunk: kind(8)}), 77, 0, ChunkShutdownAck},
		{"HEARTBEAT", built(t, layers.IPProtocolSCTP, head(77), &layers.SCTPHeartbeat{SCTPChunk: kind(4)}), 77, 0, ChunkHeartbeat},
		{"ERROR", built(t, layers.IPProtocolSCTP, head(77), &layers.SCTPError{SCTPChunk: kind(9)}), 77, 0, ChunkError},
		{"ABORT with T", ipv4(client4, server4, SCTP, nil, sctp(5, chunk(6, 1))), 5, 0, ChunkAbort | ChunkReflected},
		{"SHUTDOWN COMPLETE with T", ipv6(client6, server6, SCTP, nil, sctp(5, chunk(14, 1))), 5, 0, ChunkShutdownComplete | ChunkReflected},
		{"DATA with its lowest flag", ipv4(client4, server4, SCTP, nil, sctp(5, chunk(0, 1, make([]byte, 13)...))), 5, 0, ChunkData},
		{"unknown chunks", ipv4(client4, server4, SCTP, nil, sctp(5, chunk(0xc1, 0), chunk(0x40, 0), chunk(63, 1))), 5, 0, 0},
		{"AUTH, COOKIE ECHO (RFC 4895)", ipv4(client4, server4, SCTP, nil, sctp(5, chunk(15, 0, 0, 0, 0, 1), chunk(10, 0))), 5, 0, ChunkCookieEcho},
	} {
		p := mustDecode(t, r.frame)
		if p.Tuple.SrcPort != 7000 || p.Tuple.DstPort != 38412 || p.VerificationTag() != r.tag || p.InitiateTag() != r.initiate ||
			p.Chunks != r.chunks || p.Payload != p.L4+sctpLen {
			t.Errorf("%s: %+v", r.name, *p)
		}
	}
}

func TestG8_InvalidChunks(t *testing.T) {
	length := func(c []byte, n int) []byte {
		binary.BigEndian.PutUint16(c[2:], uint16(n))
		return c
	}
	var rows []row
	add := func(name string, segment []byte, want drop.Reason) {
		rows = append(rows, row{name + "/4", ipv4(client4, server4, SCTP, nil, segment), want},
			row{name + "/6", ipv6(client6, server6, SCTP, nil, segment), want})
	}
	data := chunk(0, 3, make([]byte, 13)...)
	add("no chunk", sctp(5), drop.SCTPTruncated)
	add("length 0", sctp(5, length(chunk(0, 0), 0)), drop.SCTPChunkInvalid)
	add("length 3", sctp(5, length(chunk(0, 0), 3)), drop.SCTPChunkInvalid)
	add("length past the packet", sctp(5, length(chunk(0, 0), 5)), drop.SCTPChunkInvalid)
	add("length of 65535", sctp(5, length(chunk(0, 0), 0xffff)), drop.SCTPChunkInvalid)
	add("second chunk of length 0", sctp(5, data, length(chunk(0, 0), 0)), drop.SCTPChunkInvalid)
	add("last chunk without padding", sctp(5, chunk(0, 0, 1))[:17], drop.SCTPChunkInvalid)
	add("three bytes more", append(sctp(5, data), 0, 0, 0), drop.SCTPChunkInvalid)
	add("INIT of 16 bytes", sctp(0, chunk(1, 0, make([]byte, 12)...)), drop.SCTPChunkInvalid)
	add("INIT, DATA", sctp(0, initChunk(1, 7), data), drop.SCTPChunkInvalid)
	add("DATA, INIT", sctp(0, data, initChunk(1, 7)), drop.SCTPChunkInvalid)
	add("INIT ACK, COOKIE ACK", sctp(5, initChunk(2, 7), chunk(11, 0)), drop.SCTPChunkInvalid)
	add("SHUTDOWN COMPLETE, unknown", sctp(5, chunk(14, 0), chunk(63, 0)), drop.SCTPChunkInvalid)
	add("DATA, COOKIE ECHO", sctp(5, data, chunk(10, 0)), drop.SCTPChunkInvalid)
	add("AUTH, DATA, COOKIE ACK", sctp(5, chunk(15, 0), data, chunk(11, 0)), drop.SCTPChunkInvalid)
	add("INIT with a tag", sctp(5, initChunk(1, 7)), drop.SCTPTagInvalid)
	add("INIT with initiate tag 0", sctp(0, initChunk(1, 0)), drop.SCTPTagInvalid)
	add("INIT ACK with initiate tag 0", sctp(5, initChunk(2, 0)), drop.SCTPTagInvalid)
	add("DATA without a tag", sctp(0, data), drop.SCTPTagInvalid)
	add("256 chunks", sctp(5, bytes.Repeat(chunk(63, 0), sctpChunksMax)), drop.Pass)
	add("257 chunks (R7)", sctp(5, bytes.Repeat(chunk(63, 0), sctpChunksMax+1)), drop.SCTPChunkInvalid)
	check(t, rows)
}

// TestG8_AddIPParametersAreNotRead: an ASCONF with more addresses to add than anybody has
// (RFC 5061) is one chunk like another.
func TestG8_AddIPParametersAreNotRead(t *testing.T) {
	parameter := []byte{0xc0, 1, 0, 16, 0, 0, 0, 1, 0, 5, 0, 8, 10, 0, 0, 1}
	many := chunk(0xc1, 0, append([]byte{0, 0, 0, 1}, bytes.Repeat(parameter, 80)...)...)
	p := mustDecode(t, ipv4(client4, server4, SCTP, nil, sctp(5, many)))
	if p.Chunks != 0 {
		t.Errorf("chunks %016b", p.Chunks)
	}
}

// TestG8_CRC: after any change of ports the CRC is the one computed anew, by the table and
// bit by bit, a wrong one is wrong by the same, and there and back is nothing.
func TestG8_CRC(t *testing.T) {
	table := crc32.MakeTable(crc32.Castagnoli)
	rapid.Check(t, func(rt *rapid.T) {
		payload := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(rt, "payload")
		if rapid.Bool().Draw(rt, "long") { // more than one round of zeros
			payload = append(payload, make([]byte, rapid.IntRange(4000, 9000).Draw(rt, "length"))...)
		}
		f := summed(t, ipv4(client4, server4, SCTP, nil, sctp(rapid.Uint32Range(1, 99).Draw(rt, "tag"), chunk(0, 3, payload...))))
		p := mustDecode(t, f)
		if !VerifyChecksum(f, p) {
			rt.Fatal("VerifyChecksum disagrees with the bitwise CRC")
		}
		wrong := rapid.SampledFrom([]uint32{0, 0, 1, 0x80000000, 0xffffffff}).Draw(rt, "wrong by")
		field := f[p.L4+sctpSumAt:][:4]
		if value := binary.LittleEndian.Uint32(field) ^ wrong; value != 0 {
			binary.LittleEndian.PutUint32(field, value)
		} else {
			return // says "none", see TestG8_ZeroCRC
		}
		before := append([]byte(nil), f...)
		to := drawTuple(rt, p.Tuple, false)
		there, back := RewriteTo(p.Tuple, to), RewriteTo(to, p.Tuple)
		there.Apply(f, p)
		full := append([]byte(nil), f[p.L4:p.End]...)
		clear(full[8:12])
		if got := binary.LittleEndian.Uint32(field); got != crc32.Checksum(full, table)^wrong {
			rt.Fatalf("to %v: CRC %08x, want %08x", to, got, crc32.Checksum(full, table)^wrong)
		}
		if ports := binary.BigEndian.Uint32(full); ports != uint32(to.SrcPort)<<16|uint32(to.DstPort) || VerifyChecksum(f, p) != (wrong == 0) {
			rt.Fatalf("to %v: ports %08x", to, ports)
		}
		if back.Apply(f, p); !bytes.Equal(f, before) {
			rt.Fatal("there and back")
		}
	})
}

// TestG8_ZeroCRC: a CRC of 0 says that none was computed (RFC 9653) and stays, unless 0 is
// the right one.
func TestG8_ZeroCRC(t *testing.T) {
	f := ipv4(client4, server4, SCTP, nil, sctp(5, chunk(0, 3, make([]byte, 13)...)))
	p := mustDecode(t, f)
	r := RewriteTo(p.Tuple, translated(p.Tuple))
	if r.Apply(f, p); binary.LittleEndian.Uint32(f[p.L4+sctpSumAt:]) != 0 {
		t.Error("a CRC of 0 was computed")
	}
	// The last four bytes of a packet can make its CRC anything: a payload that cancels
	// what the bytes before it left gives a right CRC of 0.
	f = ipv4(client4, server4, SCTP, nil, sctp(5, chunk(0, 3, make([]byte, 16)...)))
	segment := f[p.L4:]
	binary.LittleEndian.PutUint32(segment[len(segment)-4:], zeroCRC(segment[:len(segment)-4]))
	p = mustDecode(t, f)
	if !VerifyChecksum(f, p) {
		t.Fatalf("not a packet with a right CRC of 0: %08x", slowCRC(segment))
	}
	if r.Apply(f, p); !VerifyChecksum(f, p) || binary.LittleEndian.Uint32(segment[sctpSumAt:]) == 0 {
		t.Error("a right CRC of 0 was taken for none")
	}
}

// zeroCRC returns the four bytes, read least significant first, that bring the register of
// a CRC over b to ^0, which makes the CRC 0. It runs the register backwards: the top byte of
// a table entry names the entry.
func zeroCRC(b []byte) uint32 {
	register := ^uint32(0)
	for range 4 {
		for i, v := range castagnoli {
			if v>>24 == register>>24 {
				register = (register^v)<<8 | uint32(i)
				break
			}
		}
	}
	return register ^ ^crc32.Checksum(b, castagnoli)
}

// TestG8_FragmentsKeepTheirCRC: ports of a piece of a datagram are not known.
func TestG8_FragmentsKeepTheirCRC(t *testing.T) {
	f := with(ipv4(client4, server4, SCTP, nil, sctp(5, chunk(0, 3, 1))), func(f []byte) { f[20] = 0x20 })
	var p Parsed
	if r := Decode(f, &p); r != drop.Fragment || p.Tuple.SrcPort != 0 {
		t.Fatalf("%v, %v", r, p.Tuple)
	}
	before := append([]byte(nil), f[p.L4:]...)
	to := p.Tuple
	to.Src = addr("198.51.100.77")
	r := RewriteTo(p.Tuple, to)
	if r.Apply(f, &p); !bytes.Equal(f[p.L4:], before) {
		t.Error("a fragment's payload was changed")
	}
}
