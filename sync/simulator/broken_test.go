package simulator

import "testing"

// onceBroken are schedules that have shown a fault of the design, by what was wrong.
var onceBroken = map[uint64]string{
	2334: "an old word of a third node brought a connection back on a node that was started again and forwards; whoever knew its end refused it for ever",
	4136: "the same, on two nodes",
	6516: "the same, after a kill",
	2384: "a standby was ahead by a window alone, was told what it knew by every repair, and never said so",
	9130: "a peer that died again while a session with it was being proven took knocks for what came under the one before, and was away for 5 s",
	161:  "acknowledgements of a lane that had lost batches stood still although the table was proven to be equal",
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
