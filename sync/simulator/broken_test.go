package simulator

import "testing"

// onceBroken are schedules that have shown a fault of the design, by what was wrong.
var onceBroken = map[uint64]string{
	2334: "an old word of a third node brought a connection back on a node that was started again and forwards; whoever knew its end refused it for ever",
	4136: "the same, on two nodes",
	6516: "the same, after a kill",
	2384: "a standby was ahead by a window alone, was told what it knew by every repair, and never said so",
	9130: "a peer that died again while a session with it was being proven took knocks for what came under the one before, and was away for 5 s",
	2178: "the clock of a standby leapt by a third of dead_after, which counted as silence of the active node",
	2469: "acknowledgements stood still behind lost batches on the third of three nodes, told by no round",
	// Of the following the law was at fault, which took a claim for the last word where a node
	// woke and found the claim and its withdrawal in its sockets at one instant.
	5641:  "two took the role at once after both had stood still",
	6684:  "the same, where one had stood still twice",
	14605: "the same, on a narrow link",
	161:   "acknowledgements of a lane that had lost batches stood still although the table was proven to be equal",
}

// TestREL4_WhatOnceBrokeHolds runs them again.
func TestREL4_WhatOnceBrokeHolds(t *testing.T) {
	for seed, what := range onceBroken {
		r, err := Run(Plan(seed), nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Err != nil {
			t.Errorf("seed %d: %v\n\tonce: %s", seed, r.Err, what)
		}
	}
}
