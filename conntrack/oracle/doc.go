// Package oracle holds package conntrack against three judges that share no code with it.
//
//	                     +--> the kernel's nf_conntrack, in a namespace    (TestREL22_Oracle)
//	generated packets ---+--> a table written from the RFCs by hand        (TestREL21_Transitions)
//	                     +--> a sentence: nothing from outside gets in     (TestREL36_, TestREL35_)
//	                     |
//	                     +--> packet.Decode, conntrack.Table
//
// # The kernel
//
// A router namespace has a TUN device on either side. What is written into one is
// forwarded, tracked and filtered before write returns, so there is nothing to wait for:
// either the packet can be read from the other device then, or it was dropped. After each
// packet the kernel's entry is read by ctnetlink and its timeout is set to a mark, so the
// next look tells whether a packet refreshed it, and to what.
//
// Both sides have the same rules: invalid packets drop, the lan side may begin
// connections, and the wan side may where the client's address says so.
//
// # Differences
//
// Verdict, state, refresh, timeout and flags are compared after every packet. The two may
// differ only as a row of the table in allowed_test.go says, which names the decision of
// package conntrack. Where a row leaves the states different, the kernel is told ours, so
// that the rest of the sequence still compares something. Anything else fails with the
// whole sequence, its seed and its number.
//
//	go test ./conntrack/oracle -run Oracle -seed 7       another seed
//	HOLDFAST_SOAK=1 go test ./conntrack/oracle           1,000,000 packets
//
// # What it is not
//
// It is only tests. Translation, fragments and ICMP errors about known connections are
// compared elsewhere, through the whole path (dataplane, TestREL22_TranslationOracle).
package oracle
