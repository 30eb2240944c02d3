package wire

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/rules/table"
)

// Types returns the types of messages, by number.
func Types() []Type {
	var all []Type
	for t := range typeNames {
		all = append(all, t)
	}
	slices.Sort(all)
	return all
}

// Field is one thing that a message says, for people: Value is a string, a number, a bool
// or a list of numbers.
type Field struct {
	Name  string
	Value any
}

// Words returns what the message in f says, in the order in which it says it. A message of
// a type that is not known is its length; a Malformed is returned with no fields. It is
// for recordings: it allocates.
func Words(f *Frame) ([]Field, error) {
	switch f.Type {
	case TypeInsert, TypeUpdate, TypeDelete:
		return connectionWords(f)
	case TypeHello, TypeHeartbeat, TypeAnnounce, TypeGoodbye:
		return nodeWords(f)
	case TypePath:
		return pathWords(f)
	case TypeVoteRequest, TypeVote:
		return voteWords(f)
	case TypeAck, TypeAckRequest, TypeNack, TypeLost, TypeUpdateRequest, TypeEnded:
		return laneWords(f)
	case TypeNeighbor, TypeKill, TypeKilled, TypePoison:
		return deedWords(f)
	case TypeDigest, TypeProof, TypeTransferRequest, TypeTransferEnd:
		return proofWords(f)
	case TypeStanding, TypeOrder, TypeAnswer, TypeFetch, TypeChunk:
		return policyWords(f)
	case TypeTableChange, TypeTableSums, TypeTableRequest:
		return tableWords(f)
	}
	return []Field{{"bytes", len(f.Body)}}, nil
}

// decoder is what all messages but the connections' have.
type decoder interface{ Decode(*Frame) error }

// said decodes f into m and returns the fields that it says then.
func said(m decoder, f *Frame, fields func() []Field) ([]Field, error) {
	if err := m.Decode(f); err != nil {
		return nil, err
	}
	return fields(), nil
}

func connectionWords(f *Frame) ([]Field, error) {
	switch f.Type {
	case TypeInsert:
		var s conntrack.State
		if err := DecodeInsert(f, &s); err != nil {
			return nil, err
		}
		return insertWords(&s), nil
	case TypeUpdate:
		var u Update
		if err := DecodeUpdate(f, &u); err != nil {
			return nil, err
		}
		return u.words(), nil
	}
	var d Delete
	if err := DecodeDelete(f, &d); err != nil {
		return nil, err
	}
	return []Field{{"index", d.Index}, {"life", low(d.Incarnation)}, {"why", d.Why.String()}}, nil
}

// low is the low half of an incarnation, as people are shown it.
func low(incarnation uint32) string { return fmt.Sprintf("..%08x", incarnation) }

func insertWords(s *conntrack.State) []Field {
	all := []Field{{"index", s.Index}, {"life", s.Incarnation.String()}, {"original", s.Original.String()}}
	if s.Reply != s.Original.Reply() {
		all = append(all, Field{"reply", s.Reply.String()})
	}
	all = append(all, Field{"rule", fmt.Sprintf("%08x", s.Rule)}, Field{"in", uint8(s.Ingress)}, Field{"out", uint8(s.Egress)})
	for _, o := range []struct {
		said  bool
		field Field
	}{
		{s.Flags != 0, Field{"flags", s.Flags.String()}},
		{s.Original.Zone != 0, Field{"zone", s.Original.Zone}},
		{s.Idle != 0, Field{"idle_ms", s.Idle}},
		{s.Sync != conntrack.SyncAsync, Field{"sync", s.Sync.String()}},
		{s.Gateway != 0, Field{"gateway", s.Gateway}},
		{s.Mode != conntrack.ModeStrict, Field{"mode", s.Mode.String()}},
		{s.PickUp, Field{"pick_up", true}},
		{s.Timeouts != 0, Field{"timeouts", s.Timeouts}},
		{s.Flags&conntrack.Proxied != 0, Field{"offset", s.Offset}},
	} {
		if o.said {
			all = append(all, o.field)
		}
	}
	switch s.Original.Proto {
	case packet.TCP:
		all = append(all, directionWords(&s.Dir, func(d int) []Field {
			return []Field{{"end", fmt.Sprintf("%x", s.Dir[d].End)}, {"max_ack", fmt.Sprintf("%x", s.Dir[d].MaxAck)}}
		})...)
	case packet.SCTP:
		all = append(all, tagWords(&s.Dir)...)
	}
	return all
}

