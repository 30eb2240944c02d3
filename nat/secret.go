package nat

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// secret keys the index of a pool and seeds its draws, so that neither chosen inside
// endpoints nor an observer outside can foresee them. Drawn at every start: nodes need
// not agree, because they exchange results.
type secret struct {
	key  [4]uint64
	seed uint64
}

func newSecret() secret {
	var b [40]byte
	rand.Read(b[:]) // never fails (Go 1.24)
	var s secret
	for i := range s.key {
		s.key[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	s.seed = binary.NativeEndian.Uint64(b[32:])
	return s
}

// hash is a keyed multiply-and-fold of the endpoint's 18 bytes.
func (s *secret) hash(e Endpoint) uint64 {
	h := fold(binary.BigEndian.Uint64(e.Addr[:8])^s.key[0], binary.BigEndian.Uint64(e.Addr[8:])^s.key[1])
	return fold(h^s.key[2], uint64(e.Port)^s.key[3])
}

func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}
