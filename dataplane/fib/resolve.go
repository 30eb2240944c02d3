package fib

import (
	"fmt"
	"maps"

	"github.com/vishvananda/netlink"

	"holdfast/dataplane/packet"
)

// Learn takes in neighbours that a peer's kernel resolved. They are in the table when
// it returns. It returns how many found no room.
func (w *Watcher) Learn(neighbors ...Neighbor) (refused int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.table.current.Load()
	next := before
	for _, n := range neighbors {
		if n.MAC.IsGroup() || n.MAC == (packet.MAC{}) || !w.neighborhood.learn(n.key(), n.MAC) {
			refused++
			continue
		}
		next = w.refreshedLocked(next, n.key())
	}
	if next != before {
		w.table.publish(next)
	}
	return refused
}

// Neighbors returns every neighbour known, for a peer that joins.
func (w *Watcher) Neighbors() []Neighbor {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.neighborhood.all()
	all := make([]Neighbor, 0, len(known))
	for k, mac := range known {
		all = append(all, Neighbor{k.port, k.addr, mac})
	}
	return all
}

// Activate tells that this node may speak on its ports from now on: requests reach the
// kernel, stale neighbours are probed, and Run writes what was learnt into the kernel as
// stale. The policy's gateways are asked for, so that they are known before a packet needs
// them. It returns at once; what was learnt is in the table already.
func (w *Watcher) Activate() {
	w.mu.Lock()
	w.neighborhood.speak()
	w.republishLocked()
	w.mu.Unlock()
	for _, g := range w.config.Gateways {
		w.Resolve(g.Port, g.Addr)
	}
	select {
	case w.install <- struct{}{}:
	default:
	}
}

// Deactivate tells that nothing this node sends will leave: it asks nobody any more.
func (w *Watcher) Deactivate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.neighborhood.silence()
	w.republishLocked()
}

// republishLocked brings every neighbour of the table up to date, after the station
// changed whom to believe.
func (w *Watcher) republishLocked() {
	before := w.table.current.Load()
	next := before
	for k := range w.neighborhood.all() {
		next = w.refreshedLocked(next, k)
	}
	if next != before {
		w.table.publish(next)
	}
}

// installLearned writes what peers taught into the kernel of an active node, where the
// kernel does not know by itself, a bounded number at a time. What the kernel takes, it
// knows from now on; the rest stays learnt, and usable.
func (w *Watcher) installLearned() {
	todo := map[neighborKey]packet.MAC{}
	w.mu.Lock()
	if w.neighborhood.station == active {
		for k, mac := range w.neighborhood.learned {
			if _, own := w.neighborhood.kernel[k]; own {
				delete(w.neighborhood.learned, k)
			} else if len(todo) < installsMax {
				todo[k] = mac
			}
		}
	}
	w.mu.Unlock()
	for k, mac := range todo {
		if err := w.order(k, &netlink.Neigh{State: netlink.NUD_STALE, HardwareAddr: mac[:]}); err != nil {
			w.failed(fmt.Errorf("handing neighbour %v to the kernel: %w", k.addr, err))
			delete(todo, k)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, mac := range todo {
		if w.neighborhood.station == active && w.neighborhood.learned[k] == mac {
			w.neighborhood.see(k, netlink.NUD_STALE, mac)
			delete(w.neighborhood.learned, k)
		}
	}
}

// order creates or changes a neighbour of the kernel's; n lacks only which.
func (w *Watcher) order(k neighborKey, n *netlink.Neigh) error {
	link, ok := w.linkOf(k.port)
	if !ok {
		return fmt.Errorf("port %d has no interface", k.port)
	}
	n.LinkIndex, n.IP = link, k.addr.Netip().AsSlice()
	return w.handle.NeighSet(n)
}

func (w *Watcher) linkOf(port packet.PortID) (int, bool) {
	for link, p := range w.config.Links {
		if p == port {
			return link, true
		}
	}
	return 0, false
}

// ask makes the kernel resolve addresses, each at most once in askAgain.
func (w *Watcher) ask(keys []neighborKey) {
	now := w.config.Now()
	for _, k := range keys {
		w.mu.Lock()
		_, known := w.neighborhood.kernel[k]
		mayAsk := w.neighborhood.station == active
		w.mu.Unlock()
		last, before := w.asked[k]
		switch {
		case known || before && now-last < askAgain:
			continue // the answer is in the table, or under way
		case !mayAsk || !before && len(w.asked) >= asksMax:
			w.stats.shed.Add(1)
			continue
		}
		w.asked[k] = now
		if err := w.use(k); err != nil {
			w.failed(fmt.Errorf("asking for neighbour %v: %w", k.addr, err))
		}
	}
}

// use does what a packet of the kernel's own would do to a neighbour: one that is not
// known is asked for, a stale one is probed by unicast five seconds later (NTF_USE,
// neigh_add in net/core/neighbour.c).
func (w *Watcher) use(k neighborKey) error {
	return w.order(k, &netlink.Neigh{Flags: netlink.NTF_USE})
}

// forgetAsked makes room for new addresses.
func (w *Watcher) forgetAsked() {
	now := w.config.Now()
	maps.DeleteFunc(w.asked, func(_ neighborKey, last int64) bool { return now-last >= askAgain })
}

// probeStale has stale neighbours probed, a bounded number at a time. The kernel would
// let them age, because it does not see the packets that the workers send to them.
func (w *Watcher) probeStale() {
	now := w.config.Now()
	var stale []neighborKey
	w.mu.Lock()
	if w.neighborhood.station == active {
		for k, n := range w.neighborhood.kernel {
			if n.state == netlink.NUD_STALE && (n.probed == 0 || now-n.probed >= probeAgain) && len(stale) < probesMax {
				n.probed = now
				w.neighborhood.kernel[k] = n
				stale = append(stale, k)
			}
		}
	}
	w.mu.Unlock()
	for _, k := range stale {
		if err := w.use(k); err != nil {
			w.failed(fmt.Errorf("probing neighbour %v: %w", k.addr, err))
		}
	}
}
