package gen

import (
	"fmt"
	"math/bits"
	"time"
)

// histogramBuckets is enough for every int64; bucketOf(1<<63-1) is 959.
const histogramBuckets = 1024

// Histogram counts durations in logarithmic buckets, 16 to a power of two: a percentile
// is at most 1/16 too high. The zero value is empty. Not safe for concurrent use.
type Histogram struct {
	buckets [histogramBuckets]uint64
	count   uint64
	sum     time.Duration
}

// bucketOf places nanoseconds: v < 16 has a bucket of its own, others share the four bits
// below their highest. 1000 = 0b1111101000: the highest bit is 9, the next four are 1111,
// so the bucket is (9-3)*16 + 15 = 111, which holds 992..1023. bucket_of of sink.bpf.c is
// the same.
func bucketOf(v uint64) int {
	if v < 16 {
		return int(v)
	}
	e := bits.Len64(v) - 1
	return (e-3)*16 + int(v>>(e-4)&15)
}

// bucketTop is the highest value of a bucket.
func bucketTop(i int) uint64 {
	if i < 16 {
		return uint64(i)
	}
	e := i/16 + 3
	return (uint64(i%16)+17)<<(e-4) - 1
}

// Add counts a duration; one below zero counts as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(0, d)
	h.buckets[bucketOf(uint64(d))]++
	h.count++
	h.sum += d
}

// Merge adds what another histogram counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.count += o.count
	h.sum += o.sum
}

// addBucket adds n durations of one bucket, each taken as the bucket's top.
func (h *Histogram) addBucket(i int, n uint64) {
	h.buckets[i] += n
	h.count += n
	h.sum += time.Duration(n * bucketTop(i))
}

// Count returns how many durations were added.
func (h *Histogram) Count() uint64 { return h.count }

// Mean returns the mean, 0 of an empty histogram.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return h.sum / time.Duration(h.count)
}

// Percentile returns a duration that p of 100 do not exceed, rounded up to its bucket's
// top; 0 of an empty histogram. 100 gives the maximum's bucket.
func (h *Histogram) Percentile(p float64) time.Duration {
	rank := uint64(p/100*float64(h.count) + 0.5)
	rank = min(max(rank, 1), h.count)
	var below uint64
	for i, n := range h.buckets {
		if below += n; below >= rank && n > 0 {
			return time.Duration(bucketTop(i))
		}
	}
	return 0
}

// String gives the usual percentiles.
func (h *Histogram) String() string {
	return fmt.Sprintf("%d: p50 %v, p90 %v, p99 %v, p99.9 %v, max %v",
		h.count, h.Percentile(50), h.Percentile(90), h.Percentile(99), h.Percentile(99.9), h.Percentile(100))
}
