package table

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// Digest is what a table's added entries come to. Two tables whose digests are the same hold
// the same entries, each by the same change of the same node.
type Digest struct {
	Floor Version // all up to it were flushed
	Count uint32  // entries
	Sum   uint64  // of their hashes, modulo 2^64
	Left  int64   // of those that expire, all that is left, in ms
}

// sums keeps a Digest up to date, change by change. The table's lock guards it.
type sums struct {
	count   uint32
	finite  uint32 // entries that expire
	sum     uint64
	expires int64 // the sum of when they do, in ms
}

const msNS = int64(1e6)

func (s *sums) add(e *entry) {
	s.count++
	s.sum += e.hash()
	if at := e.expires.Load(); at != 0 {
		s.finite++
		s.expires += at / msNS
	}
}

func (s *sums) sub(e *entry) {
	s.count--
	s.sum -= e.hash()
	if at := e.expires.Load(); at != 0 {
		s.finite--
		s.expires -= at / msNS
	}
}

// hash is that of what means the same on every node: not of times.
//
//	 0                               16      17      18              26
//	+-------------------------------+-------+-------+---------------+
//	| address, IPv4 mapped          | bits  | sense | version       |
//	+-------------------------------+-------+-------+---------------+
func (e *entry) hash() uint64 {
	var b [26]byte
	a := e.prefix.Addr().As16()
	copy(b[:], a[:])
	b[16] = byte(e.prefix.Bits() + 128 - e.prefix.Addr().BitLen())
	b[17] = byte(e.sense)
	binary.BigEndian.PutUint64(b[18:], uint64(e.version.Load()))
	return xxhash.Sum64(b[:])
}

// Slack is how much more or less an entry may have left on two nodes that count as equal, in
// ms: twice the time between two sweeps, and what a change takes to arrive.
const Slack = 1000

// Digest returns what was added to the table comes to at now (ns). A const table has none.
func (t *Table) Digest(now int64) (d Digest, ok bool) {
	if t.added == nil {
		return Digest{}, false
	}
	a := t.added
	a.mu.Lock()
	defer a.mu.Unlock()
	return Digest{
		Floor: a.floor, Count: a.sums.count, Sum: a.sums.sum,
		Left: max(0, a.sums.expires-int64(a.sums.finite)*(now/msNS)),
	}, true
}

// Same reports whether two digests are of tables that hold the same, for as long.
func (d *Digest) Same(o *Digest) bool {
	apart := max(d.Left, o.Left) - min(d.Left, o.Left)
	return d.Floor == o.Floor && d.Count == o.Count && d.Sum == o.Sum && apart <= Slack*int64(d.Count)
}