// directionWords says what Insert and Update share of TCP; ends adds how each says positions.
func directionWords(dir *[2]conntrack.DirState, ends func(d int) []Field) (all []Field) {
	for d, side := range []string{"original_", "reply_"} {
		if dir[d].MaxWin == 0 && dir[d].Seen == 0 {
			continue
		}
		fields := append([]Field{{"seen", seenWords(dir[d].Seen)}, {"window", dir[d].MaxWin}, {"scale", dir[d].Scale}}, ends(d)...)
		for _, f := range fields {
			all = append(all, Field{side + f.Name, f.Value})
		}
	}
	return all
}

// seenWords names the elements of a Seen.
func seenWords(s conntrack.Seen) string {
	var names []string
	for i, name := range []string{"syn", "syn-acked", "fin", "fin-acked", "rst", "scale", "sack"} {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "+")
}

func tagWords(dir *[2]conntrack.DirState) (all []Field) {
	for d, side := range []string{"original_", "reply_"} {
		all = append(all, Field{side + "seen", fmt.Sprintf("%02x", uint8(dir[d].Seen))}, Field{side + "tag", fmt.Sprintf("%08x", dir[d].MaxAck)})
	}
	return all
}

func (u *Update) words() []Field {
	all := []Field{{"index", u.Index}, {"life", low(u.Incarnation)}}
	if u.Flags != 0 {
		all = append(all, Field{"flags", u.Flags.String()})
	}
	switch u.form {
	case formTCP:
		all = append(all, directionWords(&u.dir, func(d int) []Field {
			return []Field{{"end_low", fmt.Sprintf("..%09x", u.dir[d].End)}, {"ack_behind", ackWords(u.ack[d])}}
		})...)
	case formSCTP:
		all = append(all, tagWords(&u.dir)...)
	}
	return all
}

// ackWords says how far a MaxAck is behind.
func ackWords(field uint32) string {
	if field&ackCoarse != 0 {
		return fmt.Sprintf("%d*8KiB", field&^ackCoarse)
	}
	return fmt.Sprint(field)
}

func nodeWords(f *Frame) ([]Field, error) {
	switch f.Type {
	case TypeHello:
		var m Hello
		return said(&m, f, func() []Field {
			return []Field{
				{"name", m.Name}, {"node", m.Node}, {"boot", hex64(m.Boot)}, {"versions", fmt.Sprintf("%d-%d", m.VersionMin, m.VersionMax)},
				{"capabilities", uint32(m.Capabilities)}, {"policy", hex64(m.Policy)}, {"priority", m.Priority},
				{"empty", m.Start == StartedEmpty}, {"sent", m.Sent.Slice()}, {"mtus", m.MTUs.Slice()},
			}
		})
	case TypeHeartbeat:
		var m Heartbeat
		return said(&m, f, func() []Field {
			return []Field{
				{"node", m.Node}, {"role", m.Role.String()}, {"term", m.Term}, {"ready", m.Condition&Ready != 0},
				{"wants", m.Condition&Wants != 0}, {"yields", m.Condition&Yields != 0}, {"group", m.Group}, {"priority", m.Priority},
				{"sent", m.Sent.Slice()}, {"acked", m.Acked.Slice()},
			}
		})
	}
	var m Claim
	if err := m.decode(f, f.Type); err != nil {
		return nil, err
	}
	return []Field{{"node", m.Node}, {"group", m.Group}, {"term", m.Term}}, nil
}

