package drop

import "fmt"

// Reason says why a packet was dropped, or Pass. The numbers are not stable
// between versions; the names are, because `holdfast drops` and its JSON print them.
type Reason uint8

// The reasons, grouped by the stage of the path that names them.
const (
	Unset Reason = iota // no stage decided: a defect, dropped and counted
	Pass                // goes on to the next stage; never counted as a drop

	// Decode (BEHAVIOUR A, M).
	FrameTruncated    // shorter than an Ethernet header, or than its IP header says
	NotForThisMAC     // unicast to another station, flooded by the switch
	EtherTypeUnknown  // neither IPv4, IPv6 nor ARP (A9)
	VLANUnexpected    // an 802.1Q tag that no port of the device has (A9)
	VLANMissing       // no tag, on a device without an untagged port (A9)
	VLANStacked       // a service tag (802.1ad), or a second tag (A9)
	IPv4HeaderInvalid // version, IHL or total length (A1)
	IPv4BadChecksum   // header checksum (A1)
	IPv4SourceRoute   // LSRR or SSRR option (A8)
	IPv6HeaderInvalid // version or payload length (A1)
	IPv6Jumbogram     // payload length 0 with options (M6, RFC 2675)
	IPv6ChainInvalid  // extension header chain truncated, too long or out of order (M1-M3)
	IPv6RoutingType0  // RFC 5095 (A8)
	Fragment          // a piece of a datagram, where only whole ones are taken (K)
	TCPTruncated      // data offset < 5 or past the packet (A3)
	TCPFlagsInvalid   // a set that BEHAVIOUR A6 does not allow
	UDPTruncated      // length < 8 or past the payload (A3)
	UDPNoChecksum     // zero checksum over IPv6 (A5, RFC 8200 section 8.1)
	UDPLiteCoverage   // checksum coverage of 1 to 7, or past the packet (G3, RFC 3828 section 3.1)
	ICMPTruncated     // shorter than 8 bytes (A3)
	SCTPTruncated     // no room for the common header and a chunk (A3)
	SCTPChunkInvalid  // a chunk's length, or chunks that must not stand together (G8, RFC 9260)
	DCCPInvalid       // data offset, length or packet type (G10, RFC 4340)
	GREInvalid        // shorter than its flags say, or of an unknown version (G7)
	AddressInvalid    // source equals destination, or an address that cannot be a source (A8)
	LinkLocal         // link-local addresses are never forwarded (A10)
	Multicast         // multicast and broadcast are not forwarded (A10)

	// Connection tracking (BEHAVIOUR B-G).
	TCPNoConnection     // a segment without a connection that cannot open one (B2)
	TCPStateInvalid     // the state table says invalid (1.1)
	TCPBeyondWindow     // sequence past what the receiver allowed (1.2, I)
	TCPAckUnseen        // acknowledges data never sent (1.2, III)
	TCPResetInvalid     // reset outside what RFC 5961 allows (D1)
	ICMPNoRequest       // a reply that nobody asked for (G4)
	SCTPNoConnection    // chunks without an association that cannot open one (G8)
	SCTPTagInvalid      // not the verification tag that the association agreed on (G8)
	SCTPStateInvalid    // the state table says invalid (G8)
	ICMPErrorType       // a redirect, source quench or an unknown error: never passed on (H1, L5)
	ICMPBadChecksum     // an error with a wrong checksum (H6)
	ICMPErrorQuote      // an error that quotes too little, a later fragment or another error (H2, H6, H7)
	ICMPErrorUnmatched  // an error that quotes no known connection (H5)
	ICMPErrorMismatched // an error to another host than the one whose packet it quotes (H5)
	ICMPErrorSequence   // an error that quotes a segment nobody has sent lately (RFC 5927)
	ICMPTypeUntracked   // an ICMP type that creates no pseudo-connection
	TableFull           // the hard limit of connections (O2)
	TupleClash          // no free translation after the bounded search (I12)
	PickUpTranslated    // a connection in mid-stream that a rule would pick up and the policy translate (F4)
	AdmissionShed       // a first packet too many in an overloaded burst: what is established goes on (B15)
	SYNProxyWaiting     // a client's segment while its server has not answered the proxy yet: it comes again (B16)
	SYNProxyStale       // a server's answer to the proxy's SYN that belongs to an older connection; it is reset (B16)
	Killed              // its connection was killed a moment ago and is being taken away (Q1)

	// Fragments (BEHAVIOUR K). Each piece counts, also those that came before the reason did.
	FragmentInvalid  // empty, not a multiple of 8 bytes, past 65,535, or of too many (K5)
	FragmentOverlap  // overlaps another, or the pieces disagree on the end; later ones too (K3)
	FragmentTiny     // the first piece does not hold all headers (K4)
	FragmentChecksum // the transport checksum of the whole is wrong (K10)
	FragmentTimeout  // the others did not come in time (K2)
	FragmentPressure // its source, or all together, had too many waiting, and it was the oldest (K11)

	// Admit: the first packet.
	RuleBlock         // a block rule, or the default
	RuleReject        // a reject rule; an answer was sent
	NATExhausted      // every port of the external address is taken (I9)
	NATNoTarget       // a translation applies and has nothing to translate to (I15)
	NATUnclaimed      // to an external address of a port's network, and no translation takes it
	NATUntranslatable // the address has no image under NPTv6 (J4, J5)
	NoRoute           // no route to the destination (L2)
	SourceInvalid     // the source is reached through another port (anti-spoof)
	SourceLimit       // its source has as many connections as the rule's limit allows (O6)
	SourceRate        // its source begins connections faster than the rule's limit allows (O6)
	SourcesFull       // its source has no place among those that limits count (O6)

	// Deferred first packets (BEHAVIOUR P3).
	DeferEnded // its connection ended while its first packet waited for a peer
	DeferFull  // a later packet of a connection whose first one waits for a peer, and no room to wait with it

	// Forwarding (BEHAVIOUR L).
	TTLExceeded        // TTL or hop limit 1; an error was sent where allowed (L1)
	TTLExceededQuiet   // the same, but no error may be sent (rate, multicast, error)
	NeighborUnresolved // waiting for ARP or ND
	TooBig             // longer than the egress port's MTU
	SameTuple          // hairpin to itself

	// Packets for the node itself (BEHAVIOUR L8).
	ToSelf        // to one of the node's addresses, and not let in
	FromSelf      // made by the kernel, and not let out
	TapFull       // the kernel does not take frames fast enough
	TapUnanswered // kernel face not open

	// The gate.
	Mute        // this node does not hold the right to transmit
	LeaseLapsed // it held it, and the lease ran out before the kick

	// Transmission.
	TxRingFull   // the port takes no more frames
	NoFreeFrame  // the UMEM has no frame for a packet of our own
	PortDown     // the port lost its carrier
	WorkerPanic  // contained: the packet that made a worker panic
	Quarantined  // equal to one that made a worker panic, here or at a peer, not long ago
	reasonsCount // how many there are
)

