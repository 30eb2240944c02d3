package conntrack

// Alive reports whether the connection at index is still the one of an incarnation, and was
// not killed.
func (t *Table) Alive(index uint32, i Incarnation) bool {
	c := t.entry(index)
	if c == nil {
		return false
	}
	home, live := t.lockLive(c)
	if !live {
		return false
	}
	alive := c.incarnation == i && !t.dead(c)
	t.unlock(home)
	return alive
}