func hex64(v uint64) string { return fmt.Sprintf("%016x", v) }

func laneWords(f *Frame) ([]Field, error) {
	switch f.Type {
	case TypeAck:
		var m Ack
		return said(&m, f, func() []Field { return []Field{{"lanes", m.Lanes.Slice()}} })
	case TypeAckRequest:
		var m AckRequest
		return said(&m, f, func() []Field { return []Field{{"at_once", true}} })
	case TypeNack:
		var m Nack
		return said(&m, f, func() []Field { return []Field{{"lane", m.Lane}, {"first", m.First}, {"last", m.Last}} })
	case TypeLost:
		var m Lost
		return said(&m, f, func() []Field { return []Field{{"lane", m.Lane}, {"first", m.First}} })
	}
	if f.Type == TypeEnded {
		var m Ended
		return said(&m, f, func() []Field {
			return []Field{{"index", m.Index}, {"life", low(m.Incarnation)}, {"up_to", m.UpTo.String()}, {"killed", m.Killed}}
		})
	}
	var m UpdateRequest
	return said(&m, f, func() []Field { return []Field{{"index", m.Index}, {"life", low(m.Incarnation)}} })
}

func voteWords(f *Frame) ([]Field, error) {
	if f.Type == TypeVote {
		var m Vote
		return said(&m, f, func() []Field { return []Field{{"reading", m.Reading}, {"granted", m.Granted}} })
	}
	var m VoteRequest
	return said(&m, f, func() []Field { return []Field{{"reading", m.Reading}, {"hold", m.Hold}, {"term", m.Term}} })
}

func pathWords(f *Frame) ([]Field, error) {
	var m Path
	return said(&m, f, func() []Field {
		var hears []uint64
		for i := range uint64(PathsMax) {
			if m.Hears&(1<<i) != 0 {
				hears = append(hears, i)
			}
		}
		return []Field{{"path", m.Path}, {"hears", hears}}
	})
}

func deedWords(f *Frame) ([]Field, error) {
	switch f.Type {
	case TypeNeighbor:
		var m Neighbor
		return said(&m, f, func() []Field {
			return []Field{{"port", uint8(m.Port)}, {"address", m.Address.String()}, {"mac", m.MAC.String()}, {"validity_ms", m.Validity}}
		})
	case TypePoison:
		var m Poison
		return said(&m, f, func() []Field {
			return []Field{{"digest", fmt.Sprintf("%x", m.Digest)}, {"length", m.Length}, {"remaining_ms", m.Remaining}}
		})
	case TypeKill:
		var m Kill
		return said(&m, f, func() []Field {
			if m.Kind == KillTold {
				return []Field{{"before", m.Before.String()}, {"told", true}}
			}
			return []Field{{"before", m.Before.String()}, {"selector", string(m.Selector)}}
		})
	}
	var m Killed
	return said(&m, f, func() []Field {
		return []Field{{"before", m.Before.String()}, {"count", m.Count}, {"refused", m.Outcome == KillRefused}}
	})
}

func proofWords(f *Frame) ([]Field, error) {
	switch f.Type {
	case TypeDigest:
		var m Digest
		return said(&m, f, func() []Field {
			return []Field{
				{"round", m.Round}, {"of_shards", 1 << m.Bits}, {"first", m.First}, {"sums", m.Len()}, {"positions", m.Positions.Slice()},
			}
		})
	case TypeProof:
		var m Proof
		return said(&m, f, func() []Field {
			return []Field{{"round", m.Round}, {"shards", m.Shards}, {"moving", m.Moving}, {"divergent", m.Divergent}}
		})
	case TypeTransferRequest:
		var m TransferRequest
		return said(&m, f, func() []Field {
			var shards []uint64
			for i := 0; i < len(m.Shards); i += 2 {
				shards = append(shards, uint64(binary.BigEndian.Uint16(m.Shards[i:])))
			}
			if shards == nil {
				return []Field{{"id", m.ID}, {"all", true}}
			}
			return []Field{{"id", m.ID}, {"of_shards", 1 << m.Bits}, {"shards", shards}}
		})
	}
	var m TransferEnd
	return said(&m, f, func() []Field {
		return []Field{{"id", m.ID}, {"cut", m.Cut.String()}, {"whole", m.Whole}}
	})
}

