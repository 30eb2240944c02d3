package nat

import (
	"net/netip"

	"fmt"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// Outcome says what became of a connection at one stage. The zero value is illegal.
type Outcome uint8

const (
	_ Outcome = iota // illegal
	// Untranslated: nothing applies, or an exemption does.
	Untranslated
	// Translated: the end has become another one.
	Translated
	// Opened: translated, and let in by the filtering of its destination's mapping (I6):
	// the rules may still refuse it, their default does not.
	Opened
	// Exhausted: there is no port, or no other one. Nothing is bound.
	Exhausted
	// NoTarget: a translation applies and has no target, or none of the family.
	NoTarget
	// Untranslatable: the address has no image in the other prefix (J4, J5).
	Untranslatable
	outcomesEnd
)

// String names the outcome.
func (o Outcome) String() string {
	if o < outcomesEnd {
		return [...]string{"unset", "untranslated", "translated", "opened", "exhausted", "no-target", "untranslatable"}[o]
	}
	return fmt.Sprintf("outcome-%d", uint8(o))
}

// Policy is a set of compiled translations over a pool. It is immutable and safe for
// concurrent use; the zero value and nil translate nothing.
type Policy struct {
	pool        *Pool
	destination [drop.PortsMax][]*rule // by the port that a connection came in by
	source      [drop.PortsMax][]*rule // by the port that it leaves by
	openings    map[packet.Addr]*opening
	foreign     [drop.PortsMax]foreign         // by port
	own         map[packet.PortID][2]*external // the node's first address on a port, by family: for a hairpin without a better one

	terms  map[*external]*terms // for Enforce, as static
	static []netip.Prefix
}

// rule is a translation as one port has it.
type rule struct {
	when     condition
	entry    int // of the blueprint, from 1
	kind     Kind
	home     packet.PortID // Destination by a hairpin: the port that it looks as if it had left by; else NoPort
	targets  [2]*targets   // by family; nil: none
	ports    PortSpan      // Destination: the new port or ports; source: those to give; zero: as they are, by class
	from     PortSpan      // Destination: the span that ports stands for, one to one; zero: ports is one port
	pair     *prefixPair   // Static, NPTv6
	external [2]*external  // source: the only one of a family; nil: several, or none
	mapping  Mapping
	tied     bool   // source: an inside endpoint keeps its external address
	paired   bool   // source: an inside address does
	limit    uint32 // source: ports of an inside address; 0: none
}

// opening is an external address whose ports let connections in.
type opening struct {
	external  *external
	outside   portSet64 // where its filtering holds
	filtering Filtering
	hairpin   Hairpin
	home      packet.PortID // one of outside
}

// Turn is a new connection on its way through the two stages.
type Turn struct {
	Original packet.Tuple // as the packet came
	Tuple    packet.Tuple // what routes and rules see: the source as it came, the final destination
	Outcome  Outcome      // of the first stage
	ingress  packet.PortID
	home     packet.PortID // of a hairpin: whose source translations hold; NoPort: none
	purpose  purpose
}
