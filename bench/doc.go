// Command bench is the benchmark suite: it measures Holdfast beside its peers on the same
// ports in the same run, and says how the figures were come by.
//
//	go run ./bench list
//	go run ./bench run [N1 ...] [--quick] [--json]
//	go run ./bench compare A.json B.json
//
// Machines are shared and noisy: a row quotes ratios measured side by side in one run
// (A B A B, medians with minimum and maximum), and absolutes only next to them.
package main