// generationWords says number and hash.
func generationWords(g Generation) string { return fmt.Sprintf("%d/%016x", g.Number, g.Hash) }

// stepWords are the names of steps.
var stepWords = [steps]string{"prepare", "commit", "confirm", "revert"}

func policyWords(f *Frame) ([]Field, error) {
	switch f.Type {
	case TypeStanding:
		var m Standing
		return said(&m, f, func() []Field {
			return []Field{
				{"kept", generationWords(m.Kept)}, {"image", hex64(m.Image.Sum)}, {"image_bytes", m.Image.Size}, {"force", hex64(m.Force)},
				{"trial", generationWords(m.Trial)}, {"timeouts", hex64(m.Seats)},
			}
		})
	case TypeOrder:
		var m Order
		return said(&m, f, func() []Field {
			return []Field{
				{"step", stepWords[m.Step]}, {"generation", generationWords(m.For)}, {"image", hex64(m.Image.Sum)},
				{"image_bytes", m.Image.Size}, {"window_ms", m.Window},
			}
		})
	case TypeAnswer:
		var m Answer
		return said(&m, f, func() []Field {
			return []Field{
				{"step", stepWords[m.Step]}, {"generation", generationWords(m.For)}, {"refused", m.Outcome == OutcomeRefused}, {"words", string(m.Words)},
			}
		})
	case TypeFetch:
		var m Fetch
		return said(&m, f, func() []Field { return []Field{{"image", hex64(m.Sum)}, {"from", m.From}, {"chunks", m.Count}} })
	}
	var m Chunk
	return said(&m, f, func() []Field { return []Field{{"image", hex64(m.Sum)}, {"from", m.From}, {"bytes", len(m.Data)}} })
}

// changeWords are the names of kinds of changes to tables.
var changeWords = map[table.ChangeKind]string{table.Put: "put", table.Drop: "drop", table.Clear: "clear"}

func tableWords(f *Frame) ([]Field, error) {
	switch f.Type {
	case TypeTableChange:
		var m TableChange
		return said(&m, f, func() []Field {
			all := []Field{{"does", changeWords[m.Kind]}, {"table", m.Table}, {"version", m.Version.String()}}
			if m.Kind == table.Clear {
				return all
			}
			all = append(all, Field{"entry", table.Entry{Prefix: m.Prefix, Sense: m.Sense}.String()})
			if m.Kind == table.Put {
				all = append(all, Field{"left_ms", m.Left / msNS}, Field{"age_ms", m.Age / msNS}, Field{"cause", m.Cause.Kind.String()})
			}
			if m.Cause.Kind == table.Overload {
				all = append(all, Field{"rule", fmt.Sprintf("%08x", m.Cause.Rule)})
			}
			return all
		})
	case TypeTableSums:
		var m TableSums
		return said(&m, f, func() []Field {
			all := []Field{{"round", m.Round}, {"part", m.Part}, {"parts", m.Parts}}
			for i := range m.Sums {
				s := &m.Sums[i]
				all = append(all, Field{s.Table, fmt.Sprintf("%d/%016x", s.Count, s.Sum)})
			}
			return all
		})
	}
	var m TableRequest
	return said(&m, f, func() []Field { return []Field{{"tables", strings.Join(m.Tables, " ")}} })
}
