package fib

import (
	"github.com/vishvananda/netlink"

	"holdfast/dataplane/packet"
)

// learnedMax bounds what peers can make this node remember.
const learnedMax = 1 << 16

// validStates are those in which the kernel would send to the neighbour itself
// (NUD_VALID of net/neighbour.h).
const validStates = netlink.NUD_PERMANENT | netlink.NUD_NOARP | netlink.NUD_REACHABLE | netlink.NUD_PROBE | netlink.NUD_STALE | netlink.NUD_DELAY

// station says whether this node may speak on its ports.
type station uint8

const (
	mute station = iota
	active
)

// neighborhood is all that is known of neighbours, from the kernel and from peers.
type neighborhood struct {
	station station
	kernel  map[neighborKey]kernelNeighbor // the valid ones
	learned map[neighborKey]packet.MAC
}

// kernelNeighbor is a valid entry of the kernel's.
type kernelNeighbor struct {
	mac    packet.MAC
	state  int   // NUD_*
	probed int64 // when the watcher last had it probed, CLOCK_BOOTTIME ns
}

func newNeighborhood() neighborhood {
	return neighborhood{kernel: map[neighborKey]kernelNeighbor{}, learned: map[neighborKey]packet.MAC{}}
}

// best is the MAC to send to. An active node asks for itself and believes its kernel; a
// mute one cannot ask, and what the active one says is newer. What an administrator
// made permanent stands above both.
func (n *neighborhood) best(k neighborKey) (packet.MAC, bool) {
	own, isOwn := n.kernel[k]
	learned, isLearned := n.learned[k]
	if isOwn && (n.station == active || !isLearned || own.isFixed()) {
		return own.mac, true
	}
	return learned, isLearned
}

// all returns the best of every neighbour.
func (n *neighborhood) all() map[neighborKey]packet.MAC {
	known := make(map[neighborKey]packet.MAC, len(n.kernel)+len(n.learned))
	for k := range n.learned {
		known[k], _ = n.best(k)
	}
	for k := range n.kernel {
		known[k], _ = n.best(k)
	}
	return known
}

// see takes in what the kernel says of a neighbour. It reports whether that is a MAC
// that peers should hear of.
func (n *neighborhood) see(k neighborKey, state int, mac packet.MAC) (news bool) {
	if state&validStates == 0 {
		delete(n.kernel, k)
		if state&netlink.NUD_FAILED != 0 && n.station == active {
			delete(n.learned, k) // asked, and nobody answered
		}
		return false
	}
	before, known := n.kernel[k]
	n.kernel[k] = kernelNeighbor{mac: mac, state: state, probed: before.probed}
	return n.station == active && (!known || before.mac != mac)
}

// learn takes in what a peer says. It reports false where there is no room.
func (n *neighborhood) learn(k neighborKey, mac packet.MAC) bool {
	if _, known := n.learned[k]; !known && len(n.learned) >= learnedMax {
		return false
	}
	n.learned[k] = mac
	return true
}

// speak begins the right to ask. What was learnt is newer than what the kernel knows
// from its last time.
func (n *neighborhood) speak() {
	if n.station == active {
		return
	}
	n.station = active
	for k := range n.learned {
		if own, ok := n.kernel[k]; ok && !own.isFixed() {
			delete(n.kernel, k)
		}
	}
}

// silence ends the right to ask. What is known now stays as if learnt: the kernel's
// entries go as its probes stay without answer, which then says nothing.
func (n *neighborhood) silence() {
	if n.station == mute {
		return
	}
	n.station = mute
	for k, own := range n.kernel {
		n.learn(k, own.mac)
	}
}

// isFixed: set by hand, or on a link without resolution. NTF_USE would take the
// permanence away (neigh_add, net/core/neighbour.c), so these are never probed.
func (k *kernelNeighbor) isFixed() bool {
	return k.state&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0
}
