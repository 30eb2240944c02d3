// Package rules compiles the filter of a policy (rules/config) into a Set: an immutable
// classifier that says of the first packet of a connection what becomes of it.
//
//	config.Policy --Compile--> Set --Match(tuple, in, out, facts, tables)--> Verdict
//
// Rules are asked in their order and the first that matches decides; where none does, the
// packet is blocked. They see the original source and the final destination, so after
// destination NAT and routing and before source NAT. Replies and later packets never
// consult rules: they belong to a connection.
//
// Rules speak of the node itself too, of what is for its addresses and what it sends, where
// they name it (self.go); where none does, it answers echo and sends what it likes.
//
// Facts are what rules can ask of the packet itself: its TCP flags, its time to live, its
// DSCP and whether it has IP options. A match rule can set a tag that rules behind it ask
// for. Such conditions lie apart from the rules (condition.go), since most have none.
//
// A Set is safe for concurrent use by any number of workers. Match does not allocate. It
// counts nothing, since a count in the Set would be a cache line that all workers write:
// each worker has a slice of its own of Len()+1 counters, indexed by Verdict.Rule, and
// whoever lists the rules adds them up.
//
// # Tables
//
// The entries of a table ("<name>") change while the Set stays what it is, so a rule whose
// from or to names one asks the table, and the rest of its list remains spans. Tables come
// with each Match, since they outlive the Set (package rules/table). Within one Match a table
// is asked once at most for each end, so all rules see it alike. Match does not count with
// entries either: Count does, for the rule that has decided.
//
// # The classifier
//
// What a rule wants is laid out to be compared quickly: sets of logical ports and
// protocols are bit sets, addresses are disjoint sorted ranges of 16 bytes in which
// exclusions ("!") have been cut out when compiling. A few rules are asked one after the
// other. With more of them decision trees (classifier.go) choose which are asked at all;
// the rules that decide have theirs, and match rules, of which several may speak, have
// others. Where rules ask for tags, what all trees give is gone through in the order of the
// rules (tagged.go). The answer is always that of asking one after the other: tests hold the two
// against each other, on filters of every shape and on rules drawn from all that can be
// said. A rule that includes a table may hold any address as far as the trees know.
//
// Why trees: tuple space search looks into as many hash tables as there are combinations
// of prefix lengths, dozens in lists that people write, and bit vectors take memory with
// the square of the rules. Cutting needs a copy of a rule in every part that it reaches;
// sorting rules by how wide they are first keeps that to 1.1 to 2.4 entries a rule. Row N5
// of the benchmark has the figures.
package rules
