package conntrack

// warmBatch is how many states Warm has in flight at once.
const warmBatch = 32

// Warm brings near what Apply will touch of some states, which a peer tells of: so the cache
// misses of a batch overlap, where one after the other each would wait for some six. It
// takes no lock, changes nothing and believes nothing; Apply works as well without.
func (t *Table) Warm(states []State) {
	for len(states) > warmBatch {
		t.warm(states[:warmBatch])
		states = states[warmBatch:]
	}
	t.warm(states)
}

// warm is Warm for up to warmBatch states, in stages as lookup is: the buckets of both
// tuples, then the entry of those that are known.
func (t *Table) warm(states []State) {
	var hashes [warmBatch]uint64
	for i := range states {
		hash := t.secret.hash(&states[i].Original)
		hashes[i] = hash
		prefetch(&t.index.all[t.firstBucket(hash)])
		prefetch(&t.index.all[t.firstBucket(t.secret.hash(&states[i].Reply))])
	}
	for i := range states {
		if s := t.index.all[t.firstBucket(hashes[i])].candidate(tagOf(hashes[i])); s != 0 {
			touch(&t.conns.all[s.index()])
		}
	}
}

// WarmEntries does the same for the entries of updates and deletes, which name them.
func (t *Table) WarmEntries(indices []uint32) {
	high := t.high.Load()
	for _, i := range indices {
		if i < high {
			touch(&t.conns.all[i])
		}
	}
}
