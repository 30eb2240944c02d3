//go:build mutant_slow

package mutant

// Slow makes workers sleep with every burst: the benchmark's own tests build it in, to see
// whether the suite notices.
const Slow = true
