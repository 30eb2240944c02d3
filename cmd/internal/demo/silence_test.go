package demo

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/internal/lab"
)

// flood sends 10,000 datagrams a second from the client through the firewall until the
// test ends, and others back, so that a node that could speak would.
func flood(t *testing.T, tr *trial) {
	t.Helper()
	echo, err := tr.net.server.ListenPacket("udp", netip.AddrPortFrom(server, portUDP).String())
	if err != nil {
		t.Fatal(err)
	}
	go serveUDP(echo)
	conn, err := tr.net.client.Dial(context.Background(), "udp", "", netip.AddrPortFrom(server, portUDP).String())
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				for range 10 {
					_, _ = conn.Write([]byte("flood")) // lost ones are the point of the test
				}
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		conn.Close()
		echo.Close()
	})
}

// ears are captures on both switches of all that a node says on its data ports.
type ears []*lab.Capture

func listenTo(t *testing.T, tr *trial, nd *node) ears {
	t.Helper()
	var e ears
	for _, sw := range tr.net.switches {
		c, err := sw.Capture(nd.name, lab.CaptureOptions{Keep: 16})
		if err != nil {
			t.Fatal(err)
		}
		e = append(e, c)
	}
	return e
}

func (e ears) count(t *testing.T) (n int) {
	t.Helper()
	for _, c := range e {
		n += c.Count()
		if err := c.Err(); err != nil {
			t.Fatalf("the capture is not complete: %v", err)
		}
	}
	return n
}

// words returns what was captured, for a message.
func (e ears) words() (all []string) {
	for _, c := range e {
		for _, f := range c.Frames() {
			all = append(all, fmt.Sprintf("% x", f.Data[:min(len(f.Data), 60)]))
		}
	}
	return all
}

// last returns when the node was heard last.
func (e ears) last() (last time.Time) {
	for _, c := range e {
		if l := c.Last(); l.After(last) {
			last = l
		}
	}
	return last
}

// startBoth starts both nodes and returns the active one and the standby.
func startBoth(t *testing.T, tr *trial) (active, standby *node) {
	t.Helper()
	if err := tr.startNodes(context.Background()); err != nil {
		t.Fatal(tr.explain(err))
	}
	return tr.victim, tr.heir
}

// heardMore waits until a node has said n frames more than before.
func heardMore(t *testing.T, e ears, n int) {
	t.Helper()
	from := e.count(t)
	eventually(t, "the node is heard", func() bool { return e.count(t) >= from+n })
}

// From the killed process's end on not one frame leaves the dead node's data ports, ARP
// included.
func TestP4_DeadNodeIsSilent(t *testing.T) {
	tr := newTrial(t)
	active, standby := startBoth(t, tr)
	dead, heir := listenTo(t, tr, active), listenTo(t, tr, standby)
	flood(t, tr)
	heardMore(t, dead, 2000)
	if err := active.proc.Kill(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-active.proc.Done()
	end := active.proc.Ended()
	heardMore(t, heir, 10_000) // a second of traffic through the other node
	// Someone asks for the shared addresses: only the living node may answer.
	askARP(t, tr)
	if last := dead.last(); last.After(end) {
		t.Errorf("the dead node was heard %v after its end", last.Sub(end))
	}
	if dead.count(t) == 0 {
		t.Error("the capture never heard the node while it was active: it proves nothing")
	}
}

// askARP makes the client ask for the gateway's address anew and waits for the answer.
func askARP(t *testing.T, tr *trial) {
	t.Helper()
	if err := tr.net.client.Do(func() error { return flushNeighbors("c0") }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gateway's address is answered", func() bool {
		mac, err := neighborOf(tr.net.client, "c0", insideGW)
		return err == nil && bytes.Equal(mac, []byte{2, 0x48, 0x46, 0, 0, 1})
	})
}

// A node stopped with SIGSTOP and continued sends nothing before a new promotion. The
// residue: a worker stopped between its compare of the lease and the end of that kick
// finishes the kick, which hands over at most what one port had staged, here 256 frames
// (xsk.DefaultTxBudget).
func TestP4_StoppedNodeWakesMute(t *testing.T) {
	const residue = 256
	tr := newTrial(t)
	active, standby := startBoth(t, tr)
	stopped, heir := listenTo(t, tr, active), listenTo(t, tr, standby)
	flood(t, tr)
	heardMore(t, stopped, 2000)
	if err := active.proc.Kill(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the standby has taken over", func() bool { return role(standby) == "active" })
	heardMore(t, heir, 2000)
	before := stopped.count(t)
	if err := active.proc.Kill(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revived node knows that it stands by", func() bool { return role(active) == "standby" })
	heardMore(t, heir, 5000) // half a second in which it could speak
	if said := stopped.count(t) - before; said > residue {
		t.Errorf("the revived node said %d frames, more than the residue of one kick (%d)", said, residue)
	} else if said > 0 {
		t.Logf("residue of one kick: %d frames", said)
	}
	if role(active) != "standby" || role(standby) != "active" {
		t.Errorf("roles are %s and %s", role(active), role(standby))
	}
	// And a new promotion lets it speak again.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := api.NewClient(active.socket).Promote(ctx, api.PromoteRequest{Force: true}); err != nil {
		t.Fatal(err)
	}
	heardMore(t, stopped, 1000)
}

// A starting standby sends nothing at all on its data ports.
func TestP10_StartingStandbyIsSilent(t *testing.T) {
	tr := newTrial(t)
	ctx := context.Background()
	first, second := tr.net.nodes[0], tr.net.nodes[1]
	said := listenTo(t, tr, second)
	active := listenTo(t, tr, first)
	startBoth(t, tr)
	flood(t, tr)
	heardMore(t, active, 5000)
	if n := said.count(t); n != 0 {
		t.Errorf("the standby said %d frames: %q", n, said.words())
	}
	// The same when it is started again under load.
	if err := second.proc.Kill(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-second.proc.Done()
	if err := second.start(ctx, tr.Binary); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the standby is back", func() bool { return role(second) == "standby" })
	heardMore(t, active, 10_000)
	if n := said.count(t); n != 0 {
		t.Errorf("the restarted standby said %d frames: %q", n, said.words())
	}
}

// SIGTERM hands the role over and leaves the node mute.
func TestP8_TerminatedNodeHandsOverAndIsMute(t *testing.T) {
	tr := newTrial(t)
	active, standby := startBoth(t, tr)
	old, heir := listenTo(t, tr, active), listenTo(t, tr, standby)
	flood(t, tr)
	heardMore(t, old, 2000)
	if err := active.proc.Kill(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := active.proc.Wait(); err != nil {
		t.Errorf("the daemon ended with %v: %s", err, active.said())
	}
	end := active.proc.Ended()
	heardMore(t, heir, 5000)
	if last := old.last(); last.After(end) {
		t.Errorf("heard %v after its end", last.Sub(end))
	}
}
