package conntrack

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"

	"holdfast/dataplane/packet"
)

// Secret keys the hash of one table. A table makes its own from the system's random
// numbers unless a test gives one: who does not know it cannot choose tuples that share
// a bucket (R5).
type Secret [8]uint64

// newSecret returns a random secret. The generator of the system does not fail
// (crypto/rand).
func newSecret() Secret {
	var raw [8 * 8]byte
	rand.Read(raw[:]) // never returns an error since Go 1.24
	var s Secret
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	return s
}

// hash folds the five words of a tuple, each pair multiplied under its own two keys.
//
//	Src.hi^k0 * Src.lo^k1   Dst.hi^k2 * Dst.lo^k3   ports^k4 * k5
//	      \________________________|__________________/
//	                      xor, then once more under k6, k7
//
// A multiply-fold with secret summands is almost universal: for two different tuples the
// chance of a collision over all secrets is about 2^-60, whatever the tuples. A keyed
// xxHash64 gives no such bound: short inputs can be found that collide under every seed.
func (k *Secret) hash(t *packet.Tuple) uint64 {
	le := binary.LittleEndian
	src := fold(le.Uint64(t.Src[:8])^k[0], le.Uint64(t.Src[8:])^k[1])
	dst := fold(le.Uint64(t.Dst[:8])^k[2], le.Uint64(t.Dst[8:])^k[3])
	rest := fold(lastWord(t)^k[4], k[5])
	return fold(src^dst^rest^k[6], k[7])
}

// fold multiplies to 128 bits and adds the halves without carry.
func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// lastWord returns ports, zone and protocol as one word.
func lastWord(t *packet.Tuple) uint64 {
	return uint64(t.SrcPort) | uint64(t.DstPort)<<16 | uint64(t.Zone)<<32 | uint64(t.Proto)<<48
}

// sameTuple reports whether a equals b, in words instead of fields.
func sameTuple(a, b *packet.Tuple) bool {
	le := binary.LittleEndian
	return lastWord(a) == lastWord(b) &&
		le.Uint64(a.Src[8:]) == le.Uint64(b.Src[8:]) && le.Uint64(a.Dst[8:]) == le.Uint64(b.Dst[8:]) &&
		le.Uint64(a.Src[:8]) == le.Uint64(b.Src[:8]) && le.Uint64(a.Dst[:8]) == le.Uint64(b.Dst[:8])
}
