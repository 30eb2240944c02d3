package gen

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"holdfast/internal/lab"
)

// TestSinkReadsNumbers sends marks by hand, in this order.
func TestSinkReadsNumbers(t *testing.T) {
	for _, row := range []struct {
		name    string
		numbers []uint32
		want    FlowRecord
	}{
		{"in order", []uint32{0, 1, 2, 3}, FlowRecord{Frames: 4}},
		{"one lost", []uint32{0, 1, 3}, FlowRecord{Frames: 3, Missing: 1}},
		{"the first lost", []uint32{2, 3}, FlowRecord{Frames: 2, Missing: 2}},
		{"duplicate of the last", []uint32{0, 1, 1}, FlowRecord{Frames: 3, Duplicates: 1}},
		{"duplicate of an older", []uint32{0, 1, 2, 0}, FlowRecord{Frames: 4, Duplicates: 1}},
		{"swapped", []uint32{0, 2, 1, 3}, FlowRecord{Frames: 4, Reordered: 1}},
		{"late, then again", []uint32{0, 3, 1, 1, 4}, FlowRecord{Frames: 5, Missing: 1, Reordered: 1, Duplicates: 1}},
		{"63 lost, the first back", []uint32{0, 64, 1}, FlowRecord{Frames: 3, Missing: 62, Reordered: 1}},
		{"64 late", []uint32{0, 64, 0}, FlowRecord{Frames: 3, Missing: 63, Stale: 1}},
		{"a gap of 63", []uint32{0, 63, 0, 1}, FlowRecord{Frames: 4, Missing: 61, Reordered: 1, Duplicates: 1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWire(t)
			var sink *Sink
			in(t, w.sink, func() (err error) { sink, err = NewSink(w.s0, 9, 8, SinkCounts); return err })
			defer sink.Close()
			f := w.flows(8, 0)
			b := newBuilder(f)
			var side *Side
			in(t, w.gen, func() (err error) { side, err = NewSide(w.g0, macS0, macG0); return err })
			defer side.Close()
			for _, n := range append([]uint32{}, row.numbers...) {
				frame, err := b.frame(uint64(n)*8 + 5)
				if err == nil {
					err = side.send(frame[14:])
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "all frames", func() bool {
				totals, err := sink.Totals()
				return err == nil && totals.Frames == uint64(len(row.numbers))
			})
			if got, err := sink.Flow(5); err != nil || got != row.want {
				t.Errorf("%+v, %v, want %+v", got, err, row.want)
			}
			if other, err := sink.Flow(4); err != nil || other != (FlowRecord{}) {
				t.Errorf("another flow: %+v, %v", other, err)
			}
			if h, err := sink.Latency(); err != nil || h.Count() != uint64(len(row.numbers)) || h.Percentile(0) == 0 || h.Percentile(100) > patience {
				t.Errorf("latency %v, %v", h, err)
			}
		})
	}
}

// lossy attaches a program to a link that redirects every frame to another link but each
// thousandth, which it drops.
func lossy(t *testing.T, ns *lab.Namespace, from, to int) {
	t.Helper()
	counter, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer counter.Close()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, counter.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "drop"),
			asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
			asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
			asm.Mod.Imm(asm.R1, 1000),
			asm.JEq.Imm(asm.R1, 0, "drop"),
			asm.Mov.Imm(asm.R1, int32(to)),
			asm.Mov.Imm(asm.R2, 0),
			asm.FnRedirect.Call(),
			asm.Return(),
			asm.Mov.Imm(asm.R0, 1 /* XDP_DROP */).WithSymbol("drop"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	in(t, ns, func() error {
		attached, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: from, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { attached.Close() })
		}
		return err
	})
}

// TestSinkCatchesPlantedLoss: 1 frame in 1,000 dies on the way.
//
//	ns gen [g0]==veth==[m0] ns middle [m1]==veth==[s0] ns sink
func TestSinkCatchesPlantedLoss(t *testing.T) {
	const flows, count = 64, 50_000
	l := lab.ForTest(t)
	namespaces := map[string]*lab.Namespace{}
	for _, name := range []string{"gen", "middle", "sink"} {
		ns, err := l.Namespace(name)
		if err != nil {
			t.Fatal(err)
		}
		namespaces[name] = ns
	}
	source, middle, last := namespaces["gen"], namespaces["middle"], namespaces["sink"]
	for _, pair := range [][2]lab.End{
		{{Namespace: source, Name: "g0"}, {Namespace: middle, Name: "m0"}},
		{{Namespace: middle, Name: "m1"}, {Namespace: last, Name: "s0"}},
	} {
		if err := l.Veth(pair[0], pair[1]); err != nil {
			t.Fatal(err)
		}
	}
	lossy(t, middle, index(t, middle, "m0"), index(t, middle, "m1"))
	var sink *Sink
	in(t, last, func() (err error) { sink, err = NewSink(index(t, last, "s0"), 9, flows, SinkCounts); return err })
	defer sink.Close()
	in(t, source, func() error {
		g, err := NewLiveFrames(Flows{
			DstMAC: macS0, SrcMAC: macG0, Src: netip.MustParseAddr("10.1.0.1"), Dst: netip.MustParseAddr("203.0.113.9"),
			DstPort: 9, Count: flows, Ifindex: index(t, source, "g0"), Rate: 100_000,
		})
		if err != nil {
			return err
		}
		defer g.Close()
		made, err := g.Send(patience, count)
		if err == nil && made != count {
			err = fmt.Errorf("%d frames made", made)
		}
		return err
	})
	var totals Totals
	eventually(t, "all frames but 1 in 1,000", func() bool {
		var err error
		totals, err = sink.Totals()
		return err == nil && totals.Frames >= count*99/100 && settled(sink, totals.Frames)
	})
	loss, err := sink.Loss()
	if err != nil {
		t.Fatal(err)
	}
	// What a flow loses at its end is only seen by comparison with what was made.
	gone := count - totals.Frames
	if gone < count/1000 || loss.Missing > gone || loss.Missing+1 < gone || loss.Flows != flows || loss.Duplicates != 0 || loss.Reordered != 0 {
		t.Errorf("%d of %d frames arrived, the records say %+v", totals.Frames, count, loss)
	}
	if gone > count/1000 {
		t.Logf("%d frames more than planted were lost: this machine was busy", gone-count/1000)
	}
}

// settled says whether nothing arrives for a while.
func settled(s *Sink, frames uint64) bool {
	time.Sleep(5 * time.Millisecond)
	now, err := s.Totals()
	return err == nil && now.Frames == frames
}

func TestSinkModeMustBeNamed(t *testing.T) {
	if _, err := NewSink(1, 9, 1, 0); err == nil {
		t.Error("a sink without a mode was made")
	}
}
