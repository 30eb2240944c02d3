package fragment

import "hash/maphash"

// index finds the numbers of things by their names, as a map would, in memory that never
// grows. A flood enters and removes a name with each piece, and that is what Go's maps are
// slowest at. Who makes the names cannot make chains long: the hash has a key of its own.
//
//	heads (by hash) -> link -> link -> none
//
// Make it with newIndex; it is the caller's to guard.
type index[K comparable] struct {
	seed  maphash.Seed
	heads []int32   // twice as many as links at least, a power of two
	links []link[K] // by number
	len   int       // how many names are known
}

// link is what an index knows of one number.
type link[K comparable] struct {
	name K
	head uint32 // of its chain
	next int32
}

// newIndex makes one for the numbers below n.
func newIndex[K comparable](n int) index[K] {
	heads := 1
	for heads < 2*n {
		heads *= 2
	}
	x := index[K]{seed: maphash.MakeSeed(), heads: make([]int32, heads), links: make([]link[K], n)}
	for i := range x.heads {
		x.heads[i] = none
	}
	return x
}

// find returns the number of a name, or none.
func (x *index[K]) find(name *K) int32 {
	i := x.heads[x.head(name)]
	for i != none && x.links[i].name != *name {
		i = x.links[i].next
	}
	return i
}

// enter gives a number a name that none has.
func (x *index[K]) enter(name *K, i int32) {
	head := x.head(name)
	x.links[i] = link[K]{*name, head, x.heads[head]}
	x.heads[head] = i
	x.len++
}

// remove takes the name of a number away, which must have one.
func (x *index[K]) remove(i int32) {
	at := &x.heads[x.links[i].head]
	for *at != i {
		at = &x.links[*at].next
	}
	*at = x.links[i].next
	x.len--
}

func (x *index[K]) head(name *K) uint32 {
	return uint32(maphash.Comparable(x.seed, *name)) & uint32(len(x.heads)-1)
}
