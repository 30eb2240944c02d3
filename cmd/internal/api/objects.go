package api

import (
	"fmt"
	"time"
)

// Status is `holdfast status --json`.
type Status struct {
	Node        string      `json:"node"`
	Version     string      `json:"version"`
	Started     time.Time   `json:"started"`
	Degraded    []string    `json:"degraded"` // why the exit code is 1; empty: all is well
	Groups      []Group     `json:"groups"`
	Peers       []Peer      `json:"peers"`
	Witness     *Witness    `json:"witness,omitempty"`
	Ports       []Port      `json:"ports"`
	Tracks      []Track     `json:"tracks"`
	Policy      Policy      `json:"policy"`
	Connections Connections `json:"connections"`
	SynProxy    SynProxy    `json:"syn_proxy"`
	Log         PacketLog   `json:"log"`
	Overload    Overload    `json:"overload"`
	Deferred    Deferred    `json:"deferred"`
	Containment Containment `json:"containment"`
	Workers     []Worker    `json:"workers"`
	History     []Event     `json:"history,omitempty"`
}

// Group is the role of this node for a group of ports.
type Group struct {
	Name       string  `json:"name"`
	Role       string  `json:"role"`   // active, standby
	Active     string  `json:"active"` // the node that is active, "" if none is known
	Term       uint64  `json:"term"`
	Ready      bool    `json:"ready"`
	NotReady   string  `json:"not_ready,omitempty"` // why
	Alarm      bool    `json:"alarm"`               // serves although it was not ready, or has a fault
	Priority   int32   `json:"priority"`            // what its troubles leave of it; below 0: it has a fault
	Fault      string  `json:"fault,omitempty"`     // that keeps it from serving where another node can
	PreemptIn  float64 `json:"preempt_in"`          // seconds until it takes the role back; 0: it does not
	LeaseLeft  float64 `json:"lease_left"`          // seconds, 0 where none is held
	LeaseLapse uint64  `json:"lease_lapses"`
	// LapsesStalled counts those of them at which this machine stood still.
	LapsesStalled uint64  `json:"lease_lapses_stalled"`
	FalseAlarms   uint64  `json:"false_alarms"` // times a peer was counted dead and spoke again in the same life
	JitterMax     float64 `json:"jitter_max"`   // how late this node's own turns came in the last minute, seconds
	JitterP99     float64 `json:"jitter_p99"`
	Stalls        uint64  `json:"stalls"` // times this machine stood still for half of dead_after
}

// Witness is what this node knows of the witness.
type Witness struct {
	Address string  `json:"address"`
	Heard   float64 `json:"heard"`   // seconds since it has answered, -1: never
	Granted float64 `json:"granted"` // seconds since this node asked for the vote that it got last, -1: never
}

// Path is one way to a peer.
type Path struct {
	Name  string  `json:"name"`  // device or port
	Kind  string  `json:"kind"`  // sync, port
	Heard float64 `json:"heard"` // seconds since a heartbeat came by it, -1: never
	Used  bool    `json:"used"`  // connections go by it
}

// Peer is another node as this one sees it.
type Peer struct {
	Name       string            `json:"name"`
	Address    string            `json:"address"`
	Session    string            `json:"session"` // none, handshake, established
	Role       string            `json:"role"`
	Ready      bool              `json:"ready"`
	Priority   int32             `json:"priority"`        // below 0: it has a fault that keeps it from serving
	Heard      float64           `json:"heard"`           // seconds since its last beat, -1: never
	Behind     uint64            `json:"behind"`          // batches of the peer that this node lacks
	Unacked    uint64            `json:"unacked"`         // batches of this node that the peer has not confirmed
	Resent     uint64            `json:"resent"`          // batches sent again on request
	Rejected   map[string]uint64 `json:"rejected"`        // datagrams refused, by reason
	SamePlan   bool              `json:"same_policy"`     // the peer runs the same policy
	Policy     string            `json:"policy"`          // hash of what it has in force, "" where it has told none
	Generation uint64            `json:"generation"`      // that it keeps, 0 where it has told none
	Trial      uint64            `json:"trial,omitempty"` // generation that it has on trial; 0: none
	MTUs       map[string]int    `json:"mtus"`            // of its ports, as far as it has told and runs the same policy
	Language   uint8             `json:"language"`        // version of the sync language that the two speak, 0: not known
	Incapable  string            `json:"error,omitempty"` // why nothing that it tells is taken in
	Equality   Equality          `json:"equality"`        // of the two tables
	Paths      []Path            `json:"paths"`           // ways to it
}

// Silent reports whether a peer has not been heard for so long that people should look: some
// heartbeats may be late.
func (p *Peer) Silent() bool { return p.Heard < 0 || p.Heard > silentAfter }

// silentAfter is how long a peer, or a way to it, may be silent, in seconds.
const silentAfter = 3

// Silent reports whether nothing has come by a path for long.
func (p *Path) Silent() bool { return p.Heard < 0 || p.Heard > silentAfter }

