package config

import (
	"fmt"
	"slices"
	"strings"
)

// Nearest returns the known word that somebody who wrote word most likely meant, or
// "" if none is close: at most one edit for every three letters, at least one.
func Nearest(word string, known []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := distance(word, k); d < least || d == least && best != "" && k < best {
			best, least = k, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours
// that lead from a to b (optimal string alignment). Long words are told far apart
// without the work: nobody's key has 64 letters.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	var rows [3][65]int // the row before last, the last, the one being filled
	for j := range len(b) + 1 {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		rows[2][0] = i
		for j := 1; j <= len(b); j++ {
			swap := 1
			if a[i-1] == b[j-1] {
				swap = 0
			}
			d := min(rows[1][j]+1, rows[2][j-1]+1, rows[1][j-1]+swap)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[0][j-2]+1)
			}
			rows[2][j] = d
		}
		rows[0], rows[1] = rows[1], rows[2]
	}
	return rows[1][len(b)]
}

// suggest says what to write instead of word: the nearest known one, else all.
// noun is what they are, in the plural.
func suggest(word string, known []string, noun string) string {
	if n := Nearest(word, known); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	if len(known) == 0 {
		return "there are no " + noun
	}
	sorted := slices.Sorted(slices.Values(known))
	return "the " + noun + " are " + strings.Join(slices.Compact(sorted), ", ")
}
