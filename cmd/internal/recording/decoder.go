package recording

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// Options are what the reader of a capture holds.
type Options struct {
	Keys      []seal.Key        // pre-shared keys: they open handshake1 messages
	Log       []seal.SessionKey // of a key log: they open what was sealed
	Decrypted io.Writer         // where not nil, a pcapng of the plaintext batches is written to it
}

// Decode reads a capture and tells every line of it. It ends early with tell's error.
func Decode(capture io.Reader, o Options, tell func(*Line) error) (*Totals, error) {
	in, err := openFile(capture)
	if err != nil {
		return nil, err
	}
	d := &decoder{
		keys: o.Keys, tell: tell, opens: map[uint32][]*seal.Recorded{}, tracks: map[trackKey]*track{},
		streams: map[[2]netip.AddrPort]*streams{},
		totals:  Totals{Datagrams: map[string]Count{}, Messages: map[string]Count{}, Refused: map[string]Count{}},
	}
	for _, k := range o.Log {
		d.opens[k.Session] = append(d.opens[k.Session], seal.NewRecorded(k))
	}
	if o.Decrypted != nil {
		if d.plain, err = newPlaintext(o.Decrypted); err != nil {
			return nil, err
		}
	}
	for {
		err := in.read(&d.frame)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("frame %d: %w", d.totals.Frames+1, err)
		}
		d.totals.Frames++
		if err := d.take(); err != nil {
			return nil, err
		}
	}
	return &d.totals, d.plain.flush()
}

// decoder follows the sessions of a capture.
type decoder struct {
	keys    []seal.Key
	opens   map[uint32][]*seal.Recorded // ids of different nodes may be equal: each key is tried
	tracks  map[trackKey]*track
	streams map[[2]netip.AddrPort]*streams
	plain   *plaintext // nil: not wanted
	tell    func(*Line) error
	totals  Totals

	frame  frame
	at     datagram
	buffer []byte
}

// kindNames are the words for kinds of datagrams.
var kindNames = map[seal.Kind]string{
	seal.KindKnock: "knock", seal.KindHandshake1: "handshake1", seal.KindHandshake2: "handshake2", seal.KindSealed: "sealed",
}

// take takes in the frame at hand. Only what bears the protocol's magic is told.
func (d *decoder) take() error {
	if !d.at.read(&d.frame) || len(d.at.payload) < 2 || string(d.at.payload[:2]) != "HF" {
		add(d.totals.Datagrams, "other", len(d.frame.data))
		return nil
	}
	for rest := d.at.payload; len(rest) > 0; {
		d.at.payload, rest = firstOf(rest)
		if err := d.datagram(); err != nil {
			return err
		}
	}
	return nil
}

// datagram takes in the datagram at hand.
func (d *decoder) datagram() error {
	l := d.line()
	h, why := seal.ParseHeader(d.at.payload)
	if why != seal.Accepted {
		return d.refuse(l, why.String())
	}
	l.Kind, l.Lane, l.Counter = kindNames[h.Kind], uint16(h.Lane), h.Counter
	if h.Session != 0 {
		l.Session = fmt.Sprintf("%08x", h.Session)
	}
	add(d.totals.Datagrams, l.Kind, l.Bytes)
	switch h.Kind {
	case seal.KindHandshake1:
		return d.question(l)
	case seal.KindSealed:
		return d.sealed(l, h)
	}
	return d.tell(l)
}

func (d *decoder) line() *Line {
	return &Line{
		At: d.frame.at, Frame: d.totals.Frames, From: d.at.from.String(), To: d.at.to.String(), Kind: "unknown", Bytes: len(d.at.payload),
	}
}

// refuse tells a line about something that a node refuses.
func (d *decoder) refuse(l *Line, why string) error {
	add(d.totals.Refused, why, l.Bytes)
	l.Trouble = why
	return d.tell(l)
}

