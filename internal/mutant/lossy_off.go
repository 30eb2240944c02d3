//go:build !mutant_lossy

package mutant

// Lossy is not built in.
const Lossy = false
