package rules

import (
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// Facts are what rules can ask of a first packet besides its tuple and its ports. Where
// there is no packet, because a connection is judged again under other rules, they are nil:
// then conditions on them are judged in the connection's favour, so they hold for rules that
// pass and for match rules, and not for those that block or reject.
type Facts struct {
	TTL      uint8 // or hop limit, as received
	DSCP     uint8 // the upper six bits of the traffic class (RFC 2474)
	TCPFlags packet.TCPFlags
	Options  bool // the IP header has options, or extension headers behind it
}

// The lengths of IP headers without options.
const (
	plainIPv4Len = 20
	plainIPv6Len = 40
)

// FactsOf returns the facts of a packet that packet.Decode has found good.
func FactsOf(frame []byte, p *packet.Parsed) Facts {
	f := Facts{TTL: p.TTL, DSCP: packet.Class(frame, p) >> 2, TCPFlags: p.TCPFlags}
	if header := p.L4 - p.L3; p.Version == 4 {
		f.Options = header > plainIPv4Len
	} else {
		f.Options = header > plainIPv6Len
	}
	return f
}

// conditions are what a rule asks besides tuple and ports. Most rules have none, so they lie
// apart from them.
type conditions struct {
	has       condition
	refuses   bool // the rule blocks or rejects: see Facts
	flagsSet  uint8
	flagsMask uint8
	options   bool
	dscp      uint64    // a bit for each code point
	ttl       [4]uint64 // likewise
	within    uint32    // into Set.places, and one more; 0: it stands in no section
	tagged    [4]uint64 // likewise by the tag's number, of which 0 is no tag
	notTagged [4]uint64
}

// condition is a set of conditions that there are.
type condition uint8

const (
	onFlags condition = 1 << iota
	onTTL
	onDSCP
	onOptions
	onTagged
	onNotTagged

	onFacts = onFlags | onTTL | onDSCP | onOptions
	onTags  = onTagged | onNotTagged
)

// tagNumber numbers the tags: by the order in which rules that set them stand. 0 is no tag.
type tagNumber uint8

// numberTags gives every tag that a rule sets its number.
func (s *Set) numberTags(all []config.Rule) map[string]tagNumber {
	numbers := map[string]tagNumber{}
	for i := range all {
		if tag := all[i].Tag; tag.Written() && numbers[tag.V] == 0 {
			s.tags = append(s.tags, tag.V)
			numbers[tag.V] = tagNumber(len(s.tags))
		}
	}
	return numbers
}

// Tag returns the name of State.Tag, "" where there is none.
func (s *Set) Tag(number uint8) string {
	if number == 0 || int(number) > len(s.tags) {
		return ""
	}
	return s.tags[number-1]
}

// addConditions appends what a rule asks and returns its index and one more, 0 where it asks
// nothing.
func (s *Set) addConditions(r *config.Rule, tags map[string]tagNumber, within uint32) uint32 {
	c := conditions{within: within, refuses: r.Action.V == config.Block || r.Action.V == config.Reject}
	if r.TCPFlags.Written() {
		c.has |= onFlags
		c.flagsSet, c.flagsMask = r.TCPFlags.V.Set, r.TCPFlags.V.Mask
	}
	for _, span := range r.TTL {
		c.has |= onTTL
		for v := int(span.V.First); v <= int(span.V.Last); v++ {
			c.ttl[v>>6] |= 1 << (v & 63)
		}
	}
	for _, v := range r.DSCP {
		c.has |= onDSCP
		c.dscp |= 1 << v.V
	}
	if r.IPOptions.Written() {
		c.has |= onOptions
		c.options = r.IPOptions.V
	}
	for _, list := range []struct {
		names []config.Value[string]
		into  *[4]uint64
		on    condition
	}{{r.Tagged, &c.tagged, onTagged}, {r.NotTagged, &c.notTagged, onNotTagged}} {
		for _, name := range list.names {
			c.has |= list.on
			n := tags[name.V]
			list.into[n>>6] |= 1 << (n & 63)
		}
	}
	if c.has == 0 && within == 0 {
		return 0
	}
	s.asksTags = s.asksTags || c.has&onTags != 0
	s.conditions = append(s.conditions, c)
	return uint32(len(s.conditions))
}

// differs returns the first condition that a packet does not meet.
func (c *conditions) differs(q *query) Field {
	if tag := q.tag; c.has&onTagged != 0 && c.tagged[tag>>6]>>(tag&63)&1 == 0 {
		return FieldTagged
	} else if c.has&onNotTagged != 0 && c.notTagged[tag>>6]>>(tag&63)&1 != 0 {
		return FieldNotTagged
	}
	if c.has&onFacts == 0 {
		return FieldNone
	}
	if q.facts == nil {
		if c.refuses {
			return FieldGone
		}
		return FieldNone
	}
	f := q.facts
	switch {
	case c.has&onFlags != 0 && uint8(f.TCPFlags)&c.flagsMask != c.flagsSet:
		return FieldTCPFlags
	case c.has&onTTL != 0 && c.ttl[f.TTL>>6]>>(f.TTL&63)&1 == 0:
		return FieldTTL
	case c.has&onDSCP != 0 && c.dscp>>f.DSCP&1 == 0:
		return FieldDSCP
	case c.has&onOptions != 0 && c.options != f.Options:
		return FieldIPOptions
	}
	return FieldNone
}
