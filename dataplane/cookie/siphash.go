package cookie

import "math/bits"

// sum is SipHash-2-4 (Aumasson and Bernstein 2012) of seven words in little-endian order: a
// keyed hash that stays secret although everybody sees its results, which the hash of the
// connection table does not.
func (s *Secret) sum(words [7]uint64) uint64 {
	v := sipState{s[0] ^ 0x736f6d6570736575, s[1] ^ 0x646f72616e646f6d, s[0] ^ 0x6c7967656e657261, s[1] ^ 0x7465646279746573}
	for _, m := range words {
		v.mix(m)
	}
	v.mix(8 * uint64(len(words)) << 56) // the length, and no byte left
	v[2] ^= 0xff
	for range 4 {
		v.round()
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

// sipState is the four words of SipHash.
type sipState [4]uint64

// mix takes in one word.
func (v *sipState) mix(m uint64) {
	v[3] ^= m
	v.round()
	v.round()
	v[0] ^= m
}

func (v *sipState) round() {
	v[0] += v[1]
	v[1] = bits.RotateLeft64(v[1], 13) ^ v[0]
	v[0] = bits.RotateLeft64(v[0], 32)
	v[2] += v[3]
	v[3] = bits.RotateLeft64(v[3], 16) ^ v[2]
	v[0] += v[3]
	v[3] = bits.RotateLeft64(v[3], 21) ^ v[0]
	v[2] += v[1]
	v[1] = bits.RotateLeft64(v[1], 17) ^ v[2]
	v[2] = bits.RotateLeft64(v[2], 32)
}
