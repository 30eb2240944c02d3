package gen

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

func (w *wire) applications(t *testing.T) (net.Listener, Dial) {
	t.Helper()
	if err := w.sink.Address("s0", netip.MustParsePrefix("10.1.0.9/16")); err != nil {
		t.Fatal(err)
	}
	listener, err := w.sink.Listen("tcp", "10.1.0.9:80")
	if err != nil {
		t.Fatal(err)
	}
	return listener, func(ctx context.Context) (net.Conn, error) { return w.gen.Dial(ctx, "tcp", "", "10.1.0.9:80") }
}

func TestBulkCountsWhatIsRead(t *testing.T) {
	w := newWire(t)
	listener, dial := w.applications(t)
	got, err := Bulk(t.Context(), listener, dial, Load{Connections: 2, Length: 200 * time.Millisecond})
	if err != nil || got.Bytes < 1<<20 || got.Took < 200*time.Millisecond || got.BitsPerSecond() < 1e6 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAskMeasuresRequests(t *testing.T) {
	for _, row := range []struct {
		name        string
		load        Load
		requests    uint64 // exactly, 0: any
		connections uint64
	}{
		{"as many as can be", Load{Connections: 2, Length: 200 * time.Millisecond}, 0, 2},
		{"counted", Load{Connections: 2, Length: patience, Requests: 100}, 200, 2},
		{"a connection each", Load{Connections: 2, Length: patience, Requests: 20, Each: 1, Size: 1000}, 40, 40},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWire(t)
			listener, dial := w.applications(t)
			got, err := Ask(t.Context(), listener, dial, row.load)
			if err != nil {
				t.Fatal(err)
			}
			if row.requests > 0 && got.Requests != row.requests || got.Requests < 20 || got.Connections != row.connections || got.Latency.Count() != got.Requests {
				t.Errorf("%d requests, %d connections, %v", got.Requests, got.Connections, &got.Latency)
			}
			if p := got.Latency.Percentile(50); p < time.Microsecond || p > patience || got.PerSecond() < 10 {
				t.Errorf("median %v, %.0f/s", p, got.PerSecond())
			}
		})
	}
}

// A path that breaks is an error in bounded time.
func TestAskEndsWhenThePathBreaks(t *testing.T) {
	w := newWire(t)
	listener, dial := w.applications(t)
	timer := time.AfterFunc(50*time.Millisecond, func() { _ = w.gen.Down("g0") })
	defer timer.Stop()
	begin := time.Now()
	if got, err := Ask(t.Context(), listener, dial, Load{Length: 200 * time.Millisecond}); err == nil || time.Since(begin) > patience {
		t.Errorf("%d requests in %v, %v", got.Requests, time.Since(begin), err)
	}
}