// Equality is how the tables of two nodes compare, as the one that does not forward has
// found. They are compared in shards, over and over.
type Equality struct {
	Proven    float64 `json:"proven"`    // seconds since it was last seen that no shard differs, -1: never
	Shards    uint32  `json:"shards"`    // compared in the last round
	Moving    uint32  `json:"moving"`    // of them, changed meanwhile: nothing is known of these
	Divergent uint32  `json:"divergent"` // of them, different: to be repaired
	Repairs   uint64  `json:"repairs"`   // transfers of shards that differed, to this node
	Discarded uint64  `json:"discarded"` // connections of this node that the peer no longer had
	Told      uint64  `json:"told"`      // connections that transfers have told the peer

	Tables TablesEquality `json:"tables"` // of what was added to the tables of addresses
}

// TablesEquality is how what was added to tables of addresses compares on two nodes, as this one
// has found.
type TablesEquality struct {
	Proven    float64 `json:"proven"`    // seconds since all that both have were last found equal, -1: never
	Divergent int     `json:"divergent"` // tables that differ
	Asked     uint64  `json:"asked"`     // tables that this node has asked the peer for because they differed
	Refused   uint64  `json:"refused"`   // changes told by the peer that found no such table here, or no room
}

// String says it in words.
func (e *Equality) String() string {
	switch {
	case e.Divergent > 0:
		return fmt.Sprintf("%d of %d shards DIFFER", e.Divergent, e.Shards)
	case e.Tables.Divergent > 0:
		return fmt.Sprintf("what was added to %d tables DIFFERS", e.Tables.Divergent)
	case e.Proven >= 0:
		return fmt.Sprintf("proven equal %.1f s ago", e.Proven)
	}
	return "not proven equal yet"
}