var reasonNames = [reasonsCount]string{
	Unset: "unset", Pass: "pass",
	FrameTruncated: "frame-truncated", NotForThisMAC: "not-for-this-mac", EtherTypeUnknown: "ethertype-unknown",
	VLANUnexpected: "vlan-unexpected", VLANMissing: "vlan-missing", VLANStacked: "vlan-stacked", IPv4HeaderInvalid: "ipv4-header-invalid", IPv4BadChecksum: "ipv4-bad-checksum",
	IPv4SourceRoute: "ipv4-source-route", IPv6HeaderInvalid: "ipv6-header-invalid", IPv6Jumbogram: "ipv6-jumbogram", IPv6ChainInvalid: "ipv6-chain-invalid",
	IPv6RoutingType0: "ipv6-routing-type-0", Fragment: "fragment", TCPTruncated: "tcp-truncated",
	TCPFlagsInvalid: "tcp-flags-invalid", UDPTruncated: "udp-truncated", UDPNoChecksum: "udp-no-checksum",
	UDPLiteCoverage: "udplite-coverage", ICMPTruncated: "icmp-truncated", SCTPTruncated: "sctp-truncated",
	SCTPChunkInvalid: "sctp-chunk-invalid", DCCPInvalid: "dccp-invalid", GREInvalid: "gre-invalid",
	AddressInvalid: "address-invalid", LinkLocal: "link-local", Multicast: "multicast",
	TCPNoConnection: "tcp-no-connection", TCPStateInvalid: "tcp-state-invalid", TCPBeyondWindow: "tcp-beyond-window",
	TCPAckUnseen: "tcp-ack-unseen", TCPResetInvalid: "tcp-reset-invalid", ICMPNoRequest: "icmp-no-request",
	SCTPNoConnection: "sctp-no-connection", SCTPTagInvalid: "sctp-tag-invalid", SCTPStateInvalid: "sctp-state-invalid",
	ICMPErrorType: "icmp-error-type", ICMPBadChecksum: "icmp-bad-checksum", ICMPErrorQuote: "icmp-error-quote",
	ICMPErrorMismatched: "icmp-error-mismatched", ICMPErrorSequence: "icmp-error-sequence",
	ICMPErrorUnmatched: "icmp-error-unmatched", ICMPTypeUntracked: "icmp-type-untracked", TableFull: "table-full",
	TupleClash: "tuple-clash", PickUpTranslated: "pick-up-translated", AdmissionShed: "admission-shed", SYNProxyWaiting: "syn-proxy-waiting", SYNProxyStale: "syn-proxy-stale", Killed: "killed", RuleBlock: "rule-block", RuleReject: "rule-reject", NATExhausted: "nat-exhausted",
	NATNoTarget: "nat-no-target", NATUnclaimed: "nat-unclaimed", NATUntranslatable: "nat-untranslatable",
	FragmentInvalid: "fragment-invalid", FragmentOverlap: "fragment-overlap", FragmentTiny: "fragment-tiny",
	FragmentChecksum: "fragment-checksum", FragmentTimeout: "fragment-timeout", FragmentPressure: "fragment-pressure",
	NoRoute: "no-route", SourceInvalid: "source-invalid", TTLExceeded: "ttl-exceeded", TTLExceededQuiet: "ttl-exceeded-quiet",
	DeferEnded: "defer-ended", DeferFull: "defer-full",
	SourceLimit: "source-limit", SourceRate: "source-rate", SourcesFull: "sources-full",
	NeighborUnresolved: "neighbor-unresolved", TooBig: "too-big", SameTuple: "same-tuple",
	ToSelf: "to-self", FromSelf: "from-self", TapFull: "tap-full", TapUnanswered: "tap-unanswered",
	Mute: "mute", LeaseLapsed: "lease-lapsed", TxRingFull: "tx-ring-full", NoFreeFrame: "no-free-frame",
	PortDown: "port-down", WorkerPanic: "worker-panic", Quarantined: "quarantined",
}

// String returns the name that `holdfast drops` prints.
func (r Reason) String() string {
	if r < reasonsCount {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason-%d", uint8(r))
}

// Reasons returns every reason a packet can die of, in the order of the path.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonsCount-2)
	for r := Unset; r < reasonsCount; r++ {
		if r != Pass {
			all = append(all, r)
		}
	}
	return all
}
