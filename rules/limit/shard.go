package limit

import (
	"hash/maphash"
	"sync"
)

// source is one source of one limit.
type source struct {
	key          key
	queued       bool   // in the queue of those without connections
	connections  int32  // counted now; below zero where a Leave came before its Enter
	next         uint32 // in its chain, index + 1
	older, newer uint32 // its neighbours in that queue, index + 1
	bucket       bucket
}

// shard is a part of the sources: chains under a table of heads, in an array that is never
// moved. Everything below the lock is guarded by it.
//
//	heads:  [ 3 ][ 0 ][ 7 ] ...      all: 1 2 3 4 5 6 7 8 ... used | never used
//	          |                               ^       |
//	          +-------------------------------+-next--+
type shard struct {
	seed maphash.Seed // of the hash

	mu    sync.Mutex
	heads []uint32 // index + 1; a power of two of them
	all   []source
	used  uint32 // entries below it have been used
	free  uint32 // chain of those that are free again, index + 1

	// Those without connections that have used up some of their rate, since when: what is
	// forgotten first.
	oldest, newest uint32 // index + 1

	live      int // sources that there are
	uncounted int // Enters that found no room, less the Leaves that found no source
}

// hash spreads keys. The seed is random, so nobody outside can aim at one chain.
func hash(seed maphash.Seed, k *key) uint64 { return maphash.Bytes(seed, k[:]) }

// findLocked returns the source of a key, or nil.
func (s *shard) findLocked(h uint64, k *key) *source {
	for i := s.heads[h&uint64(len(s.heads)-1)]; i != 0; i = s.all[i-1].next {
		if s.all[i-1].key == *k {
			return &s.all[i-1]
		}
	}
	return nil
}

// needLocked returns the source of a key, entered where it was not there, or nil where there
// is no room. Entered ones are not in the queue: the caller counts a connection.
func (s *shard) needLocked(h uint64, k *key) *source {
	if x := s.findLocked(h, k); x != nil {
		return x
	}
	i := s.free
	switch {
	case i != 0:
		s.free = s.all[i-1].next
	case s.used < uint32(len(s.all)):
		s.used++
		i = s.used
	case s.oldest != 0:
		i = s.oldest
		old := &s.all[i-1]
		s.unqueueLocked(old)
		s.unchainLocked(hash(s.seed, &old.key), i)
	default:
		return nil
	}
	head := &s.heads[h&uint64(len(s.heads)-1)]
	s.all[i-1] = source{key: *k, next: *head}
	*head = i
	s.live++
	return &s.all[i-1]
}

// countLocked changes how many connections a source has. h is the hash of its key.
func (s *shard) countLocked(h uint64, x *source, by int32) {
	if x.queued {
		s.unqueueLocked(x)
	}
	if x.connections += by; x.connections == 0 {
		s.restLocked(h, x)
	}
}

// restLocked deals with a source that has no connections left: it is forgotten where
// nothing of its rate is used up, and queued otherwise.
func (s *shard) restLocked(h uint64, x *source) {
	i := s.indexOf(h, x)
	if x.bucket.spent == 0 {
		s.unchainLocked(h, i)
		x.next, s.free = s.free, i
		return
	}
	x.queued, x.older, x.newer = true, s.newest, 0
	if s.newest != 0 {
		s.all[s.newest-1].newer = i
	} else {
		s.oldest = i
	}
	s.newest = i
}

// indexOf returns the index + 1 of a source that is in its chain.
func (s *shard) indexOf(h uint64, x *source) uint32 {
	i := s.heads[h&uint64(len(s.heads)-1)]
	for &s.all[i-1] != x {
		i = s.all[i-1].next
	}
	return i
}

// unqueueLocked takes a source out of the queue.
func (s *shard) unqueueLocked(x *source) {
	if x.older != 0 {
		s.all[x.older-1].newer = x.newer
	} else {
		s.oldest = x.newer
	}
	if x.newer != 0 {
		s.all[x.newer-1].older = x.older
	} else {
		s.newest = x.older
	}
	x.queued, x.older, x.newer = false, 0, 0
}

// unchainLocked takes a source out of its chain.
func (s *shard) unchainLocked(h uint64, i uint32) {
	at := &s.heads[h&uint64(len(s.heads)-1)]
	for *at != i {
		at = &s.all[*at-1].next
	}
	*at = s.all[i-1].next
	s.live--
}
