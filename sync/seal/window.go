package seal

import "holdfast/internal/mutant"

// Window remembers which counters of one lane were opened (RFC 6479): a ring of words,
// each a bitmap of 64 counters, so that moving ahead clears words instead of shifting.
//
//	counters        ... | 64*(k-14) .. | ... | 64*k .. 64*k+63 |
//	                     oldest whole word      word of the newest
//	word in the ring   = counter / 64 mod 16
//	bit in the word    = counter mod 64
//
// The word after the newest one is being reused, so 15 of the 16 words count: a counter
// is acceptable while newest - counter < 960. Example: newest 1000 stands in word 15,
// bit 40; counter 41 (959 behind) still has its word 0; counter 40 does not count.
//
// The zero value is ready to use and accepts every counter once, from 0. Not safe for
// concurrent use.
type Window struct {
	newest uint64
	ring   [windowWords]uint64
}

const (
	windowWords = 16
	// windowSize is how far behind the newest counter one may be.
	windowSize = (windowWords - 1) * 64
)

// Fresh reports whether counter was never marked and is not too old to know. It is
// asked before the costly opening of a datagram; Mark is called after it.
func (w *Window) Fresh(counter uint64) bool {
	if counter > w.newest || mutant.WindowOpen {
		return true
	}
	if w.newest-counter >= windowSize {
		return false
	}
	return w.ring[counter/64%windowWords]&(1<<(counter%64)) == 0
}

// Mark remembers counter, which must be Fresh and come from an authentic datagram.
func (w *Window) Mark(counter uint64) {
	if counter > w.newest {
		steps := min(counter/64-w.newest/64, windowWords)
		for word := w.newest / 64; steps > 0; steps-- {
			word++
			w.ring[word%windowWords] = 0
		}
		w.newest = counter
	}
	w.ring[counter/64%windowWords] |= 1 << (counter % 64)
}
