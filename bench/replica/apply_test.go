package replica

import (
	"testing"

	"holdfast/bench/tracker"
	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/sync/digest"
	"holdfast/sync/journal"
	"holdfast/sync/wire"
)

// ledger hears what is applied, as a node's reader does.
type ledger struct {
	*digest.Ledger
	hash digest.Hash
}

func (l *ledger) Touches(original *packet.Tuple) { l.Touch(&l.hash, original, 1) }
func (l *ledger) Named(uint32)                   {}

// BenchmarkApply is who applies a transfer of a million connections alone: a fresh table, without
// the batches' way.
func BenchmarkApply(b *testing.B) {
	const conns = 1000 * 1000
	load, err := tracker.Fill(conns, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer load.Close()
	var batches [][]byte
	var open []byte
	var s conntrack.State
	for i := range load.Table.High() {
		if !load.Table.Export(i, gate.Now(), &s) {
			continue
		}
		if open = wire.AppendInsert(open, &s); len(open)+wire.InsertMax > journal.BatchMax {
			batches, open = append(batches, open), nil
		}
	}
	batches = append(batches, open)
	for b.Loop() {
		b.StopTimer()
		table, err := conntrack.New(conntrack.Config{Capacity: conns, Node: 2})
		if err != nil {
			b.Fatal(err)
		}
		shared := journal.NewShared(journal.New(1, journal.NewOutlet(nil)))
		a := journal.NewApplier(table, nat.NewPool(), shared, func(*wire.Neighbor) {})
		a.Observe(&ledger{Ledger: digest.NewLedger(conns)})
		b.StartTimer()
		cpu := processTime()
		for _, body := range batches {
			a.Apply(body, gate.Now())
		}
		b.ReportMetric(float64(processTime()-cpu)/conns, "cpu-ns/conn")
		b.StopTimer()
		if a.Refused() != 0 || table.Len() != conns {
			b.Fatalf("%d refused, %d held", a.Refused(), table.Len())
		}
		if err := table.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/conns, "ns/conn")
}
