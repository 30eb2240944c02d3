package nat

// tickPeriod is how often Pool.Tick does something, in ns.
const tickPeriod = int64(1e9)

// holdDown keeps ports without connections for the endpoint that had them last, for a
// while (I10, RFC 6888 REQ-8): so packets that an old peer still sends do not reach
// another host. The endpoint itself may come back to its port at any time. The zero value
// holds nothing. Not safe for concurrent use: the map's lock guards it.
//
// The queue has each port at most once. A port that was used again and released again
// keeps its place, and is queued anew when its turn comes too early.
type holdDown struct {
	length uint32     // s; 0: no port begins to wait
	now    uint32     // s, as of the last tick
	held   portSet    // ports that wait: owned, without a connection
	until  []uint32   // s, by port; 0: not queued
	queue  []heldPort // a ring of 65,536
	first  uint16
	queued int
}

// heldPort is a place in the queue; due never falls towards the end of the queue by more
// than a port waits longer for it.
type heldPort struct {
	due  uint32 // s
	port uint16
}

// holds reports whether a port waits.
func (h *holdDown) holds(port uint16) bool { return h.until != nil && h.held.has(port) }

// begin makes the port that e had wait, and reports whether it does.
func (h *holdDown) begin(port uint16, e Endpoint) bool {
	if h.length == 0 || e == (Endpoint{}) {
		return false
	}
	// The time of the last tick may be a period old: rather too long than too short.
	due := h.now + h.length + uint32(tickPeriod/1e9)
	if h.until[port] == 0 {
		h.push(heldPort{due, port})
	}
	h.until[port] = due
	h.held.add(port)
	return true
}

func (h *holdDown) push(p heldPort) {
	h.queue[h.first+uint16(h.queued)] = p // the index wraps as the ring does
	h.queued++
}

// forget ends a port's wait: it is in use again.
func (h *holdDown) forget(port uint16) {
	if h.until != nil {
		h.held.remove(port)
	}
}

// setHold makes ports wait for so many ns, 0 for not at all, from their next release on.
func (m *PortMap) setHold(length int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := &m.hold
	h.length = uint32((length + 1e9 - 1) / 1e9)
	if length > 0 && h.until == nil {
		h.until, h.queue = make([]uint32, 1<<16), make([]heldPort, 1<<16)
	}
}

// tick lets go of the ports whose time has come. now is CLOCK_BOOTTIME in ns.
func (m *PortMap) tick(now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := &m.hold
	h.now = uint32(now / 1e9)
	for range h.queued {
		p := h.queue[h.first]
		if p.due > h.now {
			return
		}
		h.first, h.queued = h.first+1, h.queued-1
		switch waits := h.held.has(p.port); {
		case waits && h.until[p.port] > h.now:
			h.push(heldPort{h.until[p.port], p.port})
			continue
		case waits:
			h.held.remove(p.port)
			m.vacateLocked(p.port)
		}
		h.until[p.port] = 0
	}
}
