// Package selector is the one language in which connections are chosen: by `conns`,
// `conns count`, `kill` and, between nodes, by the kill message.
//
//	rule=web-out state=established min-idle=5m
//
// A selector is key=value words, all of which must hold; a key may stand twice. The word
// `all` stands alone and chooses every connection. No words at all are an error, so that
// a script with an empty variable kills nothing.
//
//	label=L      a label of the connection's rule, placeholders filled in
//	rule=ID      the rule that admitted it; "default" where its rule is gone
//	gateway=G    the gateway it leaves by
//	port=P       the logical port it came in by, or leaves by
//	proto=P      tcp, udp, icmp, icmpv6, ..., or a number
//	src= dst=    the address or network its first packet came from, and went to
//	addr=        any of its four addresses
//	sport= dport=  likewise, a number or a range
//	nat=         snat, dnat, none, or an address or network it is translated to
//	state=       a TCP state, replied, unreplied or assured; in either case of letters
//	node=        the node that began it, by name or number
//	min-age= max-age= min-idle= max-idle=  a duration such as 90s
//	id=          the 16 digits that listings show
//
// Addresses and ports of src, dst, sport and dport are the original ones, before any
// translation. For ICMP, which has no ports, sport and dport match nothing.
//
// A Selector is immutable and safe for concurrent use. It knows names, connections know
// numbers; Names stands between, so the same selector means the same on every node.
package selector
