package api

import "time"

// ExplainRequest describes a packet that comes in by a port.
type ExplainRequest struct {
	In    string `json:"in"`              // the port
	Proto string `json:"proto"`           // tcp, udp, icmp, icmpv6
	From  string `json:"from"`            // address:port, [address]:port, or an address alone for ICMP
	To    string `json:"to"`              // likewise
	Flags string `json:"flags,omitempty"` // of TCP, by their letters FSRPAUEW; "" is S
	TTL   uint8  `json:"ttl,omitempty"`   // 0 is 64
	All   bool   `json:"all,omitempty"`   // every rule that was asked, not only those that are near
}

// Explained is `holdfast explain --json`.
type Explained struct {
	Node       string   `json:"node"` // "": of a file, without a node
	File       string   `json:"file"`
	Hash       string   `json:"hash"`
	Generation uint64   `json:"generation,omitempty"`
	Unknown    []string `json:"unknown,omitempty"` // what a file alone does not say
	Explanation
}

// Explanation is what becomes of one packet, and why. With --pcap one is a line.
type Explanation struct {
	Number   int           `json:"number,omitempty"` // in the trace, from 1
	At       *time.Time    `json:"at,omitempty"`     // in the trace
	In       string        `json:"in"`
	Packet   string        `json:"packet"`             // in words
	Verdict  string        `json:"verdict"`            // pass, drop, reject
	Reason   string        `json:"reason,omitempty"`   // of drop and reject: as in `holdfast drops`, counted there as received by In
	Rule     string        `json:"rule,omitempty"`     // that decided, or that the connection has
	Position string        `json:"position,omitempty"` // of it: file:line:column
	Steps    []ExplainStep `json:"steps"`              // in the order in which the packet meets them
}

// ExplainStep is one stage of the path.
type ExplainStep struct {
	Step     string        `json:"step"` // decode, connection, dnat, route, source, rules, limit, snat, verdict
	Says     string        `json:"says"`
	Position string        `json:"position,omitempty"` // of what the policy says of it
	Before   string        `json:"before,omitempty"`   // of a translation: the tuple
	After    string        `json:"after,omitempty"`
	Rules    []ExplainRule `json:"rules,omitempty"`
	LeftOut  int           `json:"left_out,omitempty"` // rules that were asked, differ early and are not listed
}

// ExplainRule is one rule that was asked.
type ExplainRule struct {
	ID       string `json:"id"`
	Action   string `json:"action"`
	Position string `json:"position"`
	Differs  string `json:"differs,omitempty"` // the first condition that is not met; "": it matches
	Says     string `json:"says"`
}
