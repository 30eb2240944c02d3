// Package limit counts, for the rules, what each source has: how many connections now, and
// how many new ones in a time. A Table is asked before a connection begins and told of each
// that ends; the limits themselves are plain data (Plan) that package rules compiles.
//
//	first packet ---Ask----> within, or the reason why not      TCP: nothing is counted yet
//	             ---Admit--> the same, and counted              every other protocol
//	handshake complete ---Enter--> counted; beyond the limit the caller ends the connection
//	end of a counted connection ---Leave--> no longer counted
//
// TCP counts when its handshake is complete: whoever completes it has proved that it is
// where its source address says, so a forged SYN neither uses up a source's connections nor
// its rate, and takes no memory here (as pf's max-src-conn and max-src-conn-rate). Half-open
// connections are the business of the connection table, which evicts them first.
//
// A rule may have an Overload: a table of addresses takes in who went beyond its limit. Then
// SYNs are let through until the handshake shows who it is, as pf does: or else a source that
// has as many connections as it may would be taken in for a SYN that somebody forged.
//
// A source is an address under the limit's mask: by default one address of IPv4, and the 64
// bits of IPv6 that one subscriber has at least. The rate is a token bucket in integers, so
// it is exact: N in a period P lets N come at once, and in any time t at most N + t*N/P.
//
// # Memory
//
// A Table keeps an entry for each source that has a counted connection or has used up some
// of its rate. There is room for as many as the connection table has connections, at most
// SourcesMax; it is taken from the start and touched as it is used. When the room is used up,
// the source without connections that has been so for longest is forgotten, and with it the
// little that it had used of its rate. Where all have connections a first packet of another
// source is refused (NoRoom): it fails closed, for limited rules only. What cannot be
// refused, because a peer told of it, goes uncounted and is not missed when it ends.
//
// # Concurrency
//
// Every method may be called by any goroutine. Sources are spread by a keyed hash over
// shards, each under a lock that is held for a few memory accesses and inside of which
// nothing is called. Enter and Leave of one connection may arrive in either order: a count
// below zero is one that a late Enter makes good.
//
// A nil Table has no limits.
package limit
