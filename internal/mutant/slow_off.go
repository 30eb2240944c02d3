//go:build !mutant_slow

package mutant

// Slow is not built in.
const Slow = false
