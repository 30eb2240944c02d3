// Package gate holds the right to transmit, as plain data that the cluster writes
// and the workers read: who this node is (Role), until when it may speak (Lease),
// and whether its workers still move (Progress).
//
// The right is a lease on CLOCK_BOOTTIME, the clock that goes on while the machine
// or the process sleeps. The cluster machine extends it from a clock reading taken
// before the write; a worker compares a fresh reading with it directly before every
// kick of a transmit ring. A process that was stopped and revived therefore finds its
// lease lapsed and sends nothing, save what one kick already past the compare hands
// to the kernel: one transmit ring of one port and worker, at most.
//
// A lapsed lease is never extended: it must be granted anew, which is a promotion.
//
//	Standby --Grant(T)--> holds until T --Extend(T')--> ... --lapse or Revoke--> Standby
package gate
