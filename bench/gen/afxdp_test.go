package gen

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// What gopacket builds and what the programs write is the same but for the time.
func TestAFXDPFramesEqualLiveFrames(t *testing.T) {
	w := newWire(t)
	receivable(t, w.sink, "s0")
	f := w.flows(5, IMIX)
	const count = 600
	frames := map[string][][]byte{}
	for _, source := range []string{"live", "afxdp"} {
		c := capture(t, w.sink, "s0")
		in(t, w.gen, func() error {
			if source == "afxdp" {
				made, err := SendAFXDP(t.Context(), f, patience, count)
				if err == nil && made != count {
					err = fmt.Errorf("%d frames taken", made)
				}
				return err
			}
			g, err := NewLiveFrames(f)
			if err != nil {
				return err
			}
			defer g.Close()
			return inSteps(g.Send, count, c)
		})
		eventually(t, "all frames", func() bool { return c.Count() >= count })
		for i, frame := range c.Frames() {
			d := decode(t, frame.Data)
			if want := (Mark{Flow: uint32(i) % 5, Number: uint32(i) / 5, Time: d.mark.Time}); d.mark != want || !d.marked {
				t.Fatalf("%s: frame %d has mark %+v, want %+v", source, i, d.mark, want)
			}
			clear(frame.Data[40:42]) // the checksum, which covers the time
			clear(frame.Data[52:60]) // the time
			frames[source] = append(frames[source], frame.Data)
		}
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for i, frame := range frames["live"] {
		if string(frame) != string(frames["afxdp"][i]) {
			t.Fatalf("frame %d:\n%x\n%x", i, frame, frames["afxdp"][i])
		}
	}
}

func TestAFXDPEndsInTime(t *testing.T) {
	w := newWire(t)
	f := w.flows(5, 0)
	f.Rate = 100
	in(t, w.gen, func() error {
		begin := time.Now()
		made, err := SendAFXDP(t.Context(), f, 200*time.Millisecond, 1<<40)
		if made < 2 || made > 25 || time.Since(begin) > patience/2 {
			t.Errorf("%d frames in %v at 100/s", made, time.Since(begin))
		}
		return err
	})
}

func TestAFXDPEndsWithItsContext(t *testing.T) {
	w := newWire(t)
	f := w.flows(5, 0)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	in(t, w.gen, func() error {
		if made, err := SendAFXDP(ended, f, patience, 1<<40); made != 0 || err != nil {
			t.Errorf("after the end: %d frames, %v", made, err)
		}
		return nil
	})
}

// The library panics when the link goes down under it.
func TestAFXDPPanicBecomesAnError(t *testing.T) {
	w := newWire(t)
	f := w.flows(5, 0)
	f.Rate = 10_000
	timer := time.AfterFunc(50*time.Millisecond, func() {
		if err := w.gen.Down("g0"); err != nil {
			t.Error(err)
		}
	})
	defer timer.Stop()
	in(t, w.gen, func() error {
		made, err := SendAFXDP(t.Context(), f, patience, 1<<40)
		if err == nil || !strings.Contains(err.Error(), "panicked") {
			t.Errorf("%d frames, %v", made, err)
		}
		return nil
	})
}
