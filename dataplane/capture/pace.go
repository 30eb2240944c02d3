package capture

import "time"

// Rate is how many packets may be logged in a time, any number of them at once.
type Rate struct {
	Count uint32
	Per   time.Duration
}

// pace holds what is logged to a rate, as a token bucket kept as one instant (GCRA, ATM Forum
// TM 4.0 section 4.4.2): when the bucket will be full again. For 100 in a second:
//
//	a packet costs 10 ms; full lies at most 1 s ahead, so 100 at once, then one in 10 ms
//
// The zero value is a full bucket.
type pace struct{ full int64 } // ns

func (r *Rate) cost() int64 { return int64(r.Per) / int64(max(r.Count, 1)) }

// has reports whether there is enough for one more packet.
func (p *pace) has(r *Rate, now int64) bool {
	return max(p.full, now)+r.cost() <= now+int64(r.Per)
}

// take takes it.
func (p *pace) take(r *Rate, now int64) { p.full = max(p.full, now) + r.cost() }
