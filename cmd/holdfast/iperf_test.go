package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"holdfast/internal/lab"
)

// lossMax is how much of a modest stream may be lost, in percent.
const lossMax = 1

// iperfTries is how often a stream may be repeated: on a machine that others use too, a
// receiver may not get the time to empty its socket.
const iperfTries = 3

// iperf is a run of iperf3: datagrams of so many bytes, both ways at once.
type iperf struct {
	size, port     int
	to             netip.Addr
	client         *lab.Process
	out, complaint strings.Builder
}

// begin starts a server and, when that listens, its client.
func (r *iperf) begin(t *testing.T, p *path) {
	t.Helper()
	r.out.Reset()
	said := &log{}
	server, err := p.server.Start(context.Background(), lab.Program{
		Path: "iperf3", Args: []string{"-s", "-1", "--forceflush", "-B", r.to.String(), "-p", fmt.Sprint(r.port)}, Stdout: said, Stderr: said,
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "iperf3 listens", func() bool { return strings.Contains(said.String(), "Server listening") })
	r.client, err = p.client.Start(context.Background(), lab.Program{
		Path: "iperf3", Stdout: &r.out, Stderr: &r.complaint,
		Args: []string{"-c", r.to.String(), "-p", fmt.Sprint(r.port), "-u", "--bidir", "--json", "-t", "2", "-b", "10M", "-l", fmt.Sprint(r.size)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { <-server.Done() })
}

// loss waits for its end and returns the worse direction's loss in percent.
func (r *iperf) loss(t *testing.T) (worst float64) {
	t.Helper()
	var report struct {
		Error string
		End   struct {
			Streams []struct {
				UDP struct {
					Packets, Lost_packets int
					Sender                bool
				}
			}
		}
	}
	if err := r.client.Wait(); err != nil {
		t.Fatalf("iperf3: %v\n%s%s", err, r.complaint.String(), r.out.String())
	}
	if err := json.Unmarshal([]byte(r.out.String()), &report); err != nil || report.Error != "" || len(report.End.Streams) != 2 {
		t.Fatalf("iperf3: %v\n%s%s", err, r.complaint.String(), r.out.String())
	}
	for _, s := range report.End.Streams {
		if s.UDP.Packets == 0 {
			t.Fatalf("iperf3: a stream without packets\n%s", r.out.String())
		}
		t.Logf("%d bytes to %v, from the client: %v: %d of %d lost", r.size, r.to, s.UDP.Sender, s.UDP.Lost_packets, s.UDP.Packets)
		worst = max(worst, 100*float64(s.UDP.Lost_packets)/float64(s.UDP.Packets))
	}
	return worst
}

// TestK1_StreamsOfLargeDatagrams: iperf3's datagrams of 8 and 32 KiB, all in pieces, both
// ways and in both families at once, IPv4 through masquerade.
func TestK1_StreamsOfLargeDatagrams(t *testing.T) {
	if _, err := exec.LookPath("iperf3"); err != nil {
		t.Skipf("skipped, no iperf3 here: %v", err)
	}
	p := newPath(t, mtus{})
	var runs []*iperf
	for family := range families {
		for i, size := range []int{8 << 10, 32 << 10} {
			runs = append(runs, &iperf{size: size, port: 5201 + 2*family + i, to: pathServer[family]})
		}
	}
	for try := range iperfTries {
		for _, r := range runs {
			r.begin(t, p)
		}
		var again []*iperf
		for _, r := range runs {
			if loss := r.loss(t); loss >= lossMax {
				t.Logf("try %d: %.2f %% of %d bytes to %v were lost", 1+try, loss, r.size, r.to)
				again = append(again, r)
			}
		}
		if runs = again; len(runs) == 0 {
			break
		}
	}
	for _, r := range runs {
		t.Errorf("datagrams of %d bytes to %v lost %d %% or more in each of %d tries", r.size, r.to, lossMax, iperfTries)
	}
	if t.Failed() {
		t.Logf("%s", p.node.tell(t, "drops").out)
	}
	p.node.stop(t, 15)
}
