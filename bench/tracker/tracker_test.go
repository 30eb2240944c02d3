package tracker

import (
	"testing"
	"time"
)

var ladder = []struct {
	name  string
	conns int
}{{"1k", 1000}, {"1M", 1000 * 1000}, {"10M", 10 * 1000 * 1000}}

// TestLoad runs each measurement once, small.
func TestLoad(t *testing.T) {
	l, err := Fill(1000, 2*births)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if n, _, err := l.Worker().Packets(1000); n < 1000 || err != nil {
		t.Errorf("%d packets, %v", n, err)
	}
	b := l.Births()
	if n, _, err := b.Begin(2 * births); n < 2*births || err != nil {
		t.Errorf("%d connections, %v", n, err)
	}
	if n := l.Table.Len(); n < 1000+births || n > 1000+births+burst {
		t.Errorf("%d connections live", n)
	}
	if n, _, err := l.Both(2, 1000); n < 2000 || err != nil {
		t.Errorf("%d packets of two cores, %v", n, err)
	}
}

// BenchmarkPacket is N2, BenchmarkBirth N3: their ns/op is what the rows report.
func BenchmarkPacket(b *testing.B) { run(b, 0, func(l *Load) measure { return l.Worker().Packets }) }
func BenchmarkBirth(b *testing.B) {
	run(b, 2*births, func(l *Load) measure { return l.Births().Begin })
}

type measure = func(n int) (done int, took time.Duration, err error)

func run(b *testing.B, room int, of func(*Load) measure) {
	for _, rung := range ladder {
		b.Run(rung.name, func(b *testing.B) {
			if testing.Short() && rung.conns > 1000000 {
				b.Skip("short")
			}
			l, err := Fill(rung.conns, room)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			m := of(l)
			if _, _, err := m(max(sampled, room)); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				done, took, err := m(1 << 18)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(took.Nanoseconds())/float64(done), "ns/each")
				b.StartTimer()
			}
		})
	}
}
