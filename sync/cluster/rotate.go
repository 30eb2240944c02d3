package cluster

import (
	"slices"
	"sync"

	"holdfast/sync/seal"
)

// rotation holds the keys that a node was given last.
type rotation struct {
	mu   sync.Mutex // guards keys
	keys []seal.Key
}

// SetKeys replaces the keys while the node runs, the first to use first, and reports whether
// they are others than before. Every link makes a new session under the first; those in use
// open what is on its way, so nothing is lost as long as both ends accept the other's first.
// Safe from any goroutine.
//
//	step  node a  node b     the first is used, all are accepted
//	0     A       A
//	1     A B     A B        in any order
//	2     B A     B A        in any order: whoever has B first is accepted by the other
//	3     B       B          A is worth nothing any more
func (n *Node) SetKeys(keys []seal.Key) (changed bool, err error) {
	if err := checkKeys(keys); err != nil {
		return false, err
	}
	n.rotation.mu.Lock()
	defer n.rotation.mu.Unlock()
	if slices.Equal(keys, n.rotation.keys) {
		return false, nil
	}
	next := slices.Clone(keys)
	n.rotation.keys = next
	for _, r := range n.remotes {
		r.keys.Store(&next)
	}
	if n.third != nil {
		n.third.keys.Store(&next)
	}
	return true, nil
}

// rekey is the reader's part of SetKeys.
func (r *remote) rekey() {
	if r.keys.Load() != nil {
		// It refuses nothing: Node.SetKeys has looked at them.
		_ = r.link.peer.SetKeys(*r.keys.Swap(nil))
	}
}
