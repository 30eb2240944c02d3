package gen

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// SinkMode says what a sink does besides counting.
type SinkMode uint8

const (
	_            SinkMode = iota
	SinkCounts            // it says nothing
	SinkAnswers           // it is a TCP server: SYN gets SYN/ACK, every 16th segment of a connection an ACK
	sinkModesEnd          // no mode
)

// Sink takes in what the sources send: it reads the marks, counts and drops. What is not
// for its port goes up to the kernel. It owns the link's XDP hook, in native mode.
type Sink struct {
	objects  sinkObjects
	attached link.Link
	flows    uint32
}

// NewSink attaches a sink to a link of the caller's thread's namespace. It keeps records
// of the flows 0..flows-1 (32 bytes each) and takes what is for dstPort.
func NewSink(ifindex int, dstPort uint16, flows uint32, mode SinkMode) (*Sink, error) {
	if mode == 0 || mode >= sinkModesEnd || flows == 0 {
		return nil, fmt.Errorf("sink: a mode and at least one flow are needed, not mode %d and %d flows", mode, flows)
	}
	spec, err := loadSink()
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	spec.Maps[sinkMapRecords].MaxEntries = flows
	s := &Sink{flows: flows}
	if err := spec.LoadAndAssign(&s.objects, nil); err != nil {
		return nil, fmt.Errorf("sink: loading the programs (root is needed): %w", err)
	}
	c := sinkSinkConfig{Flows: flows, DstPort: dstPort}
	if err := s.objects.SinkSettings.Put(uint32(0), &c); err != nil {
		return nil, errors.Join(fmt.Errorf("sink: settings: %w", err), s.objects.Close())
	}
	program := s.objects.SinkCount
	if mode == SinkAnswers {
		program = s.objects.SinkAnswer
	}
	s.attached, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: ifindex, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sink: XDP hook of link %d: %w", ifindex, err), s.objects.Close())
	}
	return s, nil
}

// Totals is what a sink has counted on all flows.
type Totals struct {
	Frames uint64 // with a mark
	Bytes  uint64 // of these, without the FCS
	SYNs   uint64 // and below: segments without a mark
	Bare   uint64 // acknowledgements without payload: the last step of handshakes
	Resets uint64
	FINs   uint64
	Other  uint64 // not for the sink
}

// Totals returns the sums since the sink was made.
func (s *Sink) Totals() (t Totals, err error) {
	var cores []sinkTotals
	if err := s.objects.Sums.Lookup(uint32(0), &cores); err != nil {
		return t, fmt.Errorf("sink: totals: %w", err)
	}
	for _, c := range cores {
		t.Frames += c.Frames
		t.Bytes += c.Bytes
		t.SYNs += c.Syns
		t.Bare += c.Bare
		t.Resets += c.Resets
		t.FINs += c.Ends
		t.Other += c.Other
	}
	return t, nil
}

// FlowRecord is what the numbers of a flow's frames say. What was lost after the last
// frame that arrived is not in it: compare with what the source made.
type FlowRecord struct {
	Frames     uint32
	Missing    uint32 // numbers below the highest that have not arrived
	Duplicates uint32
	Reordered  uint32 // arrived after a higher number
	Stale      uint32 // more than 64 numbers late: reordered or duplicate, nobody knows
}

// Flow returns the record of one flow.
func (s *Sink) Flow(flow uint32) (FlowRecord, error) {
	var r sinkRecord
	if err := s.objects.Records.Lookup(flow, &r); err != nil {
		return FlowRecord{}, fmt.Errorf("sink: flow %d: %w", flow, err)
	}
	return FlowRecord{r.Frames, r.Missing, r.Duplicates, r.Reordered, r.Stale}, nil
}

// Loss sums up the records of all flows.
type Loss struct {
	Flows      uint64 // of which a frame arrived
	Broken     uint64 // of these, with a frame missing
	Worst      uint64 // missing of the flow that misses most
	Missing    uint64
	Duplicates uint64
	Reordered  uint64
	Stale      uint64
}

// Loss reads all records: some 100 ms for a million flows.
func (s *Sink) Loss() (l Loss, err error) {
	keys, records := make([]uint32, 4096), make([]sinkRecord, 4096)
	for cursor, end := (ebpf.MapBatchCursor{}), false; !end; {
		n, err := s.objects.Records.BatchLookup(&cursor, keys, records, nil)
		if end = errors.Is(err, ebpf.ErrKeyNotExist); err != nil && !end {
			return l, fmt.Errorf("sink: records: %w", err)
		}
		for _, r := range records[:n] {
			if r.Frames == 0 {
				continue
			}
			l.Flows++
			if r.Missing > 0 {
				l.Broken++
			}
			l.Worst = max(l.Worst, uint64(r.Missing))
			l.Missing += uint64(r.Missing)
			l.Duplicates += uint64(r.Duplicates)
			l.Reordered += uint64(r.Reordered)
			l.Stale += uint64(r.Stale)
		}
	}
	return l, nil
}

// Latency returns the histogram of the time from mark to sink, one way, of all frames
// since the sink was made or since ResetLatency.
func (s *Sink) Latency() (*Histogram, error) {
	h := &Histogram{}
	for i := range histogramBuckets {
		var cores []uint64
		if err := s.objects.Latency.Lookup(uint32(i), &cores); err != nil {
			return nil, fmt.Errorf("sink: latency: %w", err)
		}
		for _, n := range cores {
			h.addBucket(i, n)
		}
	}
	return h, nil
}

// ResetLatency empties the histogram, as after a warm-up. Frames that arrive meanwhile
// may be counted or not.
func (s *Sink) ResetLatency() error {
	cores, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("sink: latency: %w", err)
	}
	zero := make([]uint64, cores)
	for i := range histogramBuckets {
		if err := s.objects.Latency.Put(uint32(i), zero); err != nil {
			return fmt.Errorf("sink: latency: %w", err)
		}
	}
	return nil
}

// Close gives the link back and unloads the programs.
func (s *Sink) Close() error { return errors.Join(s.attached.Close(), s.objects.Close()) }
