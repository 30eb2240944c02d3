//go:build !amd64

package conntrack

// prefetch asks for the line of a bucket; a load is what Go has where we have no
// instruction of our own.
func prefetch(b *bucket) { b.tags.Load() }
