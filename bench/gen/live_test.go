package gen

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestLiveFramesMakesValidFramesOfEveryFlow(t *testing.T) {
	w := newWire(t)
	receivable(t, w.sink, "s0")
	for _, row := range []struct {
		name         string
		size         Size
		flows, count uint32
		lengths      map[int]int // frames of each length
	}{
		{"smallest", 0, 40_000, 6000, map[int]int{60: 6000}},
		{"fixed", 512, 7, 700, map[int]int{512: 700}},
		{"largest", 1514, 7, 700, map[int]int{1514: 700}},
		{"IMIX", IMIX, 5, 1200, map[int]int{60: 700, 590: 400, 1514: 100}},
		{"all new", 0, AllNew, 700, map[int]int{60: 700}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := capture(t, w.sink, "s0")
			defer c.Stop()
			f := w.flows(row.flows, row.size)
			begin, err := monotonic()
			if err != nil {
				t.Fatal(err)
			}
			in(t, w.gen, func() error {
				g, err := NewLiveFrames(f)
				if err != nil {
					return err
				}
				defer g.Close()
				return inSteps(g.Send, uint64(row.count), c)
			})
			lengths := map[int]int{}
			for i, frame := range c.Frames() {
				d := decode(t, frame.Data)
				lengths[d.length]++
				want := Mark{Flow: uint32(i) % row.flows, Number: uint32(i) / row.flows, Time: d.mark.Time}
				if !d.marked || d.mark != want || d.source != f.source(want.Flow) || d.udp == nil {
					t.Fatalf("frame %d is %+v, want %+v from %v", i, d, want, f.source(want.Flow))
				}
				if d.mark.Time < begin || d.mark.Time > begin+uint64(patience) {
					t.Fatalf("frame %d was made %d ns after the start", i, d.mark.Time-begin)
				}
				begin = d.mark.Time
			}
			if fmt.Sprint(lengths) != fmt.Sprint(row.lengths) {
				t.Errorf("lengths %v, want %v", lengths, row.lengths)
			}
		})
	}
}

func TestSYNFloodDrawsSources(t *testing.T) {
	w := newWire(t)
	receivable(t, w.sink, "s0")
	c := capture(t, w.sink, "s0")
	f := w.flows(256, 0)
	f.Src = netip.MustParseAddr("198.18.7.0")
	in(t, w.gen, func() error {
		if _, err := NewSYNFlood(w.flows(256, 0)); err == nil {
			t.Error("a first source that is not divisible was taken")
		}
		g, err := NewSYNFlood(f)
		if err != nil {
			return err
		}
		defer g.Close()
		return inSteps(g.Send, 2000, c)
	})
	addresses, sources := map[netip.Addr]bool{}, map[netip.AddrPort]bool{}
	inside := netip.MustParsePrefix("198.18.7.0/24")
	for _, frame := range c.Frames() {
		d := decode(t, frame.Data)
		if d.tcp == nil || !d.tcp.SYN || d.tcp.ACK || d.tcp.DstPort != 9 || len(d.tcp.Options) != 3 || !inside.Contains(d.source.Addr()) {
			t.Fatalf("not a SYN of the flood: %+v", d)
		}
		addresses[d.source.Addr()], sources[d.source] = true, true
	}
	if len(addresses) < 200 || len(sources) < 1900 {
		t.Errorf("%d addresses and %d sources in 2000 SYNs", len(addresses), len(sources))
	}
}

func TestRateIsKept(t *testing.T) {
	w := newWire(t)
	receivable(t, w.sink, "s0")
	f := w.flows(10, 0)
	f.Rate = 20_000
	in(t, w.gen, func() error {
		g, err := NewLiveFrames(f)
		if err != nil {
			return err
		}
		defer g.Close()
		begin := time.Now()
		made, err := g.Send(patience, 10_000)
		took := time.Since(begin)
		if made != 10_000 || took < 499*time.Millisecond {
			t.Errorf("%d frames in %v at 20000/s", made, took)
		}
		return err
	})
}

func TestSendEndsInTime(t *testing.T) {
	w := newWire(t)
	f := w.flows(10, 0)
	f.Rate = 1
	in(t, w.gen, func() error {
		g, err := NewLiveFrames(f)
		if err != nil {
			return err
		}
		defer g.Close()
		made, err := g.Send(100*time.Millisecond, 1<<40)
		if made == 0 || made > 10 {
			t.Errorf("%d frames at 1/s", made)
		}
		return err
	})
}

func TestFlowsThatCannotBeAreRefused(t *testing.T) {
	good := Flows{DstMAC: macS0, SrcMAC: macG0, Src: netip.MustParseAddr("10.1.0.1"), Dst: netip.MustParseAddr("10.2.0.1"), Count: 1}
	for name, spoil := range map[string]func(*Flows){
		"IPv6":       func(f *Flows) { f.Src = netip.IPv6Loopback() },
		"no flow":    func(f *Flows) { f.Count = 0 },
		"too many":   func(f *Flows) { f.Count = AllNew + 1 },
		"too small":  func(f *Flows) { f.Size = 59 },
		"too large":  func(f *Flows) { f.Size = 1515 },
		"no address": func(f *Flows) { f.DstMAC = nil },
	} {
		f := good
		if spoil(&f); f.check(smallestUDP) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := good.check(smallestUDP); err != nil {
		t.Error(err)
	}
}
