package journal

import (
	"testing"

	"holdfast/conntrack"
	"holdfast/sync/wire"
)

// FuzzApplier: whatever a peer that has the key says, nothing panics, every port is held
// by a connection that is there, and the connections' ends free all of them.
func FuzzApplier(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(tell(insert(tcp(1)), update(further(tcp(1), 1)), end(tcp(1))))
	f.Add(tell(insert(udp(1)), insert(udp(1)), update(udp(1)), end(udp(2))))
	f.Add(tell(update(tcp(1)), insert(further(tcp(1), 3)), insert(tcp(1))))
	rival := udp(2)
	rival.Original = udp(1).Original
	f.Add(tell(insert(udp(1)), insert(rival), end(rival)))
	f.Add(append(tell(insert(udp(3))), 16, 0, 0))
	f.Add(tell(insert(tcp(1)), insert(udp(2)), killOf(tcp(1).Incarnation), update(tcp(1)), insert(tcp(1))))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := newSide(t, 16)
		b.OnKill(func(k *wire.Kill) bool {
			b.table.Kill(func(*conntrack.Class) bool { return true }, k.Before)
			b.reap()
			return true
		})
		for range 2 { // a batch may come twice
			b.Apply(body, now)
		}
		var s conntrack.State
		for i := range b.table.High() {
			if !b.table.Export(i, now, &s) || b.pool.BindingOf(s.Original, s.Reply).Held() {
				continue
			}
			if x, _ := b.pool.Take(s.Original, s.Reply); x.Held() {
				t.Errorf("connection %+v stands without its port", s)
			}
		}
		b.Requests(now, func(q *wire.UpdateRequest) { b.Answer(q, now) })
		b.Forget()
		b.clear()
		if n := b.ports(); n != 0 || b.table.Len() != 0 || b.limits.Sources() != 0 {
			t.Errorf("%d connections, %d ports and %d sources are left", b.table.Len(), n, b.limits.Sources())
		}
	})
}
