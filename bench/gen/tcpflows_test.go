package gen

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestTCPFlowsShakeHandsAndSend(t *testing.T) {
	for name, size := range map[string]Size{"smallest": 0, "fixed": 700, "IMIX": IMIX} {
		t.Run(name, func(t *testing.T) { shakeHandsAndSend(t, size) })
	}
}

func shakeHandsAndSend(t *testing.T, size Size) {
	const flows, segments = 500, 20_000
	w := newWire(t)
	var sink *Sink
	in(t, w.sink, func() (err error) { sink, err = NewSink(w.s0, 9, flows, SinkAnswers); return err })
	defer sink.Close()
	f := w.flows(flows, size)
	f.Rate = 100_000
	in(t, w.gen, func() error {
		g, err := NewTCPFlows(f)
		if err != nil {
			return err
		}
		defer g.Close()
		if made, err := g.Send(time.Millisecond, 10); err != nil || made != 0 {
			t.Errorf("%d segments before a connection was open, %v", made, err)
		}
		if opened, err := g.Open(context.Background(), patience); err != nil || opened != flows {
			return fmt.Errorf("%d opened: %w", opened, err)
		}
		made, err := g.Send(patience, segments)
		if err != nil || made != segments {
			return fmt.Errorf("%d segments made: %w", made, err)
		}
		eventually(t, "all segments at the sink", func() bool { s, err := sink.Totals(); return err == nil && s.Frames+100 >= segments })
		a, err := g.Answers()
		if a.Resets != 0 || a.Acks < segments/16-flows {
			t.Errorf("answers %+v", a)
		}
		return err
	})
	// A handshake's last step is a bare acknowledgement. If data had come without a mark,
	// it would count as one too.
	totals, err := sink.Totals()
	if err != nil || totals.SYNs < flows || totals.Bare < flows || totals.Bare > 2*flows {
		t.Errorf("totals %+v, %v", totals, err)
	}
}

// The numbers of a connection's segments are those of real TCP: a kernel's own listener
// takes the handshake and the data.
func TestTCPFlowsSatisfyAKernel(t *testing.T) {
	w := newWire(t)
	receivable(t, w.sink, "s0")
	const flows = 20
	// Sources are neighbours of s0's link, for the kernel's answers.
	if err := w.sink.Route(netip.MustParsePrefix("10.1.0.0/16"), netip.Addr{}, "s0"); err != nil {
		t.Fatal(err)
	}
	listener, err := w.sink.Listen("tcp", "203.0.113.9:9")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := w.sink.Neighbor("s0", netip.MustParseAddr("10.1.0.1"), macG0); err != nil {
		t.Fatal(err)
	}
	// What one connection carries, read by the kernel.
	numbers := make(chan uint32, 1<<12)
	go func() {
		defer close(numbers)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		for b := make([]byte, MarkBytes); ; {
			if n, err := conn.Read(b); err != nil || n != MarkBytes {
				return
			}
			m, ok := ParseMark(b)
			if !ok {
				return
			}
			if numbers <- m.Number; m.Number == 49 {
				return
			}
		}
	}()
	f := w.flows(flows, 0)
	f.Rate = 5000
	in(t, w.gen, func() error {
		g, err := NewTCPFlows(f)
		if err != nil {
			return err
		}
		defer g.Close()
		if _, err := g.Open(context.Background(), patience); err != nil {
			return err
		}
		if _, err := g.Send(patience, flows*50); err != nil {
			return err
		}
		for want := uint32(0); want < 50; want++ {
			if got, ok := <-numbers; !ok || got != want {
				return fmt.Errorf("the kernel read segment %d (%v), want %d", got, ok, want)
			}
		}
		return nil
	})
}