// question tells what the pre-shared keys show of a handshake1.
func (d *decoder) question(l *Line) error {
	if len(d.keys) == 0 {
		return d.tell(l)
	}
	q, why := seal.ReadQuestion(d.keys, d.at.payload)
	if why != seal.Accepted {
		return d.refuse(l, "handshake under another key")
	}
	l.say([]wire.Field{
		{Name: "asks_for_session", Value: fmt.Sprintf("%08x", q.Session)}, {Name: "boot", Value: hex.EncodeToString(q.Payload)},
		{Name: "key", Value: q.Key.Fingerprint()},
	})
	return d.tell(l)
}

// sealed tells a sealed datagram, or the messages in it where it opens.
func (d *decoder) sealed(l *Line, h seal.Header) error {
	plain, opened := d.open(h)
	if !opened && len(d.opens[h.Session]) > 0 {
		return d.refuse(l, seal.RejectUnauthentic.String())
	}
	key := trackKey{d.at.from, d.at.to, h.Session, h.Lane}
	t := d.tracks[key]
	if t == nil {
		t = new(track)
		d.tracks[key] = t
	}
	missing, note := t.take(h.Counter)
	switch {
	case missing > 0:
		d.totals.Missing += missing
		l.Notes = append(l.Notes, gapNote(missing))
	case note == noteLate:
		d.totals.Late++
		d.totals.Missing -= min(1, d.totals.Missing)
	case note == noteRepeated:
		d.totals.Repeated++
	}
	if note != "" {
		l.Notes = append(l.Notes, note)
	}
	switch {
	case !opened:
		d.totals.Closed++
		return d.tell(l)
	case len(plain) == 0:
		l.Notes = append(l.Notes, "proves that its sender has the keys")
		return d.tell(l)
	}
	if err := d.plain.write(&d.frame, &d.at, plain); err != nil {
		return err
	}
	return d.batch(l, plain)
}

// open opens the datagram at hand with whichever key fits.
func (d *decoder) open(h seal.Header) (plain []byte, ok bool) {
	for _, r := range d.opens[h.Session] {
		plain, why := r.Open(d.buffer[:0], d.at.payload)
		if why == seal.Accepted {
			d.buffer = plain
			return plain, true
		}
	}
	return nil, false
}

// batch tells the messages of a batch.
func (d *decoder) batch(of *Line, plain []byte) error {
	h, rest, err := wire.DecodeHeader(plain)
	if err != nil {
		return d.refuse(of, err.Error())
	}
	pair := [2]netip.AddrPort{d.at.from, d.at.to}
	s := d.streams[pair]
	if s == nil {
		s = new(streams)
		d.streams[pair] = s
	}
	of.Batch = "control"
	if h.Kind == wire.Stream {
		of.Batch = fmt.Sprintf("%d/%d", h.Lane, h.Sequence)
		if note := s.take(h); note != "" {
			of.Notes = append(of.Notes, note)
			if note == noteAgain {
				d.totals.Again++
			}
		}
	}
	var f wire.Frame
	frames := wire.Frames{Rest: rest}
	for frames.Next(&f) {
		l := *of
		l.Message, l.Bytes = f.Type.String(), wire.FrameHeaderSize+len(f.Body)
		if err := d.message(&l, &f, s); err != nil {
			return err
		}
	}
	if err := frames.Err(); err != nil {
		return d.refuse(of, err.Error())
	}
	return nil
}

// message tells one message.
func (d *decoder) message(l *Line, f *wire.Frame, s *streams) error {
	fields, err := wire.Words(f)
	if err != nil {
		return d.refuse(l, err.Error())
	}
	l.say(fields)
	add(d.totals.Messages, l.Message, l.Bytes)
	var hello wire.Hello
	if f.Type == wire.TypeHello && hello.Decode(f) == nil && hello.Boot != s.boot {
		*s = streams{boot: hello.Boot} // a new life: its batches count from 1
	}
	return d.tell(l)
}
