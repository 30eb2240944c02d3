//go:build mutant_lossy

package mutant

// Lossy makes workers lose one packet in a thousand without a word: the benchmark's own
// tests build it in, to see whether the suite notices.
const Lossy = true
