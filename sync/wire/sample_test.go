package wire

import (
	"math/rand/v2"
	"net/netip"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/rules/table"
)

func addr(text string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(text)) }

// masqueraded is a TCP connection of a client behind this firewall, translated to an
// external address and another port.
func masqueraded(client, server, external string) conntrack.State {
	s := conntrack.State{
		Index: 0x00012345, Incarnation: 0x0000_0000_0777_0001, Class: conntrack.Class{Rule: 0xcafe0042, Ingress: 0, Egress: 1},
		Flags: conntrack.SourceNAT,
		Original: packet.Tuple{
			Src: addr(client), Dst: addr(server), SrcPort: 40001, DstPort: 443, Proto: packet.TCP,
		},
	}
	s.Reply = s.Original.Reply()
	s.Reply.Dst, s.Reply.DstPort = addr(external), 61234
	return s
}

// begun is the connection after its SYN.
func begun() conntrack.State {
	s := masqueraded("10.0.0.5", "198.51.100.9", "203.0.113.1")
	s.Dir[0] = conntrack.DirState{
		Seen: conntrack.SeenSYN | conntrack.SeenScale | conntrack.SeenSACK, Scale: 7, MaxWin: 1 << 16,
		End: 1<<32 | 0xfffffff1,
	}
	s.Dir[1].MaxAck = 1<<32 | 0xfffffff0
	complete(&s.Dir)
	return s
}

// established is the connection in the middle of a download that has wrapped twice.
func established(s conntrack.State) conntrack.State {
	s.Flags |= conntrack.Replied | conntrack.Assured
	const seen = conntrack.SeenSYN | conntrack.SeenSYNAcked | conntrack.SeenScale | conntrack.SeenSACK
	s.Dir[0] = conntrack.DirState{Seen: seen, Scale: 7, MaxWin: 1 << 22, End: 0x1_0080_0000, MaxAck: 0x3_7fc0_0000}
	s.Dir[1] = conntrack.DirState{Seen: seen, Scale: 8, MaxWin: 1 << 17, End: 0x3_8080_0000, MaxAck: 0x1_0000_0000}
	complete(&s.Dir)
	return s
}

// closing is the connection when the server's FIN came, whose position is exact, while
// the client's edges are still on the grid.
func closing() conntrack.State {
	s := established(begun())
	s.Dir[1].Seen |= conntrack.SeenFIN
	s.Dir[1].End = 0x3_8012_3457
	complete(&s.Dir)
	return s
}

func six() conntrack.State {
	s := masqueraded("2001:db8::5", "2001:db8:1::9", "2001:db8:ffff::1")
	s.Reply.Src, s.Reply.SrcPort = addr("fd00::80"), 8443
	s.Flags |= conntrack.DestinationNAT
	s.Original.Zone, s.Reply.Zone = 9, 9
	s.Idle = 123456
	s.Sync, s.Gateway, s.Mode, s.Timeouts, s.PickUp = conntrack.SyncDefer, 3, conntrack.ModeSloppy, 15, true
	return established(s)
}

func udp() conntrack.State {
	s := masqueraded("10.0.0.5", "198.51.100.9", "203.0.113.1")
	s.Original.Proto, s.Reply.Proto = packet.UDP, packet.UDP
	return s
}

// sctp is an association after its COOKIE ACK.
func sctp() conntrack.State {
	s := masqueraded("10.0.0.5", "198.51.100.9", "203.0.113.1")
	s.Original.Proto, s.Reply.Proto = packet.SCTP, packet.SCTP
	s.Flags |= conntrack.Replied | conntrack.Assured
	s.Dir[0] = conntrack.DirState{Seen: conntrack.Seen(conntrack.SCTPSeenInit | conntrack.SCTPSeenCookieEcho), MaxAck: 0xb0b0b0b0}
	s.Dir[1] = conntrack.DirState{Seen: conntrack.Seen(conntrack.SCTPSeenInitAck | conntrack.SCTPSeenCookieAck), MaxAck: 0xa0a0a0a0}
	return s
}

func icmp() conntrack.State {
	s := masqueraded("10.0.0.5", "198.51.100.9", "203.0.113.1")
	s.Original.Proto, s.Original.DstPort = packet.ICMP, packet.ICMPEchoRequest<<8
	s.Reply = s.Original.Reply()
	s.Reply.Dst, s.Reply.SrcPort = addr("203.0.113.1"), 777
	return s
}

