package limit

// bucket is a token bucket (Turner 1986) without fractions: what one connection costs is Per,
// the bucket holds Count of those, and each nanosecond gives Count back. For "50/10s":
//
//	holds 50 * 10e9, a connection costs 10e9, a nanosecond gives 50 back: one in 200 ms
//
// The largest bucket, 65535 of 24 h, holds 5.7e18: it fits, and so does what comes back in
// less than a period. The zero value is a full bucket.
type bucket struct {
	spent uint64 // what is missing, at most Count * Per
	at    int64  // ns, when that was so
}

// refill gives back what the time until now has earned. A now before the last one gives
// nothing: workers read the clock each for itself.
func (b *bucket) refill(r *Rate, now int64) {
	elapsed := now - b.at
	if elapsed <= 0 {
		return
	}
	b.at = now
	if elapsed >= r.Per {
		b.spent = 0
		return
	}
	b.spent -= min(b.spent, uint64(elapsed)*uint64(r.Count))
}

// has reports whether there is enough for one connection.
func (b *bucket) has(r *Rate) bool {
	return r.Count == 0 || b.spent <= uint64(r.Count-1)*uint64(r.Per)
}

// take takes one connection's cost, which has said is there.
func (b *bucket) take(r *Rate) { b.spent += uint64(r.Per) }

// put gives one back that did not begin.
func (b *bucket) put(r *Rate) { b.spent -= min(b.spent, uint64(r.Per)) }
