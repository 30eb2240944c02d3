package cluster

import (
	"math/bits"
	"sync"
)

// jitter measures how late the control goroutine takes its turns: the machine's scheduling, and
// what it leaves of the lease. It keeps the last minute, in six slots of ten seconds. Safe for
// concurrent use.
type jitter struct {
	mu    sync.Mutex // guards what follows
	last  int64      // when the last turn was taken; 0: none yet
	slots [jitterSlots]jitterSlot
}

const (
	jitterSlots = 6
	jitterSlot1 = int64(10e9) // ns that a slot covers
	// jitterSteps splits each power of two, so a figure is at most an eighth too high.
	jitterSteps = 8
)

// jitterSlot counts turns by lateness.
type jitterSlot struct {
	number int64 // of the slot since the clock's begin
	max    int64 // ns
	turns  uint64
	counts [64 * jitterSteps]uint32
}

// turn notes a turn at now that was due period after the one before, in ns, and returns how
// late it comes.
func (j *jitter) turn(now, period int64) (late int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.last != 0 {
		late = max(0, now-j.last-period)
	}
	j.last = now
	number := now / jitterSlot1
	s := &j.slots[number%jitterSlots]
	if s.number != number {
		*s = jitterSlot{number: number}
	}
	s.max = max(s.max, late)
	s.turns++
	s.counts[bucket(late)]++
	return late
}

// Jitter is how late this node's own turns came in the last minute.
type Jitter struct {
	Max, P99 int64 // ns
	Turns    uint64
}

// read returns the figures of the last minute.
func (j *jitter) read(now int64) (f Jitter) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var counts [64 * jitterSteps]uint64
	for i := range j.slots {
		s := &j.slots[i]
		if s.turns == 0 || s.number <= now/jitterSlot1-jitterSlots {
			continue
		}
		f.Turns += s.turns
		f.Max = max(f.Max, s.max)
		for b, c := range s.counts {
			counts[b] += uint64(c)
		}
	}
	above := f.Turns / 100
	for b := len(counts) - 1; b >= 0; b-- {
		if counts[b] > above {
			f.P99 = min(f.Max, ceiling(b))
			break
		}
		above -= counts[b]
	}
	return f
}

// bucket returns where a lateness is counted.
func bucket(late int64) int {
	if late < jitterSteps {
		return int(late)
	}
	exponent := bits.Len64(uint64(late)) - 4 // of the highest bit, so that three more follow
	return (exponent+1)*jitterSteps + int(late>>exponent)&(jitterSteps-1)
}

// ceiling returns the highest lateness of a bucket, ns.
func ceiling(b int) int64 {
	if b < jitterSteps {
		return int64(b)
	}
	exponent := b/jitterSteps - 1
	return (int64(jitterSteps+b%jitterSteps)+1)<<exponent - 1
}
