package reload

import (
	"fmt"

	"github.com/cespare/xxhash/v2"

	"holdfast/sync/wire"
)

// Pace of a fetch.
const (
	fetchWindow = 32         // chunks that one request asks for
	fetchRetry  = int64(5e7) // ns without the chunk that is due until it is asked for again
)

// FetchLimit is how long a fetch may go without a new chunk until it is given up, in ns.
const FetchLimit = int64(5e9)

// Fetch gets an image from a peer, in order: what comes early or twice is not used, and what
// is lost is asked for again. Its memory is bounded by what the peer says the image has, and
// that by ImageMax.
type Fetch struct {
	image wire.Image
	have  []byte
	end   int   // of what has been asked for
	asked int64 // when
	moved int64 // when something came last
}

// NewFetch begins to fetch an image at now (ns).
func NewFetch(image wire.Image, now int64) (*Fetch, error) {
	if image.Size == 0 || image.Size > ImageMax {
		return nil, fmt.Errorf("the policy has %d bytes when compressed: must be 1 to %d", image.Size, ImageMax)
	}
	return &Fetch{image: image, moved: now}, nil
}

// Image returns what is fetched.
func (f *Fetch) Image() wire.Image { return f.image }

// Due returns what to ask for at now; no request is due where ok is false.
func (f *Fetch) Due(now int64) (m wire.Fetch, ok bool) {
	if len(f.have) < f.end && now-f.asked < fetchRetry {
		return wire.Fetch{}, false
	}
	f.asked = now
	f.end = min(len(f.have)+fetchWindow*wire.ChunkMax, int(f.image.Size))
	chunks := (f.end - len(f.have) + wire.ChunkMax - 1) / wire.ChunkMax
	return wire.Fetch{Sum: f.image.Sum, From: uint32(len(f.have)), Count: uint8(chunks)}, true
}

// Next returns when a request is due again if nothing comes, in ns.
func (f *Fetch) Next() int64 { return f.asked + fetchRetry }

// Late reports whether the fetch is to be given up.
func (f *Fetch) Late(now int64) bool { return now-f.moved >= FetchLimit }

// Chunk takes in a chunk and reports whether the image is whole. The error says that what
// came is not the image; then the fetch is over.
func (f *Fetch) Chunk(m *wire.Chunk, now int64) (whole bool, err error) {
	if m.Sum != f.image.Sum || int(m.From) != len(f.have) || len(f.have)+len(m.Data) > int(f.image.Size) {
		return false, nil
	}
	f.have = append(f.have, m.Data...)
	f.moved = now
	if len(f.have) < int(f.image.Size) {
		return false, nil
	}
	if xxhash.Sum64(f.have) != f.image.Sum {
		return false, fmt.Errorf("%w: its sum is another", ErrImage)
	}
	return true, nil
}

// Bytes returns the image that is whole.
func (f *Fetch) Bytes() []byte { return f.have }

// Serve calls send with the chunks that a request asks for, as far as the image has them.
func Serve(image []byte, m *wire.Fetch, send func(*wire.Chunk)) {
	from := int(m.From)
	for range min(int(m.Count), fetchWindow) {
		if from >= len(image) {
			return
		}
		end := min(from+wire.ChunkMax, len(image))
		send(&wire.Chunk{Sum: m.Sum, From: uint32(from), Data: image[from:end]})
		from = end
	}
}
