// Package rules compiles the filter of a policy (rules/config) into a Set: an immutable
// classifier that says of the first packet of a connection what becomes of it.
//
//	config.Policy --Compile--> Set --Match(tuple, in, out)--> Verdict
//
// Rules are asked in their order and the first that matches decides; where none does, the
// packet is blocked. They see the original source and the final destination, so after
// destination NAT and routing and before source NAT. Replies and later packets never
// consult rules: they belong to a connection.
//
// A Set is safe for concurrent use by any number of workers. Match does not allocate. It
// counts nothing, since a count in the Set would be a cache line that all workers write:
// each worker has a slice of its own of Len()+1 counters, indexed by Verdict.Rule, and
// whoever lists the rules adds them up.
//
// This first form asks one rule after the other. What a rule wants is laid out for that:
// sets of logical ports and protocols are bit sets, addresses are disjoint sorted ranges
// of 16 bytes in which exclusions ("!") have been cut out when compiling.
package rules
