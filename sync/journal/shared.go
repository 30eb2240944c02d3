package journal

import (
	"sync"

	"holdfast/conntrack"
	"holdfast/sync/wire"
)

// Shared is the lane of changes that no worker makes: kills, answers to a peer that lacks
// a connection, neighbours. Any goroutine may use it. What it tells leaves at once, except
// deletes, which come in great numbers.
type Shared struct {
	mu sync.Mutex // guards the journal's open batch
	j  *Journal
}

// NewShared returns the shared use of a journal, which nobody else may use.
func NewShared(j *Journal) *Shared { return &Shared{j: j} }

// Journal returns the lane itself, for what is safe from any goroutine.
func (s *Shared) Journal() *Journal { return s.j }

// Insert tells the peers of a connection, whole.
func (s *Shared) Insert(state *conntrack.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.j.Insert(state)
	s.j.Flush()
}

// Delete tells the peers that a connection has ended. It leaves with the batch: Flush
// after the last of many.
func (s *Shared) Delete(state *conntrack.State, why conntrack.EndReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.j.Delete(state, why)
}

// End tells the peers that a connection has ended, whoever told them of it before.
func (s *Shared) End(state *conntrack.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.j.Insert(state) // so that they know what the index means
	s.j.Delete(state, conntrack.EndExpired)
	s.j.Flush()
}

// Kill tells the peers of a kill.
func (s *Shared) Kill(k *wire.Kill) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.j.Kill(k)
	s.j.Flush()
}

// Poison tells the peers of a packet that made a worker panic.
func (s *Shared) Poison(p *wire.Poison) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.j.Poison(p)
	s.j.Flush()
}

// Neighbor tells the peers the MAC of a neighbour.
func (s *Shared) Neighbor(n *wire.Neighbor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.j.Neighbor(n)
	s.j.Flush()
}

// TableChange tells the peers of a change to a table. It leaves with the batch: Flush after the
// last of many.
func (s *Shared) TableChange(c *wire.TableChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.j.TableChange(c)
}

// Flush sends what is open.
func (s *Shared) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.j.Flush()
}
