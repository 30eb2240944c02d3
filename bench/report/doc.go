// Package report is what becomes of figures: the file that a run of the benchmark suite
// writes, the comparison of two of them, the page and the tables that are made of all
// committed ones, and the check that documents quote no figure from anywhere else.
//
// A result is one JSON object in bench/results, named DATE.json, the next ones of a day
// DATE.2.json, DATE.3.json. A result need not have every row: the latest figure of a row is
// in the newest result that has it, and its history is all of them in order.
//
// Documents have tables made of them between two comments, and `bench report --tables`
// writes them anew:
//
//	<!-- bench: N2 N3 -->
//	| row | ...
//	<!-- /bench -->
//
// What was measured by other means stands between two others, with the reason:
//
//	<!-- by hand: why there is no row for it, and how it was measured -->
//	...
//	<!-- /by hand -->
package report
