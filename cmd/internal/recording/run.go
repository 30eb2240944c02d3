package recording

import (
	"bytes"
	"encoding/binary"

	"holdfast/sync/seal"
)

// firstOf returns the first datagram of a run, and what lies behind it. A node hands what it
// says in one turn to its kernel together, and a capture at the sender, or at the far end of a veth, has it
// before it was cut into datagrams (UDP_SEGMENT): the next one begins where the same header
// stands with a counter one higher. Ciphertext has these 16 bytes once in 2^128.
func firstOf(run []byte) (datagram, rest []byte) {
	h, why := seal.ParseHeader(run)
	if why != seal.Accepted || h.Kind != seal.KindSealed || len(run) <= 2*seal.Overhead {
		return run, nil
	}
	next := bytes.Clone(run[:seal.HeaderSize])
	binary.BigEndian.PutUint64(next[8:], binary.BigEndian.Uint64(next[8:])+1)
	if at := bytes.Index(run[seal.Overhead:], next); at >= 0 {
		return run[:seal.Overhead+at], run[seal.Overhead+at:]
	}
	return run, nil
}
