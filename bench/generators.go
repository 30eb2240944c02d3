package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"holdfast/bench/gen"
	"holdfast/internal/lab"
)

// newGenerators measures what every generator and the sink do alone.
func newGenerators() *cobra.Command {
	var length time.Duration
	cmd := &cobra.Command{
		Use: "generators", Short: "Measure what generators and sink do alone, without a firewall", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			m := describe()
			fmt.Fprintf(out, "%s, %d cores, Linux %s, %s\n\n| generator | sink | made | arrived | |\n|---|---|---|---|---|\n", m.CPU, m.Cores, m.Kernel, m.Date)
			for _, g := range generators() {
				if err := measureAlone(cmd.Context(), out, g, length); err != nil {
					return fmt.Errorf("%s: %w", g.name, err)
				}
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&length, "length", time.Second, "how long each generator sends")
	return cmd
}

// lonely is a generator without a firewall, and what is printed of it.
type lonely struct {
	name string
	sink gen.SinkMode // 0: the link alone
	run  func(ctx context.Context, l *line, length time.Duration) (cells string, err error)
}

func generators() []lonely {
	return []lonely{
		{"live frames, UDP, 64 bytes, 64k flows", 0, frames(traffic{flows: 64 << 10})},
		{"live frames, UDP, 64 bytes, 1M flows", 0, frames(traffic{flows: 1 << 20})},
		{"live frames, UDP, IMIX, 64k flows", 0, frames(traffic{flows: 64 << 10, size: gen.IMIX})},
		{"live frames, UDP, 64 bytes, all new", 0, frames(traffic{flows: gen.AllNew})},
		{"live frames, UDP, 64 bytes, 64k flows", gen.SinkCounts, frames(traffic{flows: 64 << 10})},
		{"live frames, UDP, 64 bytes, 64k flows, 100k/s", gen.SinkCounts, frames(traffic{flows: 64 << 10, rate: 100_000})},
		{"live frames, SYN flood", 0, synFlood},
		{"TCP flows, 76 bytes, 64k connections", gen.SinkAnswers, frames(traffic{protocol: tcp, flows: 64 << 10})},
		{"TCP flows, IMIX, 64k connections", gen.SinkAnswers, frames(traffic{protocol: tcp, flows: 64 << 10, size: gen.IMIX})},
		{"asavie/xdp and gopacket, UDP, 64 bytes, 64k flows", 0, afxdpAlone},
		{"replay, both sides in turn", 0, replayAlone(1)},
		{"replay, 32 packets from a side, then from the other", 0, replayAlone(32)},
		{"TCP bulk, two connections", 0, bulkAlone},
		{"TCP request and answer, 64 bytes, two connections", 0, askAlone(0)},
		{"TCP connect, request, answer, close, two at once", 0, askAlone(1)},
	}
}

func measureAlone(ctx context.Context, out io.Writer, g lonely, length time.Duration) error {
	l, err := newAlone()
	if err != nil {
		return err
	}
	defer l.close()
	kind := "link"
	var sink *gen.Sink
	if g.sink != 0 {
		if sink, err = l.drain(64<<10, g.sink); err != nil {
			return err
		}
		defer sink.Close()
		kind = "XDP"
	}
	cells, err := g.run(ctx, l, length)
	if err != nil {
		return err
	}
	if sink != nil {
		latency, err := sink.Latency()
		if err != nil {
			return err
		}
		loss, err := sink.Loss()
		if err != nil {
			return err
		}
		cells += fmt.Sprintf("one way p50 %v, p99 %v; %d missing ", latency.Percentile(50), latency.Percentile(99), loss.Missing)
	}
	fmt.Fprintf(out, "| %s | %s | %s|\n", g.name, kind, cells)
	return nil
}

// frames sends by a generator of the kernel.
func frames(t traffic) func(context.Context, *line, time.Duration) (string, error) {
	return func(ctx context.Context, l *line, length time.Duration) (cells string, err error) {
		err = l.gen.Do(func() error {
			if err := pin(0, coreGenerator); err != nil {
				return err
			}
			begin := time.Now()
			s, err := l.open(ctx, t)
			if err != nil {
				return err
			}
			defer s.Close()
			note := ""
			if t.protocol == tcp {
				note = fmt.Sprintf("opened in %v; ", time.Since(begin).Round(time.Millisecond))
			}
			w, err := l.window(s, length)
			cells = fmt.Sprintf("%.0f/s | %.0f/s | %s", w.offered(), w.rate(), note)
			return err
		})
		return cells, err
	}
}

func synFlood(_ context.Context, l *line, length time.Duration) (cells string, err error) {
	g0, err := index(l.gen, "g0")
	if err != nil {
		return "", err
	}
	err = l.gen.Do(func() error {
		if err := pin(0, coreGenerator); err != nil {
			return err
		}
		s, err := gen.NewSYNFlood(gen.Flows{
			DstMAC: macF0, SrcMAC: macG0, Src: lan.Addr(), Dst: far, DstPort: dstPort, Count: 1 << 15, Ifindex: g0,
		})
		if err != nil {
			return err
		}
		defer s.Close()
		w, err := l.window(s, length)
		cells = fmt.Sprintf("%.0f/s | %.0f/s | ", w.offered(), w.rate())
		return err
	})
	return cells, err
}

func afxdpAlone(ctx context.Context, l *line, length time.Duration) (string, error) {
	before, err := l.received()
	if err != nil {
		return "", err
	}
	run, err := l.afxdp(ctx, traffic{flows: 64 << 10}, length)
	if err != nil {
		return "", err
	}
	after, err := l.received()
	return fmt.Sprintf("%.0f/s | %.0f/s | ", float64(run.Made)/run.Seconds, float64(after-before)/run.Seconds), err
}

// replayAlone replays a capture made here, so many packets from a side in a row.
func replayAlone(inRow int) func(context.Context, *line, time.Duration) (string, error) {
	return func(ctx context.Context, l *line, length time.Duration) (cells string, err error) {
		var client, server *gen.Side
		for _, s := range []struct {
			ns       *lab.Namespace
			link     string
			dst, src net.HardwareAddr
			side     **gen.Side
		}{{l.gen, "g0", macF0, macG0, &client}, {l.sink, "s0", macG0, macF0, &server}} {
			i, err := index(s.ns, s.link)
			if err != nil {
				return "", err
			}
			if err := s.ns.Do(func() error {
				*s.side, err = gen.NewSide(i, s.dst, s.src)
				return err
			}); err != nil {
				return "", err
			}
			defer (*s.side).Close()
		}
		done, err := gen.Replay{Client: lan, Limit: length}.Run(ctx, bytes.NewReader(conversation(200_000, inRow)), client, server)
		n, seconds := float64(done.Client+done.Server), done.Took.Seconds()
		return fmt.Sprintf("%.0f/s | %.0f/s | %d changes of side waited in vain ", n/seconds, float64(done.AtClient+done.AtServer)/seconds, done.Impatient), err
	}
}

// conversation is a capture file of empty raw IPv4 packets without transport.
func conversation(packets, inRow int) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint32(append(le.AppendUint32(b, 2|4<<16), make([]byte, 8)...), 1<<16)
	b = le.AppendUint32(b, 101)
	for n := range packets {
		from, to := firstSrc.As4(), far.As4()
		if n/inRow%2 == 1 {
			from, to = to, from
		}
		b = le.AppendUint32(le.AppendUint32(append(b, make([]byte, 8)...), 40), 40)
		b = append(b, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 253, 0, 0) // protocol 253: for experiments
		b = append(append(append(b, from[:]...), to[:]...), make([]byte, 20)...)
	}
	return b
}

