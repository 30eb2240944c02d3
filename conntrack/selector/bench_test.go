package selector

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// BenchmarkN15_KillBySelector ends connections out of a million by selectors that need a
// look at each, with two goroutines as the daemon does. ms/kill is until the last packet
// of a killed connection could pass.
func BenchmarkN15_KillBySelector(b *testing.B) {
	const total = 1_000_000
	for _, text := range []string{"src=10.0.0.0/8", "src=10.1.2.3", "proto=udp max-idle=1h state=unreplied", "label=10.1.2.3>192.0.2.1", "gateway=isp1 proto=udp"} {
		b.Run(text, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				table, err := conntrack.New(conntrack.Config{Capacity: total})
				if err != nil {
					b.Fatal(err)
				}
				var r conntrack.Result
				for i := range total {
					p := packet.Parsed{Kind: packet.KindIP, Version: 4, Tuple: tuple(packet.UDP,
						fmt.Sprintf("10.%d.%d.%d:40000", i>>16, i>>8&0xff, i&0xff), "192.0.2.1:53")}
					pr := conntrack.Proposal{Original: p.Tuple, Reply: p.Tuple.Reply(), Class: conntrack.Class{Rule: 7, Gateway: uint8(1 + i%2), Egress: 1}}
					if got := table.Insert(&pr, &p, int64(time.Hour), &r); got != conntrack.Inserted {
						b.Fatal(got, r.Reason)
					}
				}
				s, err := ParseText(text)
				if err != nil {
					b.Fatal(err)
				}
				before := table.Latest()
				b.StartTimer()
				start := time.Now()
				var parts sync.WaitGroup
				for _, part := range [][2]uint32{{0, total / 2}, {total / 2, total}} {
					parts.Go(func() {
						choice := conntrack.Choice{
							Class: func(c *conntrack.Class) bool { return s.MatchClass(c, names) },
							Conn:  func(v *conntrack.View) bool { return s.Match(v, names) },
						}
						for from := part[0]; from < part[1]; {
							next, _ := table.KillEach(from, 1024, int64(time.Hour), before, &choice)
							if next == 0 {
								break
							}
							from = next
						}
					})
				}
				parts.Wait()
				kill := time.Since(start)
				reaped := make([]conntrack.Reaped, 64)
				n := 0
				for from, more := uint32(0), true; more; more = from != 0 {
					var k int
					from, k = table.Reap(from, 1024, int64(time.Hour), reaped, nil)
					n += k
				}
				b.ReportMetric(float64(kill.Microseconds())/1000, "ms/kill")
				b.ReportMetric(float64((time.Since(start)-kill).Microseconds())/1000, "ms/reap")
				b.ReportMetric(float64(n), "killed")
				b.StopTimer()
				if table.Len() != total-n || n == 0 {
					b.Fatal(n)
				}
				table.Close()
				b.StartTimer()
			}
		})
	}
}