var states = map[string]conntrack.State{
	"tcp4-nat-begun": begun(), "tcp4-nat-established": established(begun()), "tcp4-nat-closing": closing(),
	"tcp4-plain": func() conntrack.State {
		s := begun()
		s.Reply, s.Flags = s.Original.Reply(), 0
		return s
	}(),
	"tcp4-proxied": func() conntrack.State {
		s := established(begun())
		s.Flags |= conntrack.Proxied | conntrack.Spliced
		s.Offset = 0xdeadbeef
		return s
	}(),
	"tcp6-nat-both": six(), "udp4-nat": udp(), "sctp4-nat": sctp(), "icmp4-nat": icmp(),
}

func lanesOf(last ...uint64) (l Lanes) {
	l.Set(last)
	return l
}

func hello() *Hello {
	h := &Hello{
		VersionMin: 1, VersionMax: 2, Capabilities: 5, Name: "fw-a", Node: 3, Boot: 0x1122334455667788,
		Policy: 0x99aabbccddeeff00, Priority: -7, Start: StartedEmpty, Sent: lanesOf(0, 12, 1<<40),
	}
	h.MTUs.Set([]uint16{1500, 1280, 3000})
	return h
}

func heartbeat() *Heartbeat {
	return &Heartbeat{
		Node: 3, Role: gate.Active, Condition: Ready | Yields, Priority: -100, Term: 77,
		Sent: lanesOf(5, 6, 7), Acked: lanesOf(4, 0),
	}
}

// message is what all messages but the connections' are.
type message interface {
	Append([]byte) []byte
	Decode(*Frame) error
}

