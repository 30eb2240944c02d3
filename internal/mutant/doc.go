// Package mutant names bugs that are planted to see whether the simulator finds them. A
// build knows nothing of them, unless it has the tag `mutants`, which only a test uses. Slow and
// Lossy have tags of their own (mutant_slow, mutant_lossy): what must notice them is the
// benchmark, which runs the whole daemon.
//
// A planted bug is one condition in the code that it spoils, so that it moves along with
// that code:
//
//	if a.Term != b.Term && !mutant.EqualTermAccepted {
package mutant
