//go:build marked

package dataplane

import "bytes"

const panicsAtMarked = true

// panicIfMarked is the defect that the test has planted.
func panicIfMarked(frame []byte) {
	if bytes.Contains(frame, []byte("holdfast: panic at this")) {
		panic("a packet is marked")
	}
}
