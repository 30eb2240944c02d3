package cookie

import "math/bits"

// sum is SipHash-2-4 (Aumasson and Bernstein 2012) of seven words in little-endian order: a
// keyed hash that stays secret although everybody sees its results, which the hash of the
// connection table does not. The state is four variables and not an array, so that it stays
// in registers: half of the time.
func (s *Secret) sum(words [7]uint64) uint64 {
	v0, v1 := s[0]^0x736f6d6570736575, s[1]^0x646f72616e646f6d
	v2, v3 := s[0]^0x6c7967656e657261, s[1]^0x7465646279746573
	for _, m := range words {
		v3 ^= m
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
		v0 ^= m
	}
	const last = 8 * uint64(len(words)) << 56 // the length, and no byte left
	v3 ^= last
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

// round is SipRound. It is inlined.
func round(v0, v1, v2, v3 uint64) (w0, w1, w2, w3 uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32) + v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	return v0, v1, bits.RotateLeft64(v2, 32), v3
}
