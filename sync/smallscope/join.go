package smallscope

import (
	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// joined are all states of one connection over a very small domain: two lives, two flags
// sets, and of one direction every set, edge and acknowledgement that is told apart by the
// join. The other direction is joined alike.
func joined() (all []conntrack.State) {
	seen := []conntrack.Seen{0, conntrack.SeenSYN, conntrack.SeenSYN | conntrack.SeenFIN}
	for life := range 2 {
		for flags := range 2 {
			for _, set := range seen {
				for end := range uint64(3) {
					for ack := range uint64(2) {
						s := conntrack.State{Incarnation: conntrack.Incarnation(1 + life), Original: packet.Tuple{Proto: packet.TCP}}
						if flags == 1 {
							s.Flags = conntrack.Replied
						}
						s.Dir[0] = conntrack.DirState{Seen: set, End: end, MaxAck: ack, MaxEnd: end + 1}
						all = append(all, s)
					}
				}
			}
		}
	}
	return all
}

func merged(a, b conntrack.State) conntrack.State {
	a.Merge(&b)
	return a
}

// Join checks State.Merge over every pair and every triple of states of a small domain: that
// it is commutative, associative and idempotent, and that nothing of it rolls back. It returns
// how many triples there were.
func Join() (triples int, err error) {
	all := joined()
	for _, a := range all {
		if merged(a, a) != a {
			return triples, broken("INV4", "not idempotent: %+v", a)
		}
		for _, b := range all {
			ab := merged(a, b)
			if ab != merged(b, a) {
				return triples, broken("INV4", "not commutative: %+v and %+v", a, b)
			}
			if d := ab.Dir[0]; ab.Incarnation == a.Incarnation &&
				(a.Dir[0].Seen&^d.Seen != 0 || d.MaxAck < a.Dir[0].MaxAck || merged(ab, a) != ab) {
				return triples, broken("INV3", "%+v with %+v rolls back to %+v", a, b, ab)
			}
			for _, c := range all {
				triples++
				if merged(ab, c) != merged(a, merged(b, c)) {
					return triples, broken("INV4", "not associative: %+v, %+v and %+v", a, b, c)
				}
			}
		}
	}
	return triples, nil
}
