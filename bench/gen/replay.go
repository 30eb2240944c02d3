package gen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Replay sends the IP packets of a capture file, each from the side it came from: the
// client's, whose addresses are of Client, or the server's. Packets of neither are left
// out, and so is all that is not IP. Addresses stay as they are, so there is no NAT in
// between.
//
// The order holds across the sides: before the sender changes, it waits until what the
// other sent has come out at its own end, or for Patience where it does not (a firewall
// may drop it).
type Replay struct {
	Client   netip.Prefix
	Rate     uint64        // packets/s at most; 0: no bound
	Limit    time.Duration // of the whole; 0: one minute
	Count    uint64        // packets at most; 0: all of the file
	Patience time.Duration // at a change of the sender; 0: 100 ms
}

// Replayed is what a replay did.
type Replayed struct {
	Client, Server uint64 // packets sent from each side
	AtClient       uint64 // packets that came out at each
	AtServer       uint64
	Skipped        uint64        // of neither side, or not IP
	Impatient      uint64        // changes of the sender that did not wait to the end
	Took           time.Duration // from the first packet to the end of the last wait
	Truncated      bool          // ended by Limit, Count or the context before the file did
}

// Run reads a .pcap file (Ethernet or raw IP) from r and sends it.
func (p Replay) Run(ctx context.Context, r io.Reader, client, server *Side) (done Replayed, err error) {
	file, err := newPcapReader(r)
	if err != nil {
		return done, fmt.Errorf("replay: %w", err)
	}
	if p.Limit == 0 {
		p.Limit = time.Minute
	}
	if p.Patience == 0 {
		p.Patience = 100 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, p.Limit)
	defer cancel()
	run := &replaying{Replay: p, ends: [2]end{{side: client}, {side: server}}, begin: time.Now()}
	for _, e := range &run.ends {
		if _, err := e.side.count(); err != nil { // what arrived before does not count
			return done, err
		}
	}
	for i := range run.ends {
		run.ends[i].before = run.ends[i].side.arrived
	}
	err = run.all(ctx, file)
	return run.report(), err
}

// sender is one of the two sides.
type sender uint8

const (
	fromClient sender = iota
	fromServer
	fromNeither
)

// end is one side in a replay.
type end struct {
	side   *Side
	sent   uint64 // from here
	lost   uint64 // of what the other end sent, what was given up waiting for
	before uint64 // arrived here before the replay
}

// replaying is a replay under way.
type replaying struct {
	Replay
	ends      [2]end // by sender
	last      sender
	skipped   uint64
	impatient uint64
	truncated bool
	begin     time.Time
}

// all sends the file to its end.
func (r *replaying) all(ctx context.Context, file *pcapReader) error {
	for n := uint64(0); ; n++ {
		packet, err := file.next()
		if errors.Is(err, io.EOF) {
			return r.settle(ctx, r.last)
		}
		if err != nil {
			return fmt.Errorf("replay: packet %d: %w", n, err)
		}
		from := r.side(packet)
		if from == fromNeither {
			r.skipped++
			continue
		}
		sent := r.ends[0].sent + r.ends[1].sent
		if r.truncated = r.Count > 0 && sent >= r.Count; r.truncated {
			return r.settle(ctx, r.last)
		}
		if from != r.last && sent > 0 {
			if err := r.settle(ctx, r.last); err != nil {
				return err
			}
		}
		r.last = from
		if r.Rate > 0 {
			r.pause(ctx, time.Until(r.begin.Add(time.Duration(sent)*time.Second/time.Duration(r.Rate))))
		}
		if r.truncated = ctx.Err() != nil; r.truncated {
			return nil
		}
		if err := r.send(ctx, from, packet); err != nil {
			return fmt.Errorf("replay: packet %d: %w", n, err)
		}
	}
}

// side says who sent an IP packet.
func (r *replaying) side(packet []byte) sender {
	var source, destination netip.Addr
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		source, destination = netip.AddrFrom4([4]byte(packet[12:])), netip.AddrFrom4([4]byte(packet[16:]))
	case len(packet) >= 40 && packet[0]>>4 == 6:
		source, destination = netip.AddrFrom16([16]byte(packet[8:])), netip.AddrFrom16([16]byte(packet[24:]))
	}
	switch {
	case r.Client.Contains(source):
		return fromClient
	case r.Client.Contains(destination):
		return fromServer
	}
	return fromNeither
}

// send sends one packet, again while the link is not ready.
func (r *replaying) send(ctx context.Context, from sender, packet []byte) error {
	e := &r.ends[from]
	for {
		err := e.side.send(packet)
		if err == nil {
			e.sent++
			return nil
		}
		if !notReady(err) {
			return err
		}
		if r.pause(ctx, 50*time.Microsecond); ctx.Err() != nil {
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// settle waits until all that from has sent is at the other end.
func (r *replaying) settle(ctx context.Context, from sender) error {
	there := &r.ends[fromServer-from]
	for patience := time.Now().Add(r.Patience); ; r.pause(ctx, 20*time.Microsecond) {
		arrived, err := there.side.count()
		if err != nil {
			return err
		}
		missing := int64(r.ends[from].sent) - int64(arrived-there.before+there.lost)
		if missing <= 0 {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(patience) {
			there.lost += uint64(missing)
			r.impatient++
			return nil
		}
	}
}

// pause waits, or until ctx ends.
func (r *replaying) pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (r *replaying) report() Replayed {
	c, s := &r.ends[fromClient], &r.ends[fromServer]
	return Replayed{
		Client: c.sent, Server: s.sent,
		AtClient: c.side.arrived - c.before, AtServer: s.side.arrived - s.before,
		Skipped: r.skipped, Impatient: r.impatient, Truncated: r.truncated, Took: time.Since(r.begin),
	}
}