// messages are samples of all those, and how to make an empty one of the kind.
var messages = map[string]struct {
	sample message
	empty  func() message
}{
	"hello":          {hello(), func() message { return new(Hello) }},
	"heartbeat":      {heartbeat(), func() message { return new(Heartbeat) }},
	"announce":       {&Announce{Claim{Term: 77, Group: 0, Node: 3}}, func() message { return new(Announce) }},
	"goodbye":        {&Goodbye{Claim{Term: 78, Group: 1, Node: 2}}, func() message { return new(Goodbye) }},
	"ack":            {&Ack{lanesOf(1, 2, 3)}, func() message { return new(Ack) }},
	"ack-request":    {&AckRequest{}, func() message { return new(AckRequest) }},
	"nack":           {&Nack{Lane: 2, First: 10, Last: 12}, func() message { return new(Nack) }},
	"lost":           {&Lost{Lane: 63, First: 100}, func() message { return new(Lost) }},
	"update-request": {&UpdateRequest{Index: 5, Incarnation: 0x07770001}, func() message { return new(UpdateRequest) }},
	"poison": {
		&Poison{Digest: [16]byte{1, 2, 3, 15: 16}, Length: 1514, Remaining: 600_000},
		func() message { return new(Poison) },
	},
	"ended": {&Ended{Index: 5, Incarnation: 0x07770001, UpTo: 0x0000_0000_0778_0002, Killed: true}, func() message { return new(Ended) }},
	"neighbor4": {
		&Neighbor{Port: 1, Address: addr("198.51.100.1"), MAC: packet.MAC{2, 0, 0, 0, 0, 9}, Validity: 30000},
		func() message { return new(Neighbor) },
	},
	"neighbor6": {
		&Neighbor{Port: 1, Address: addr("fe80::1"), MAC: packet.MAC{2, 0, 0, 0, 0, 9}, Validity: 30000},
		func() message { return new(Neighbor) },
	},
	"kill":      {&Kill{Before: 1<<16 | 3, Selector: []byte("gateway=isp1 port=wan")}, func() message { return new(Kill) }},
	"kill-told": {&Kill{Before: 2<<16 | 3, Kind: KillTold, Selector: []byte{}}, func() message { return new(Kill) }},
	"killed":    {&Killed{Before: 1<<16 | 3, Count: 1_000_000, Outcome: KillRefused}, func() message { return new(Killed) }},
	"standing": {
		&Standing{Kept: Generation{7, 0x1122334455667788}, Image: Image{5000, 0x99aabbccddeeff00}, Force: 9, Trial: Generation{8, 9}, Seats: 10},
		func() message { return new(Standing) },
	},
	"order":        {&Order{Step: StepPrepare, For: Generation{8, 9}, Image: Image{5000, 77}}, func() message { return new(Order) }},
	"order-commit": {&Order{Step: StepCommit, For: Generation{8, 9}, Window: 60_000}, func() message { return new(Order) }},
	"answer": {
		&Answer{Step: StepPrepare, For: Generation{8, 9}, Outcome: OutcomeRefused, Words: []byte("p.toml:1:2: what: mend")},
		func() message { return new(Answer) },
	},
	"fetch": {&Fetch{Sum: 77, From: 1152, Count: 32}, func() message { return new(Fetch) }},
	"chunk": {&Chunk{Sum: 77, From: 2304, Data: []byte("compressed")}, func() message { return new(Chunk) }},
	"digest": {
		&Digest{Round: 7, Bits: 6, First: 62, Positions: lanesOf(9, 8), Sums: []byte("eight...sixteen.")},
		func() message { return new(Digest) },
	},
	"proof": {&Proof{Round: 7, Shards: 64, Moving: 3, Divergent: 1}, func() message { return new(Proof) }},
	"transfer-request": {
		&TransferRequest{ID: 2, Bits: 6, Shards: []byte{0, 63, 0, 1}},
		func() message { return new(TransferRequest) },
	},
	"table-put": {
		&TableChange{table.Change{
			Kind: table.Put, Version: 7<<16 | 3, Table: "brutes", Prefix: netip.MustParsePrefix("192.0.2.7/32"), Left: 3_600_000 * msNS, Age: 12_345 * msNS,
			Cause: table.Cause{Kind: table.Overload, Rule: 0xcafe0042},
		}}, func() message { return new(TableChange) },
	},
	"table-put6": {
		&TableChange{table.Change{
			Kind: table.Put, Version: 8<<16 | 3, Table: "offices", Prefix: netip.MustParsePrefix("2001:db8:7::/48"), Sense: table.Exclude,
			Cause: table.Cause{Kind: table.Command},
		}}, func() message { return new(TableChange) },
	},
	"table-drop": {
		&TableChange{table.Change{Kind: table.Drop, Version: 9<<16 | 1, Table: "offices", Prefix: netip.MustParsePrefix("192.0.2.0/24")}},
		func() message { return new(TableChange) },
	},
	"table-clear": {&TableChange{table.Change{Kind: table.Clear, Version: 10<<16 | 1, Table: "offices"}}, func() message { return new(TableChange) }},
	"table-sums": {
		&TableSums{Round: 5, Parts: 1, Sums: []TableSum{
			{"brutes", table.Digest{Count: 2, Sum: 0x1122334455667788, Left: 7_000_000}}, {"offices", table.Digest{Floor: 10<<16 | 1}},
		}}, func() message { return new(TableSums) },
	},
	"table-request": {&TableRequest{Tables: []string{"brutes", "offices"}}, func() message { return new(TableRequest) }},
	"vote-request":  {&VoteRequest{Reading: 1 << 40, Hold: 150e6, Term: 7}, func() message { return new(VoteRequest) }},
	"vote":          {&Vote{Reading: 1 << 40, Granted: true}, func() message { return new(Vote) }},
	"path":          {&Path{Path: 1, Hears: 5}, func() message { return new(Path) }},
	"transfer-end":  {&TransferEnd{ID: 2, Cut: 0x7770001, Whole: true}, func() message { return new(TransferEnd) }},
}

// randomState makes a state such as a table exports.
func randomState(rng *rand.Rand) conntrack.State {
	s := masqueraded("10.0.0.5", "198.51.100.9", "203.0.113.1")
	s.Index, s.Incarnation, s.Rule = rng.Uint32(), conntrack.Incarnation(rng.Uint64()), rng.Uint32()
	s.Original.SrcPort, s.Reply.DstPort = uint16(rng.Uint32()), uint16(rng.Uint32())
	s.Flags = conntrack.Flags(rng.Uint32N(16))
	grid := 0
	if rng.IntN(2) == 0 {
		grid = 20 + rng.IntN(9)
	}
	for d := range s.Dir {
		s.Dir[d] = conntrack.DirState{
			Seen: conntrack.Seen(rng.Uint32N(128)) &^ conntrack.SeenSYNAcked, Scale: uint8(rng.UintN(15)),
			MaxWin: 1 << (16 + rng.IntN(15)), End: (1<<32 + rng.Uint64N(1<<44)) >> grid << grid,
		}
		if grid != 0 {
			s.Dir[d].Seen |= conntrack.SeenSYNAcked
		}
	}
	for d := range s.Dir {
		s.Dir[d].MaxAck = s.Dir[d^1].End - rng.Uint64N(4)<<grid
	}
	complete(&s.Dir)
	return s
}
