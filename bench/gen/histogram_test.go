package gen

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHistogramBuckets(t *testing.T) {
	for _, row := range []struct {
		value  uint64
		bucket int
		top    uint64
	}{
		{0, 0, 0}, {15, 15, 15}, {16, 16, 16}, {31, 31, 31}, {32, 32, 33}, {33, 32, 33}, {34, 33, 35},
		{1000, 111, 1023}, {1024, 112, 1087}, {math.MaxInt64, 959, math.MaxInt64},
	} {
		if b := bucketOf(row.value); b != row.bucket || bucketTop(b) != row.top {
			t.Errorf("%d is in bucket %d up to %d, want %d up to %d", row.value, b, bucketTop(b), row.bucket, row.top)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Uint64Range(0, math.MaxInt64).Draw(t, "v")
		b := bucketOf(v)
		if b >= histogramBuckets || v > bucketTop(b) || b > 0 && v <= bucketTop(b-1) {
			t.Fatalf("%d is in bucket %d, %d to %d", v, b, bucketTop(b-1)+1, bucketTop(b))
		}
		if float64(bucketTop(b)) > float64(v)*17/16 {
			t.Fatalf("%d counts as %d", v, bucketTop(b))
		}
	})
}

func TestHistogramPercentiles(t *testing.T) {
	var empty, h Histogram
	if empty.Percentile(50) != 0 || empty.Mean() != 0 {
		t.Error("an empty histogram has percentiles")
	}
	random := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(math.Exp(random.NormFloat64()+10)) * time.Nanosecond
		all = append(all, d)
		h.Add(d)
	}
	slices.Sort(all)
	for _, p := range []float64{0, 1, 50, 90, 99, 99.9, 100} {
		exact := all[max(1, int(p/100*float64(len(all))+0.5))-1]
		if got := h.Percentile(p); got < exact || float64(got) > float64(exact)*17/16+1 {
			t.Errorf("p%v is %v, exactly %v", p, got, exact)
		}
	}
	var sum Histogram
	sum.Merge(&h)
	sum.Merge(&h)
	if sum.Count() != 2*h.Count() || sum.Percentile(90) != h.Percentile(90) || sum.Mean() != h.Mean() {
		t.Errorf("twice the same: %v of %v", &sum, &h)
	}
	h.Add(-time.Second)
	if h.Percentile(0) != 0 {
		t.Error("a negative duration is not 0")
	}
}

func TestMark(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Mark{rapid.Uint32().Draw(t, "flow"), rapid.Uint32().Draw(t, "number"), rapid.Uint64().Draw(t, "time")}
		b := m.Append(nil)
		got, ok := ParseMark(append(b, 0))
		if len(b) != MarkBytes || got != m || !ok {
			t.Fatalf("%+v came back as %+v, %v", m, got, ok)
		}
		if _, ok := ParseMark(b[:MarkBytes-1]); ok {
			t.Fatal("a short one was taken")
		}
		b[0]++
		if _, ok := ParseMark(b); ok {
			t.Fatal("another magic was taken")
		}
	})
}
