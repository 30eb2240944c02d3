package conntrack

// prefetch asks for the line of a bucket without waiting for it. A load would not do: the
// next locked instruction waits for every load before it, and so for the whole miss.
//
//go:noescape
func prefetch(b *bucket)