// application makes the far address sink's own and returns a listener there and how to
// dial it.
func (l *line) application() (net.Listener, gen.Dial, error) {
	if err := l.sink.Own(netip.PrefixFrom(far, far.BitLen())); err != nil {
		return nil, nil, err
	}
	at := net.JoinHostPort(far.String(), "80")
	listener, err := l.sink.Listen("tcp", at)
	if err != nil {
		return nil, nil, err
	}
	return listener, func(ctx context.Context) (net.Conn, error) { return l.gen.Dial(ctx, "tcp", "", at) }, nil
}

func bulkAlone(ctx context.Context, l *line, length time.Duration) (string, error) {
	listener, dial, err := l.application()
	if err != nil {
		return "", err
	}
	t, err := gen.Bulk(ctx, listener, dial, gen.Load{Connections: 2, Length: length})
	return fmt.Sprintf("| %.2f Gbit/s | ", t.BitsPerSecond()/1e9), err
}

// askAlone asks, with a new connection after so many requests; 0: none.
func askAlone(each int) func(context.Context, *line, time.Duration) (string, error) {
	return func(ctx context.Context, l *line, length time.Duration) (string, error) {
		listener, dial, err := l.application()
		if err != nil {
			return "", err
		}
		a, err := gen.Ask(ctx, listener, dial, gen.Load{Connections: 2, Length: length, Each: each})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("| %.0f/s | p50 %v, p99 %v ", a.PerSecond(), a.Latency.Percentile(50), a.Latency.Percentile(99)), nil
	}
}
