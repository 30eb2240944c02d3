package simulator

import (
	"fmt"
	"math/rand/v2"

	"holdfast/sync/cluster"
)

// This file is the network where nodes have several ways to each other: the first is
// World.links, the others are here.

// lay lays the paths of the shape besides the first.
func (w *World) lay() {
	for i := range w.shape.Paths {
		var rows [][]*link
		for from := range w.shape.Nodes {
			row := make([]*link, w.shape.Nodes)
			for to := range row {
				row[to] = &link{world: w, path: i + 1, from: from, to: to,
					rng: rand.New(rand.NewPCG(w.schedule.Seed, uint64(10_000*(i+1)+100*from+to)))}
			}
			rows = append(rows, row)
		}
		w.more = append(w.more, rows)
	}
}

// way returns the network between two nodes by a path, 0 being the first.
func (w *World) way(path, from, to int) *link {
	if path == 0 {
		return w.links[from][to]
	}
	return w.more[path-1][from][to]
}

// ways returns how many paths there are.
func (w *World) ways() int { return 1 + len(w.more) }

// kind returns what a path may carry.
func (w *World) kind(path int) cluster.PathKind {
	if path == 0 {
		return cluster.PathSync
	}
	return w.shape.Paths[path-1]
}

// connect gives a link of the node its further paths.
func (n *node) connect(l *cluster.PeerLink, peer int) {
	for path := 1; path < n.world.ways(); path++ {
		l.AddPath(fmt.Sprint("path", path), n.world.kind(path), n.world.way(path, n.id, peer))
	}
}

// faulty reports whether anything may keep a datagram from arriving as it was sent, soon.
func (l *link) faulty() bool {
	if l.cuts > 0 || l.losing > 0 {
		return true
	}
	for a := Lose; a <= Narrow; a++ {
		if l.amount[a] > 0 {
			return true
		}
	}
	return false
}

// whole reports whether a path has been without faults in both directions for a time.
func (w *World) whole(path, a, b int, ns int64) bool {
	for _, l := range []*link{w.way(path, a, b), w.way(path, b, a)} {
		if l.faulty() || w.now-l.mended < ns {
			return false
		}
	}
	return true
}

// cut cuts the link, or ends that.
func (l *link) cut(by int) {
	l.cuts += by
	l.mended = l.world.now
}

// sever cuts every sync link between two nodes, or ends that.
func (w *World) sever(a, b, by int) {
	for path := range w.ways() {
		if w.kind(path) == cluster.PathSync {
			w.way(path, a, b).cut(by)
			w.way(path, b, a).cut(by)
		}
	}
}
