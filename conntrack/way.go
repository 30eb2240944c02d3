package conntrack

import "holdfast/dataplane/packet"

// Way is where the packets of one direction of a connection come from and go to: the
// ports are those that its first packet was given, and swapped for the replies.
type Way struct {
	Direction   Direction
	Entry, Exit packet.PortID // packet.NoPort: the node itself
	Gateway     uint8         // the connection's, which is on Entry or on Exit; 0: none
}

// Way returns the way of one direction of the class's connections.
func (c *Class) Way(dir Direction) Way { return c.key().way(dir) }

// Way returns the way of the packet: for packets that pass and connections that were
// inserted.
func (r *Result) Way() Way { return r.class.way(r.Direction) }

// Gateway returns the number of the connection's gateway, as Way does.
func (r *Result) Gateway() uint8 { return uint8(r.class >> 46 & 0x7f) }

// Exit returns the port that the packet should leave by, as Way does.
func (r *Result) Exit() packet.PortID {
	return r.class.port(39 - 7*uint(r.Direction&1)) // egress, or ingress for replies
}

func (k classKey) way(dir Direction) Way {
	turn := 7 * uint(dir&1)
	return Way{Direction: dir, Entry: k.port(32 + turn), Exit: k.port(39 - turn), Gateway: uint8(k >> 46 & 0x7f)}
}
