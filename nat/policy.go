package nat

import (
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/gaissmai/bart"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// Outcome says what became of a proposal. The zero value is illegal.
type Outcome uint8

const (
	_ Outcome = iota // illegal
	// Untranslated: no rule applies; the reply tuple mirrors the original, nothing is bound.
	Untranslated
	// Translated: the reply tuple goes to an external address; the binding is the
	// caller's, unless the protocol has no ports.
	Translated
	// Exhausted: there is no port, or no other one; nothing is bound, there is no reply tuple.
	Exhausted
)

// String names the outcome.
func (o Outcome) String() string {
	switch o {
	case Untranslated:
		return "untranslated"
	case Translated:
		return "translated"
	case Exhausted:
		return "exhausted"
	}
	return fmt.Sprintf("outcome-%d", uint8(o))
}

// Policy is a set of compiled rules over a pool. It is immutable and safe for
// concurrent use; the zero value and nil translate nothing.
type Policy struct {
	rules [drop.PortsMax][]*rule // by the port that a connection leaves by
}

type rule struct {
	from     bart.Lite
	external [2][]*external // by family: 0 is IPv6, 1 is IPv4
}

// Compile makes a policy of translations, the first that applies to a connection wins,
// and adds their external addresses to the pool. Errors name the translation by its
// position, counted from 1. Only masquerades are built.
func Compile(blueprint []Translation, site Site, pool *Pool) (*Policy, error) {
	policy := &Policy{}
	for i := range blueprint {
		t := &blueprint[i]
		if t.Kind != Masquerade {
			return nil, fmt.Errorf("nat rule %d: kind %v is not built yet", i+1, t.Kind)
		}
		for _, out := range t.Out {
			r, err := compileRule(t, out, &site, pool)
			if err != nil {
				return nil, fmt.Errorf("nat rule %d: %w", i+1, err)
			}
			policy.rules[out] = append(policy.rules[out], r)
		}
	}
	return policy, nil
}

func compileRule(t *Translation, out packet.PortID, site *Site, pool *Pool) (*rule, error) {
	r := &rule{}
	if out >= drop.PortsMax {
		return nil, fmt.Errorf("port %d is not one of the %d that a node can have", out, drop.PortsMax)
	}
	if len(t.From) == 0 {
		return nil, fmt.Errorf("it names no source: give the inside prefixes")
	}
	for _, a := range site.Addresses[out] {
		if !a.IsGlobalUnicast() {
			continue // no other network can answer it (I18)
		}
		addr := packet.AddrFrom(a)
		x, err := pool.external(addr)
		if err != nil {
			return nil, err
		}
		f := family(&addr)
		r.external[f] = append(r.external[f], x)
	}
	for _, from := range t.From {
		if !from.IsValid() || from.Addr().Is4In6() {
			return nil, fmt.Errorf("source %v is not a prefix of IPv4 or IPv6", from)
		}
		if addr := packet.AddrFrom(from.Addr()); len(r.external[family(&addr)]) == 0 {
			return nil, fmt.Errorf("source %v has no external address of its family: give the port one, or take the source out", from)
		}
		r.from.Insert(from)
	}
	return r, nil
}

func family(a *packet.Addr) int {
	if a.Is4() {
		return 1
	}
	return 0
}

// Propose returns the reply tuple of a new connection that leaves by egress, and holds
// the port it needs. attempt 0 shares or keeps a port where it can; each later attempt,
// made because the table refused the tuple of the one before, draws another port.
// Release the refused binding after the next attempt, so that it is not drawn again.
// No allocation once the address has been used with the protocol.
func (p *Policy) Propose(original packet.Tuple, egress packet.PortID, attempt int) (packet.Tuple, Binding, Outcome) {
	reply := original.Reply()
	r := p.match(&original, egress)
	if r == nil {
		return reply, Binding{}, Untranslated
	}
	x := r.externalFor(&original.Src)
	if x == nil {
		return reply, Binding{}, Untranslated
	}
	reply.Dst = x.addr
	k := kindOf(original.Proto)
	if k == noPorts {
		if attempt > 0 {
			return packet.Tuple{}, Binding{}, Exhausted // the address is all that can be changed
		}
		return reply, Binding{}, Translated
	}
	freshness := Shared
	if attempt > 0 {
		freshness = Fresh
	}
	port, ok := x.portMap(k).Acquire(Endpoint{original.Src, original.SrcPort}, freshness)
	if !ok {
		return packet.Tuple{}, Binding{}, Exhausted
	}
	if k == identifiers {
		reply.SrcPort = port
	} else {
		reply.DstPort = port
	}
	return reply, Binding{x.position, k, port}, Translated
}

// match returns the first rule that applies, or nil.
func (p *Policy) match(original *packet.Tuple, egress packet.PortID) *rule {
	if p == nil || egress >= drop.PortsMax || len(p.rules[egress]) == 0 {
		return nil
	}
	src := original.Src.Netip()
	for _, r := range p.rules[egress] {
		if r.from.Lookup(src) {
			return r
		}
	}
	return nil
}

// externalFor chooses by the inside address alone, so that a host keeps its external
// address for all connections (I7), and on every node the same one. nil where the
// source is an external address itself.
func (r *rule) externalFor(inside *packet.Addr) *external {
	all := r.external[family(inside)]
	for _, x := range all {
		if x.addr == *inside {
			return nil
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return all[xxhash.Sum64(inside[:])%uint64(len(all))]
}
