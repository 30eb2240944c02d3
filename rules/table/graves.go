package table

import "net/netip"

// Bounds of what is remembered of entries that have left.
const (
	gravesMax = 1 << 14       // of a table; the oldest is forgotten first
	graveFor  = int64(3600e9) // ns
)

// graves remembers which entries have left and at which version, so that what is told late,
// or by a node that has not heard of it, does not bring one back. The zero value is ready
// for use; the table's lock guards it.
//
//	for every prefix p in of: order holds (p, of[p]) once, at or behind head
type graves struct {
	of    map[netip.Prefix]Version
	order []grave
	head  int
}

// grave is an entry that has left.
type grave struct {
	prefix  netip.Prefix
	version Version
	at      int64 // ns, when it was dug
}

// version returns that at which an entry has left; 0: nothing is known of it.
func (g *graves) version(p netip.Prefix) Version { return g.of[p] }

// dig notes that an entry has left at now (ns).
func (g *graves) dig(p netip.Prefix, v Version, now int64) {
	if g.of[p] >= v {
		return
	}
	if g.of == nil {
		g.of = map[netip.Prefix]Version{}
	}
	g.of[p] = v
	g.order = append(g.order, grave{p, v, now})
	g.forget(now)
}

// close forgets one whose entry is back.
func (g *graves) close(p netip.Prefix) { delete(g.of, p) }

// forget forgets what is older than graveFor, or too many.
func (g *graves) forget(now int64) {
	for len(g.order)-g.head > gravesMax || g.head < len(g.order) && g.order[g.head].at <= now-graveFor {
		first := &g.order[g.head]
		if g.of[first.prefix] == first.version {
			delete(g.of, first.prefix)
		}
		g.head++
	}
	if g.head > len(g.order)/2 {
		g.order = append([]grave(nil), g.order[g.head:]...)
		g.head = 0
	}
}

// below forgets what left up to a version.
func (g *graves) below(v Version) {
	for p, left := range g.of {
		if left <= v {
			delete(g.of, p)
		}
	}
	if len(g.of) == 0 {
		*g = graves{}
	}
}

// all returns them.
func (g *graves) all() (all []grave) {
	for _, one := range g.order[g.head:] {
		if g.of[one.prefix] == one.version {
			all = append(all, one)
		}
	}
	return all
}
