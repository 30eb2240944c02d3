package repair

import (
	"encoding/binary"

	"holdfast/sync/digest"
)

// shardSet is the shards that a wire.TransferRequest names.
type shardSet struct {
	bits   uint8
	member []bool // by shard of 2^bits; nil: all
}

// newShardSet returns the shards of 2^bits that a request lists, two bytes each; none are all.
func newShardSet(bits uint8, listed []byte) shardSet {
	if len(listed) == 0 {
		return shardSet{}
	}
	s := shardSet{bits: bits, member: make([]bool, 1<<bits)}
	for i := 0; i < len(listed); i += 2 {
		s.member[binary.BigEndian.Uint16(listed[i:])] = true
	}
	return s
}

// has reports whether a finest shard is in the set.
func (s *shardSet) has(shard uint32) bool {
	return s.member == nil || s.member[digest.Coarse(shard, s.bits)]
}
