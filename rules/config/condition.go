package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Conditions are what a rule can ask of a first packet besides where it comes from and
// goes to. The zero value asks nothing.
type Conditions struct {
	TCPFlags  Value[TCPFlags]    // with TCP alone
	TTL       []Value[ByteRange] // or hop limit, as received
	DSCP      []Value[uint8]     // of RFC 2474: the upper six bits of the traffic class
	IPOptions Value[bool]        // IPv4 options, or extension headers of IPv6
	Tagged    []Value[string]    // it has one of these tags
	NotTagged []Value[string]    // it has none of these
}

// TCPFlags asks of the flags in Mask that those in Set are there and the others not. The
// bits are those of the wire (RFC 9293 section 3.1).
type TCPFlags struct{ Set, Mask uint8 }

// flagLetters are pf's letters of the flags, from the lowest bit up.
const flagLetters = "FSRPAUEW"

// String returns the flags as one writes them, such as "S/SA".
func (f TCPFlags) String() string { return lettersOf(f.Set) + "/" + lettersOf(f.Mask) }

// MarshalText is String.
func (f TCPFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

func lettersOf(flags uint8) string {
	var b strings.Builder
	for i := range len(flagLetters) {
		if flags>>i&1 != 0 {
			b.WriteByte(flagLetters[i])
		}
	}
	return b.String()
}

// tcpFlags reads "S/SA".
func tcpFlags(n *node) (f TCPFlags, bad *fault) {
	const example = `"S/SA": of SYN and ACK, SYN alone`
	if bad = wants(n, unstable.String, "TCP flags", example); bad != nil {
		return f, bad
	}
	set, mask, cut := strings.Cut(n.text, "/")
	if !cut || mask == "" {
		return f, &fault{what: n.literal() + " does not say which flags to look at", mend: "write those that are set, / and those that count, such as " + example}
	}
	for _, side := range []struct {
		letters string
		into    *uint8
	}{{set, &f.Set}, {mask, &f.Mask}} {
		for _, c := range side.letters {
			i := strings.IndexRune(flagLetters, c)
			if i < 0 {
				return f, &fault{what: fmt.Sprintf("%s: %q is no TCP flag", n.literal(), string(c)), mend: "the flags are F(IN) S(YN) R(ST) P(SH) A(CK) U(RG) E(CE) and (C)W(R)"}
			}
			*side.into |= 1 << i
		}
	}
	if f.Set&^f.Mask != 0 {
		return f, &fault{what: fmt.Sprintf("%s wants %s set and does not look at it", n.literal(), lettersOf(f.Set&^f.Mask)), mend: "write it behind the / too"}
	}
	return f, nil
}

// ByteRange is the numbers First to Last.
type ByteRange struct{ First, Last uint8 }

// String returns the range as one writes it.
func (r ByteRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// MarshalText is String.
func (r ByteRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// ttlRange reads 64 or "1-4".
func ttlRange(n *node) (r ByteRange, bad *fault) {
	const how = `write 1 to 255, or a range such as "1-4"`
	if n.kind != unstable.Integer && n.kind != unstable.String {
		return r, &fault{what: n.literal() + " is not a time to live", mend: how}
	}
	low, high, isRange := strings.Cut(n.text, "-")
	if !isRange {
		high = low
	}
	first, errFirst := strconv.ParseUint(low, 10, 8)
	last, errLast := strconv.ParseUint(high, 10, 8)
	switch {
	case errFirst != nil || errLast != nil || first == 0:
		return r, &fault{what: n.literal() + " is not a time to live", mend: how}
	case last < first:
		return r, &fault{what: n.literal() + " runs backwards", mend: fmt.Sprintf("write \"%d-%d\"", last, first)}
	}
	return ByteRange{uint8(first), uint8(last)}, nil
}

// dscpNames are the code points that have names (RFC 2474, 2597, 3246, 5865, 8622).
var dscpNames = map[string]uint8{
	"be": 0, "cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56,
	"af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22, "af31": 26, "af32": 28, "af33": 30,
	"af41": 34, "af42": 36, "af43": 38, "ef": 46, "va": 44, "le": 1,
}

const dscpMax = 63

// dscp reads a code point by number or name.
func dscp(n *node) (uint8, *fault) {
	if n.kind == unstable.String {
		if v, ok := dscpNames[n.text]; ok {
			return v, nil
		}
		return 0, &fault{what: n.literal() + " is not a DSCP", mend: fmt.Sprintf("write a number from 0 to %d, or a name such as \"ef\", \"af31\", \"cs1\"", dscpMax)}
	}
	return integer[uint8]("a DSCP", 0, dscpMax)(n)
}

// readConditions reads what a rule asks of a packet itself.
func readConditions(t *table, c *Conditions) {
	one(t, "tcp_flags", tcpFlags, &c.TCPFlags)
	many(t, "ttl", ttlRange, &c.TTL)
	many(t, "dscp", dscp, &c.DSCP)
	one(t, "ip_options", boolean, &c.IPOptions)
	many(t, "tagged", tagName, &c.Tagged)
	many(t, "not_tagged", tagName, &c.NotTagged)
}

// checkConditions finds what is wrong with conditions whose values are right one by one.
func (r *Rule) checkConditions(d *decoder) {
	if r.TCPFlags.Written() && (len(r.Protos) != 1 || r.Protos[0].V != TCP) {
		d.refuse(r.TCPFlags.Pos, "rule "+r.ID.V+" has tcp_flags, and its proto is not tcp alone", `add proto = "tcp"`)
	}
	for _, not := range r.NotTagged {
		for _, is := range r.Tagged {
			if is.V == not.V {
				d.refuse(not.Pos, fmt.Sprintf("tag %q is wanted by tagged too", not.V), "remove one of the two")
			}
		}
	}
}

// tagsMax bounds the tags of a policy: a packet has one, and its number fits a byte.
const tagsMax = 255

// referTags: what is asked for as a tag is one that some rule sets.
func (p *Policy) referTags(d *decoder) {
	var set []string
	first := map[string]bool{}
	for i := range p.Rules {
		tag := p.Rules[i].Tag
		if !tag.Written() || first[tag.V] {
			continue
		}
		first[tag.V] = true
		if set = append(set, tag.V); len(set) == tagsMax+1 {
			d.refuse(tag.Pos, fmt.Sprintf("more than %d tags", tagsMax), "use one tag for what is treated alike")
		}
	}
	p.eachRule(func(r *Rule) {
		for _, tag := range slices.Concat(r.Tagged, r.NotTagged) {
			if !first[tag.V] {
				known(d, "tag", tag, set)
			}
		}
	})
}

// Log says which packets of a rule's connections are logged.
type Log uint8

// The words. The zero value is the default.
const (
	LogNone  Log = iota // log = false
	LogFirst            // log = true or "first": the packet that the rule decided on
	LogAll              // log = "all": every packet of the connection too
)

// String returns the word of the file.
func (l Log) String() string { return [...]string{"false", "true", "all"}[l] }

// MarshalText is String.
func (l Log) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// logged reads true, which is "first", false or "all".
func logged(n *node) (Log, *fault) {
	switch {
	case n.kind == unstable.Bool && n.text == "true", n.kind == unstable.String && n.text == "first":
		return LogFirst, nil
	case n.kind == unstable.Bool:
		return LogNone, nil
	case n.kind == unstable.String && n.text == "all":
		return LogAll, nil
	}
	return LogNone, &fault{what: n.literal() + " does not say what to log", mend: `write "first" (or true) for the first packet, "all" for every one, or false`}
}

// unbuilt are keys of a rule that people know from elsewhere and this version refuses.
var unbuilt = []string{"priority", "set_dscp", "queue", "min_ttl", "max_packet_rate"}

// refuseUnbuilt says so, in place of "unknown key".
func refuseUnbuilt(t *table) {
	for _, key := range unbuilt {
		if t.n.get(key) != nil {
			t.value(key)
			t.refuse(t.n.keyPos(key), fmt.Sprintf("%s of a rule is not built yet", key), "remove it")
		}
	}
}