// Track is something that says whether this node should serve.
type Track struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`   // carrier, gateway, icmp, neighbor, tcp, program, self
	What   string `json:"what"`   // in words
	State  string `json:"state"`  // up, down, unknown; unknown counts as up
	Weight int    `json:"weight"` // taken off the node's priority while it is down
	Fault  bool   `json:"fault"`  // while it is down this node serves only where no other can
	Why    string `json:"why"`
}

// Port is a logical port of this node.
type Port struct {
	Name      string            `json:"name"`
	Device    string            `json:"device"`
	VLAN      uint16            `json:"vlan,omitempty"` // 802.1Q identifier; 0: untagged
	Mode      string            `json:"mode"`           // zero-copy, native-copy, generic
	Queues    int               `json:"queues"`
	Carrier   bool              `json:"carrier"`
	MAC       string            `json:"mac"`
	MTU       int               `json:"mtu"`
	Addresses []string          `json:"addresses"`
	Received  Traffic           `json:"received"`
	Sent      Traffic           `json:"sent"`
	Frames    map[string]uint64 `json:"frames,omitempty"` // owner of UMEM frames, by ring
}

// On says in words where the port is: "eth2", "eth2 vlan 30".
func (p *Port) On() string {
	if p.VLAN == 0 {
		return p.Device
	}
	return fmt.Sprintf("%s vlan %d", p.Device, p.VLAN)
}

// Traffic counts frames and their bytes on the wire, Ethernet header included.
type Traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Policy names the policy in force.
type Policy struct {
	File       string    `json:"file"`
	Hash       string    `json:"hash"`
	Rules      int       `json:"rules"`
	Generation uint64    `json:"generation"` // ordered in the cluster: a higher one is newer
	Since      time.Time `json:"since"`
	Confirm    *float64  `json:"confirm_left,omitempty"` // seconds until the policy before comes back, unless confirmed
}

// Connections counts the table.
type Connections struct {
	Count    uint32            `json:"count"`
	Capacity uint32            `json:"capacity"`
	Ended    map[string]uint64 `json:"ended"` // by the workers and by flushes, since the start: expired, replaced, killed, evicted, limited
}

// Overload counts, since the start, what became of sources that went beyond the limit of a
// rule with an overload.
type Overload struct {
	Taken   uint64 `json:"taken"`   // into a table; those that were there and live anew too
	NoRoom  uint64 `json:"no_room"` // their table was full: they are not blocked
	Flushed uint64 `json:"flushed"` // connections of them that ended, beside those that were too many
	Shed    uint64 `json:"shed"`    // sources whose connections should have ended and live on
}

// SynProxy says what the firewall has to do with SYNs, and its cookies since the start.
type SynProxy struct {
	Flooded  bool   `json:"flooded"`   // rules with "adaptive" have it answer
	HalfOpen int    `json:"half_open"` // TCP connections whose handshake is not complete
	Answered uint64 `json:"answered"`  // SYNs, with a cookie
	Proven   uint64 `json:"proven"`    // cookies that came back and began a connection
	Refused  uint64 `json:"refused"`   // segments without a connection that brought none, or a wrong one
}

// PacketLog counts the packets that rules wanted logged, since the start.
type PacketLog struct {
	File       string `json:"file"`       // pcapng; "": lines only
	Logged     uint64 `json:"logged"`     // lines
	Suppressed uint64 `json:"suppressed"` // were too many for a rate
	Shed       uint64 `json:"shed"`       // found no room on their way out of a worker
	Stored     uint64 `json:"stored"`     // in files
	Lost       uint64 `json:"lost"`       // could not be written to a file
}

// Deferred counts first packets of rules with `sync = "defer"`, since the start.
type Deferred struct {
	Waited       uint64 `json:"waited"`       // for a peer to have the connection
	Acknowledged uint64 `json:"acknowledged"` // of them, left when one had it
	Late         uint64 `json:"late"`         // of them, left after defer_max without
	Alone        uint64 `json:"alone"`        // left at once: no peer was heard
	Full         uint64 `json:"full"`         // left at once: too many were waiting
}

// Worker is one worker's life signs.
type Worker struct {
	ID     int    `json:"id"`
	Turns  uint64 `json:"turns"`
	Queues int    `json:"queues"`
	Untold uint64 `json:"untold"` // killed connections whose ends this worker was to tell and could not
}

// Event is one decision about roles.
type Event struct {
	At       time.Time `json:"at"`
	Group    string    `json:"group"`
	Role     string    `json:"role"`
	Term     uint64    `json:"term"`
	Cause    string    `json:"cause"`
	Evidence string    `json:"evidence"`
}

// Conns is `holdfast conns --json`.
type Conns struct {
	Count       int    `json:"count"`
	Connections []Conn `json:"connections,omitempty"`
}

// Conn is one connection. Packets and bytes are [original, reply].
type Conn struct {
	ID       string    `json:"id"`
	Proto    string    `json:"proto"`
	State    string    `json:"state"`
	Original Tuple     `json:"original"`
	Reply    Tuple     `json:"reply"`
	Replied  bool      `json:"replied"`
	Assured  bool      `json:"assured"`
	Proxied  bool      `json:"proxied,omitempty"` // its SYN was answered by the firewall
	Rule     string    `json:"rule"`
	In       string    `json:"in"`
	Out      string    `json:"out"`
	Gateway  string    `json:"gateway"` // the one it leaves by or came in by, "" for none
	Age      float64   `json:"age"`
	Idle     float64   `json:"idle"`
	Timeout  float64   `json:"timeout"` // seconds left without another packet
	Packets  [2]uint64 `json:"packets"`
	Bytes    [2]uint64 `json:"bytes"`
	Node     uint16    `json:"node"` // number of the node that created it
}

// Tuple is one direction of a connection.
type Tuple struct {
	Src     string `json:"src"`
	Dst     string `json:"dst"`
	SrcPort uint16 `json:"sport"`
	DstPort uint16 `json:"dport"`
}

// Gateways is `holdfast gateways --json`, sorted by name.
type Gateways struct {
	Gateways []Gateway `json:"gateways"`
}

// Gateway is a router that the policy names.
type Gateway struct {
	Name        string  `json:"name"`
	Port        string  `json:"port"`
	Address     string  `json:"address"`
	State       string  `json:"state"`       // up, down; what nobody asks counts as up
	Why         string  `json:"why"`         // what the state rests on
	Loss        float64 `json:"loss"`        // part of the last 64 probes that was not answered
	Latency     float64 `json:"latency"`     // seconds until an answer, smoothed; 0: none came
	Neighbor    string  `json:"neighbor"`    // its MAC, "" while that is not known
	Connections int     `json:"connections"` // that live and leave by it, or came in by it
}

// Drops is `holdfast drops --json`: counts per port, direction and reason; zeros are left out.
type Drops struct {
	Ports []PortDrops `json:"ports"`
}

// PortDrops counts what died on one port.
type PortDrops struct {
	Port    string            `json:"port"`
	Receive map[string]uint64 `json:"receive"`
	Send    map[string]uint64 `json:"send"`
}

// KillRequest asks to end connections.
type KillRequest struct {
	Selector []string `json:"selector"`
	DryRun   bool     `json:"dry_run"`
	Manner   string   `json:"manner"`
}

// KillResult says how many ended (or would have) on each node.
type KillResult struct {
	DryRun     bool             `json:"dry_run"`
	Killed     map[string]int   `json:"killed"`               // of each node that has answered
	Unanswered []KillUnanswered `json:"unanswered,omitempty"` // nodes that have not
	Untold     int              `json:"untold"`               // killed here, but their ends could not be told in time
}

// KillUnanswered is a node that has not said how many connections a kill has ended on it.
type KillUnanswered struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// PromoteRequest asks for the role of active node.
type PromoteRequest struct {
	Group string `json:"group"`
	Force bool   `json:"force"`
}

// DemoteRequest asks to hand the role over.
type DemoteRequest struct {
	Group string `json:"group"`
}

// Done answers a request that has nothing to say but that it was carried out.
type Done struct {
	Done     string   `json:"done"`
	Warnings []string `json:"warnings,omitempty"` // what to look after
}

// Error is every error's answer.
type Error struct {
	Error string `json:"error"`
}
