package conntrack

import (
	"testing"
	"time"

	"holdfast/dataplane/packet"
)

// The fast way is a short cut through rules, so whatever changes what the rules say must
// close it with the very next packet (O8). Each row is such a change to an established
// connection; behind it stand what data of either end meets, in which state that leaves
// the connection, and how long it may then live idle.

// dataOf is a segment that an established connection takes by the fast way: 10 bytes at
// the sender's edge that acknowledge what the peer has sent.
func (tr *tracer) dataOf(dir Direction) packet.Parsed {
	tr.t.Helper()
	c := &tr.table.conns.all[tr.result.Index]
	side := tr.proposal.Original
	if dir == Reply {
		side = tr.proposal.Reply
	}
	p := parsed(side, 10)
	p.TCPFlags = packet.FlagACK | packet.FlagPSH
	p.Seq, p.Ack = uint32(c.edge[dir].end), uint32(c.edge[dir^1].end)
	p.SACKRight, p.Window = p.Ack, 502
	return p
}

// takesFastWay reports whether the fast way would take a segment of the connection as it
// stands, without taking it.
func (tr *tracer) takesFastWay(p *packet.Parsed, dir Direction) bool {
	known, _ := clone(&tr.table.conns.all[tr.result.Index]).trackEstablished(p, dir)
	return known
}

func TestO8_FastWayClosesAtOnce(t *testing.T) {
	for _, row := range []struct {
		name   string
		change string        // as a trace
		data   [2]string     // what becomes of data afterwards, by direction
		state  string        // after it
		idle   time.Duration // that the connection then lives
	}{
		{"reset by the original side", "-> R seq=1 => pass CL", [2]string{"pass", "pass"}, "CL", 10 * time.Second},
		{"reset by the reply side", "<- R seq=1 => pass CL", [2]string{"pass", "pass"}, "CL", 10 * time.Second},
		{"reset with ACK", "<- RA seq=1 ack=1 => pass CL", [2]string{"pass", "pass"}, "CL", 10 * time.Second},
		{"FIN of the original side", "-> FA seq=1 ack=1 => pass FW", [2]string{"pass", "pass"}, "", 2 * time.Minute},
		{"FIN of the reply side", "<- FA seq=1 ack=1 => pass FW", [2]string{"pass", "pass"}, "", 2 * time.Minute},
		{"both have closed", "-> FA seq=1 ack=1 => pass FW\n<- A seq=1 ack=2 => pass CW\n<- FA seq=1 ack=2 => pass LA\n-> A seq=2 ack=2 => pass TW",
			[2]string{"pass", "pass"}, "TW", 2 * time.Minute},
		{"a new life over it", "-> S seq=700000 => fwd ES\n<- SA seq=900000 ack=700001 => reopen SR", [2]string{"", ""}, "SR", time.Minute},
	} {
		for dir := Original; dir <= Reply; dir++ {
			t.Run(row.name+" "+dir.String(), func(t *testing.T) {
				tr := newTracer(t, [2]uint32{1000, 5000}, false)
				tr.run(shake)
				stale := tr.dataOf(dir)
				if !tr.takesFastWay(&stale, dir) {
					t.Fatal("the fast way is not taken before: the test shows nothing")
				}
				tr.run(row.change)
				fresh := tr.dataOf(dir)
				for _, p := range []*packet.Parsed{&stale, &fresh} {
					if tr.takesFastWay(p, dir) {
						t.Errorf("%s: the fast way takes seq %d", row.name, p.Seq-tr.isn[dir])
					}
				}
				if row.data[dir] == "" {
					// At most it passes as an old duplicate, without refresh (1.2, II).
					tr.now += int64(time.Second)
					if got := tr.send(&stale); got == "pass" && tr.view().Idle == 0 {
						t.Error("data of the life before refreshes the new one")
					}
					return
				}
				tr.now += int64(time.Second)
				if got := tr.send(&fresh); got != row.data[dir] {
					t.Errorf("data: %s, want %s", got, row.data[dir])
				}
				v := tr.view()
				if got := shortStates[v.TCP]; row.state != "" && got != row.state || v.TCP == Established {
					t.Errorf("state %s, want %s", got, row.state)
				}
				if v.Left > row.idle {
					t.Errorf("lives on for %v, want at most %v", v.Left, row.idle)
				}
			})
		}
	}
}

