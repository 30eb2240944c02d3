package table

import (
	"fmt"
	"sync/atomic"
)

// Version orders the changes of all nodes to an entry: the later one holds, wherever and in
// whatever order they arrive. 0 is none.
//
//	 63 62                                        16 15             0
//	+--+--------------------------------------------+----------------+
//	| 0| counter: higher than all that the node has | number of the  |
//	|  | seen (Lamport)                             | node           |
//	+--+--------------------------------------------+----------------+
type Version uint64

const versionNodeBits = 16

// Valid reports whether a node may have made a version.
func (v Version) Valid() bool { return v != 0 && v>>63 == 0 }

// String returns "counter.node".
func (v Version) String() string {
	return fmt.Sprintf("%d.%d", uint64(v>>versionNodeBits), uint16(v))
}

// clock makes the versions of a node. The tables of all its generations share it.
type clock struct {
	node    uint16
	counter atomic.Uint64
}

func (c *clock) next() Version {
	return Version(c.counter.Add(1)<<versionNodeBits | uint64(c.node))
}

// observe makes all versions to come higher than one that was heard.
func (c *clock) observe(v Version) {
	heard := uint64(v >> versionNodeBits)
	for have := c.counter.Load(); have < heard; have = c.counter.Load() {
		if c.counter.CompareAndSwap(have, heard) {
			return
		}
	}
}

// atomicVersion is a version that one writer changes and others read.
type atomicVersion struct{ v atomic.Uint64 }

func (a *atomicVersion) Load() Version   { return Version(a.v.Load()) }
func (a *atomicVersion) Store(v Version) { a.v.Store(uint64(v)) }
