package lab

import (
	"container/heap"
	"time"
)

// flights are the copies of datagrams that are on their way, soonest first. Their number
// is bounded by impairHeld; bodies are used again.
type flights struct {
	waiting byArrival
	order   uint64
	free    [][]byte
}

type flight struct {
	at    time.Time
	order uint64 // of two that arrive at once, the one that was sent first comes first
	class int
	body  []byte
}

// add puts a copy on its way. soonest says that it arrives before all others.
func (f *flights) add(datagram []byte, class int, at time.Time) (soonest, ok bool) {
	if len(f.waiting) >= impairHeld {
		return false, false
	}
	var body []byte
	if n := len(f.free); n > 0 {
		body, f.free = f.free[n-1], f.free[:n-1]
	}
	f.order++
	mine := f.order
	heap.Push(&f.waiting, flight{at: at, order: mine, class: class, body: append(body[:0], datagram...)})
	return f.waiting[0].order == mine, true
}

// idleWait is how long to wait where nothing is on its way; add ends it.
const idleWait = time.Hour

// next copies the soonest flight into buf if its time has come, and otherwise says how
// long to wait.
func (f *flights) next(now time.Time, buf []byte) (body []byte, class int, wait time.Duration) {
	if len(f.waiting) == 0 {
		return nil, 0, idleWait
	}
	if wait := f.waiting[0].at.Sub(now); wait > 0 {
		return nil, 0, wait
	}
	first := heap.Pop(&f.waiting).(flight)
	f.free = append(f.free, first.body)
	return append(buf[:0], first.body...), first.class, 0
}

// byArrival is a heap (container/heap).
type byArrival []flight

func (h byArrival) Len() int { return len(h) }
func (h byArrival) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].order < h[j].order
}
func (h byArrival) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byArrival) Push(x any)   { *h = append(*h, x.(flight)) }
func (h *byArrival) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last].body = nil
	*h = (*h)[:last]
	return x
}