// TestO8_EveryConditionOfTheFastWay takes away one condition of the fast way at a time:
// each closes it, in both directions, and nothing of the connection has changed then.
func TestO8_EveryConditionOfTheFastWay(t *testing.T) {
	rows := map[string]func(*Conn, *packet.Parsed){
		"not replied":       func(c *Conn, _ *packet.Parsed) { c.flags &^= Replied },
		"not assured":       func(c *Conn, _ *packet.Parsed) { c.flags &^= Assured },
		"picked up":         func(c *Conn, _ *packet.Parsed) { c.flags |= PickedUp },
		"edge imported, o":  func(c *Conn, _ *packet.Parsed) { c.setAhead(Original) },
		"edge imported, r":  func(c *Conn, _ *packet.Parsed) { c.setAhead(Reply) },
		"FIN":               func(_ *Conn, p *packet.Parsed) { p.TCPFlags |= packet.FlagFIN },
		"RST":               func(_ *Conn, p *packet.Parsed) { p.TCPFlags = packet.FlagRST },
		"RST with ACK":      func(_ *Conn, p *packet.Parsed) { p.TCPFlags = packet.FlagRST | packet.FlagACK },
		"SYN":               func(_ *Conn, p *packet.Parsed) { p.TCPFlags = packet.FlagSYN },
		"SYN/ACK":           func(_ *Conn, p *packet.Parsed) { p.TCPFlags = packet.FlagSYN | packet.FlagACK },
		"URG":               func(_ *Conn, p *packet.Parsed) { p.TCPFlags |= packet.FlagURG },
		"beyond the window": func(_ *Conn, p *packet.Parsed) { p.Seq += 1 << 24 },
		"before the window": func(_ *Conn, p *packet.Parsed) { p.Seq -= 1 << 24 },
		"ACK of the unseen": func(_ *Conn, p *packet.Parsed) { p.Ack, p.SACKRight = p.Ack+1, p.SACKRight+1 },
		"ACK of long ago":   func(_ *Conn, p *packet.Parsed) { p.Ack, p.SACKRight = p.Ack-1<<24, p.SACKRight-1<<24 },
		"last byte too many": func(c *Conn, p *packet.Parsed) {
			p.End += 65535 - p.End
			c.edge[0].maxEnd, c.edge[1].maxEnd = p.Seq, p.Seq
		},
	}
	for d := Original; d <= Reply; d++ {
		for name, s := range map[string]Seen{"RST": SeenRST, "FIN": SeenFIN, "FIN acknowledged": SeenFINAcked} {
			rows["the "+d.String()+" side's "+name] = func(c *Conn, _ *packet.Parsed) { c.sets[d] |= s }
		}
		for name, s := range map[string]Seen{"SYN": SeenSYN, "SYN acknowledged": SeenSYNAcked} {
			rows["without the "+d.String()+" side's "+name] = func(c *Conn, _ *packet.Parsed) { c.sets[d] &^= s }
		}
	}
	for name, spoil := range rows {
		for dir := Original; dir <= Reply; dir++ {
			tr := newTracer(t, [2]uint32{1 << 30, 1 << 31}, false)
			tr.run(shake)
			p := tr.dataOf(dir)
			if !tr.takesFastWay(&p, dir) {
				t.Fatal("the fast way is not taken before: the test shows nothing")
			}
			c := clone(&tr.table.conns.all[tr.result.Index])
			spoil(c, &p)
			was := *conview(c)
			if known, _ := c.trackEstablished(&p, dir); known {
				t.Errorf("%s, %v: taken", name, dir)
			}
			if *conview(c) != was {
				t.Errorf("%s, %v: refused, and changed", name, dir)
			}
		}
	}
}

// TestO8_KillObeyed: neither a kill of the class, nor one of the connection alone, nor its
// removal lets another packet pass, although the fast way would know it.
func TestO8_KillObeyed(t *testing.T) {
	ofClass := func(tr *tracer) { tr.table.Kill(func(*Class) bool { return true }, 0) }
	ofRule := func(tr *tracer) { tr.table.Kill(func(c *Class) bool { return c.Rule == 77 }, 0) }
	byItself := func(tr *tracer) {
		if _, n := tr.table.KillEach(0, 1000, tr.now, tr.table.Latest(), &Choice{}); n != 1 {
			tr.t.Fatalf("%d killed", n)
		}
	}
	remove := func(tr *tracer) {
		var s State
		if !tr.table.Remove(tr.result.Index, tr.result.Incarnation, tr.now, &s) {
			tr.t.Fatal("not removed")
		}
	}
	for _, row := range []struct {
		name string
		end  func(*tracer)
		want string
	}{
		{"class", ofClass, "end"}, {"rule", ofRule, "end"}, {"itself", byItself, "killed"}, {"removed", remove, "miss"},
	} {
		for dir := Original; dir <= Reply; dir++ {
			tr := newTracer(t, [2]uint32{1000, 5000}, true)
			tr.run(shake)
			p := tr.dataOf(dir)
			if !tr.takesFastWay(&p, dir) {
				t.Fatal("the fast way is not taken before: the test shows nothing")
			}
			// The lookup may have been made before the kill: its hint must not help.
			keys, hits := []packet.Parsed{p}, make([]Hit, 1)
			tr.table.Lookup(keys, hits)
			row.end(tr)
			if out := tr.table.Track(&p, &hits[0], tr.now, &tr.result); out == OutcomePass {
				t.Errorf("%s, %v: passes", row.name, dir)
			}
			switch got := tr.send(&p); {
			case row.want == "killed" && got != "killed":
				t.Errorf("%s, %v: then %s, want killed", row.name, dir, got)
			case row.want != "killed" && got == "pass":
				t.Errorf("%s, %v: passes the second time", row.name, dir)
			}
		}
	}
}

// TestO8_TimeoutsObeyed: with other timeouts in force the next packet of the fast way puts
// the connection on them, and one that comes no more ends by them (E10).
func TestO8_TimeoutsObeyed(t *testing.T) {
	for dir := Original; dir <= Reply; dir++ {
		tr := newTracer(t, [2]uint32{1000, 5000}, false)
		tr.run(shake)
		lowered := DefaultTimeouts()
		lowered.Plain[TimerEstablished], lowered.Plain[TimerUnacknowledged] = 10*time.Second, 5*time.Second
		if err := tr.table.SetTimeouts([]*Timeouts{lowered}, Adaptive{}, tr.now+second); err != nil {
			t.Fatal(err)
		}
		tr.now += 2 * second
		p := tr.dataOf(dir)
		if !tr.takesFastWay(&p, dir) {
			t.Fatal("the fast way is not taken: the test shows nothing")
		}
		if got := tr.send(&p); got != "pass" {
			t.Fatal(got)
		}
		if left := tr.view().Left; left != 5*time.Second { // its data waits for an acknowledgement
			t.Errorf("%v: %v left, want 5 s", dir, left)
		}
		if got := tr.lifetime(); got < 5 || got > 6 {
			t.Errorf("%v: lived %d s", dir, got)
		}
	}
}
