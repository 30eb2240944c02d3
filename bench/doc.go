// Command bench is the benchmark suite: it measures Holdfast beside its peers on the same
// ports in the same run, and says how the figures were come by.
//
//	go run ./bench list
//	go run ./bench run [N1 ...] [--quick] [--json]
//	go run ./bench compare A.json B.json
//	go run ./bench report [--with FILE] [--tables]
//
// Machines are shared and noisy: a row quotes ratios measured side by side in one run
// (A B A B, medians with minimum and maximum), and absolutes only next to them.
//
// A row is a Scenario: a function that returns points. It warms up before it measures, says
// how long it takes, is given up when it takes five times as long, and where it cannot be
// measured it says why and hides no other. Package bench/report has the form of results,
// the page and the tables; a row that is a goal there and no scenario here has its reason
// there.
package main
