package cluster

import (
	"sync"
	"sync/atomic"

	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// courier is the way between a node and the witness: a sealed session on which requests for
// votes and votes go, and nothing else. Both ends are made of it.
type courier struct {
	link *PeerLink

	mu    sync.Mutex // guards what follows, and the sending
	reply []byte
	batch []byte
	seal  []byte
	order order // of what came

	keys  atomic.Pointer[[]seal.Key] // that are to be used from now on; nil: none are new
	heard atomic.Int64               // when something was last believed, ns of the clock; 0: never
}

func newCourier(l *PeerLink) *courier {
	return &courier{link: l, reply: make([]byte, 0, 2048), batch: make([]byte, 0, 512), seal: make([]byte, 0, 1024)}
}

// receive takes in a datagram and hands on what it says: take is called for every message that
// was not overtaken by a later one. It opens in place.
func (c *courier) receive(datagram []byte, now int64, take func(f *wire.Frame)) seal.Outcome {
	c.mu.Lock()
	res := c.link.peer.Receive(now, datagram, c.reply[:0])
	c.link.send(res.Reply)
	current := c.link.peer.Session()
	believed := res.Outcome == seal.Opened && len(res.Plaintext) > 0 && res.Lane == laneBeats &&
		bootOf(res.Session) == bootOf(current) && c.order.newer(res.Session, res.Counter)
	c.mu.Unlock()
	if !believed {
		return res.Outcome
	}
	h, body, err := wire.DecodeHeader(res.Plaintext)
	if err != nil || h.Kind == wire.Stream {
		return res.Outcome
	}
	c.heard.Store(now)
	frames := wire.Frames{Rest: body}
	var f wire.Frame
	for frames.Next(&f) {
		take(&f)
	}
	return res.Outcome
}

// due sends what time asks for: handshakes.
func (c *courier) due(now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if keys := c.keys.Swap(nil); keys != nil {
		// It refuses nothing: whoever stored them has looked at them.
		_ = c.link.peer.SetKeys(*keys)
	}
	c.link.send(c.link.peer.Tick(now, c.reply[:0]))
}

// send seals a message and sends it.
func (c *courier) send(message func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batch = message(wire.AppendControlHeader(c.batch[:0]))
	c.link.Send(laneBeats, c.seal, c.batch)
}
