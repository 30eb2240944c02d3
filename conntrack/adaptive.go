package conntrack

import "fmt"

// Adaptive shortens every timeout while the table fills, as pf's adaptive.start and
// adaptive.end: from start on linearly, to zero at end, where (end - n) / (end - start) is
// the factor for n connections.
//
//	factor
//	1000 |------------.
//	     |              `.
//	 333 |. . . . . . . . `|.          start 600, end 1200: a third is left
//	     |                 |  `.       when the table is full
//	   0 +------------+----+------`--> connections
//	                start  full   end
//
// An end beyond the capacity, as here, leaves a part of each timeout to a full table. Where
// end is reached the least factor holds, one per mille, never none. Under pressure translated
// connections fall below the floors of the RFCs as well: the other choice is to have no
// room for new ones. The zero value never shortens. Safe for concurrent use.
type Adaptive struct {
	Start, End uint32 // per mille of the capacity; End 0: off
}

// A factor is per mille.
const (
	factorWhole = 1000
	factorLeast = 1
)

// check says what cannot be.
func (a Adaptive) check() error {
	if a != (Adaptive{}) && a.Start >= a.End {
		return fmt.Errorf("conntrack: adaptive timeouts from %d to %d per mille: the end must lie above the start", a.Start, a.End)
	}
	return nil
}

// factor returns, per mille, what is left of each timeout where the table holds live
// connections of capacity. It is rounded up.
//
// Example: of 1000 connections, start 600 and end 1200, with 900 there: 300 of 600 are
// left to the end, the factor is 500.
func (a Adaptive) factor(live, capacity int) uint32 {
	start, end := int64(capacity)*int64(a.Start), int64(capacity)*int64(a.End) // in thousandths of connections
	n := int64(live) * 1000
	if a.End == 0 || n <= start {
		return factorWhole
	}
	span := end - start
	if n >= end || span <= 0 {
		return factorLeast
	}
	return uint32(max(factorLeast, ((end-n)*factorWhole+span-1)/span))
}

// scale applies a factor to a limit in ms; one that is not zero never becomes zero.
func scale(limit, factor uint32) uint32 {
	return uint32(max(min(uint64(limit), 1), uint64(limit)*uint64(factor)/factorWhole))
}
