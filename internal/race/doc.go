// Package race says whether the race detector watches this build, which makes everything
// several times slower. Tests that walk through very many cases in one goroutine take fewer
// of them then: the detector has nothing to find in them, and `make soak` runs them in full
// without it.
//
// It is not for the product, whose behaviour never depends on how it was built.
package race
