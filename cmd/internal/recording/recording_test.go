package recording

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// conversation is one with everything that is worth a note.
func conversation(t testing.TB) *captured {
	c := converse(t)
	hello := wire.Hello{VersionMin: 1, VersionMax: 1, Name: "fw-a", Node: 1, Boot: 7}
	c.say(0, 61, control(hello.Append))
	c.say(0, 0, insert(1))
	c.ends[0].Session().Seal(0, nil, insert(2)) // lost
	c.say(0, 0, insert(3))
	nack := wire.Nack{Lane: 0, First: 2, Last: 2}
	c.say(1, 61, control(nack.Append))
	late := c.ends[0].Session().Seal(0, nil, insert(4))
	c.say(0, 61, insert(2))
	c.say(0, 0, insert(5))
	c.keep(0, late)
	c.sent = append(c.sent, c.sent[len(c.sent)-1]) // replayed
	c.say(0, 0, append(wire.AppendControlHeader(nil), byte(wire.TypeNack), 0, 0, 1, 9))
	c.say(0, 0, append(wire.AppendControlHeader(nil), 200, 0, 0, 2, 'h', 'i'))
	forged := bytes.Clone(c.sent[len(c.sent)-1].payload)
	forged[len(forged)-1] ^= 1
	c.keep(0, forged)
	c.keep(0, []byte("HF\x07\x01............"))
	c.keep(0, []byte("something else"))
	return c
}

// With a key log every message is told, and what is odd about a datagram is named.
func TestDecodeWithAKeyLog(t *testing.T) {
	c := conversation(t)
	lines, totals := decoded(t, c.capture(layers.LinkTypeRaw, bare), Options{Keys: []seal.Key{c.key}, Log: c.log})
	var text strings.Builder
	for _, l := range lines {
		text.WriteString(l.String() + "\n")
		if b, err := json.Marshal(l); err != nil || !json.Valid(b) {
			t.Errorf("%v: %v", l, err)
		}
	}
	for _, want := range []string{
		"192.0.2.1:7400 > 192.0.2.2:7400 handshake1, ", "boot=3132333435363738 key=" + c.key.Fingerprint(), "(proves that its sender has the keys)",
		"control hello name=fw-a node=1", `0/1 insert index=1 life=0000000000010001 original="udp 10.0.0.5:1 > 198.51.100.9:53"`,
		"0/3 insert index=3", "(1 missing before)", "192.0.2.2:7400 > 192.0.2.1:7400 control nack lane=0 first=2 last=2",
		"0/2 insert index=2", "0/4 insert index=4", "(fills a gap)", "(late, fills a gap)", "(repeated, again)",
		"REFUSED: malformed message: truncated", "control type-200 bytes=2", "REFUSED: unauthentic", "REFUSED: bad-version",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("nothing says %q in\n%s", want, &text)
		}
	}
	if totals.Messages["insert"].Count != 6 || totals.Repeated != 1 || totals.Late != 1 || totals.Missing != 1 || totals.Closed != 0 ||
		totals.Datagrams["other"].Count != 1 || totals.Datagrams["handshake2"].Count != 1 || totals.Refused["unauthentic"].Count != 1 {
		t.Errorf("%+v", totals)
	}
	if !strings.Contains(totals.String(), "messages  insert                        6") {
		t.Errorf("totals say\n%s", totals)
	}
}

// Without keys the datagrams are told, and no word of what is in them; the pre-shared key
// adds only who began the handshake.
func TestDecodeWithoutAKeyLog(t *testing.T) {
	c := conversation(t)
	capture := c.capture(layers.LinkTypeRaw, bare)
	for name, o := range map[string]Options{"nothing": {}, "the pre-shared key": {Keys: []seal.Key{c.key}}} {
		lines, totals := decoded(t, capture, o)
		for _, l := range lines {
			if l.Message != "" || l.Batch != "" || l.Kind != "handshake1" && l.Says != nil {
				t.Errorf("%s: shows %v", name, l)
			}
		}
		if q := lines[0].Says != nil; q != (len(o.Keys) > 0) {
			t.Errorf("%s: of the handshake it says %v", name, lines[0].Says)
		}
		if totals.Closed != 13 || totals.Repeated != 2 || len(totals.Messages) != 0 {
			t.Errorf("%s: %+v", name, totals)
		}
	}
	_, totals := decoded(t, capture, Options{Keys: []seal.Key{seal.NewKey()}})
	if totals.Refused["handshake under another key"].Count != 1 {
		t.Errorf("with another cluster's key: %+v", totals)
	}
}

// The same conversation is found in every kind of capture.
func TestDecodeLinkTypes(t *testing.T) {
	c := conversation(t)
	_, want := decoded(t, c.capture(layers.LinkTypeRaw, bare), Options{Log: c.log})
	ether := make([]byte, 12)
	for name, k := range map[string]struct {
		link layers.LinkType
		head []byte
	}{
		"ethernet":     {layers.LinkTypeEthernet, append(slices.Clone(ether), 8, 0)},
		"vlan":         {layers.LinkTypeEthernet, append(slices.Clone(ether), 0x81, 0, 0, 7, 8, 0)},
		"linux cooked": {layers.LinkTypeLinuxSLL, append(make([]byte, 14), 8, 0)},
		"cooked 2":     {linkSLL2, append([]byte{8, 0}, make([]byte, 18)...)},
		"loopback":     {layers.LinkTypeNull, []byte{2, 0, 0, 0}},
	} {
		_, got := decoded(t, c.capture(k.link, func(ip []byte) []byte { return append(slices.Clone(k.head), ip...) }), Options{Log: c.log})
		if got.Messages["insert"] != want.Messages["insert"] || got.Refused["unauthentic"] != want.Refused["unauthentic"] {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// What --decrypted writes is a capture whose payloads are the batches.
func TestDecryptedCapture(t *testing.T) {
	c := conversation(t)
	var plain bytes.Buffer
	decoded(t, c.capture(layers.LinkTypeRaw, bare), Options{Log: c.log, Decrypted: &plain})
	in, err := openFile(&plain)
	if err != nil {
		t.Fatal(err)
	}
	var f frame
	var d datagram
	inserts := 0
	for err = in.read(&f); err == nil; err = in.read(&f) {
		if !d.read(&f) || d.to.Port() != PlaintextPort {
			t.Fatalf("%v > %v", d.from, d.to)
		}
		h, rest, err := wire.DecodeHeader(d.payload)
		if err != nil {
			t.Fatal(err)
		}
		if h.Kind == wire.Stream && wire.Type(rest[0]) == wire.TypeInsert {
			inserts++
		}
	}
	if inserts != 6 {
		t.Errorf("%d inserts, want 6", inserts)
	}
}

func TestDecodeRefusesOtherFiles(t *testing.T) {
	for _, text := range []string{"", "abc", "no capture at all", "\x0a\x0d\x0d\x0a...."} {
		if _, err := Decode(strings.NewReader(text), Options{}, func(*Line) error { return nil }); err == nil {
			t.Errorf("%q was decoded", text)
		}
	}
	c := conversation(t)
	full := errors.New("disk full")
	_, err := Decode(bytes.NewReader(c.capture(layers.LinkTypeRaw, bare)), Options{}, func(*Line) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("an error of the output became %v", err)
	}
}

// Whatever lies in frames, decoding it ends and does not panic.
func FuzzFrame(f *testing.F) {
	c := conversation(f)
	for _, s := range c.sent {
		f.Add(uint8(layers.LinkTypeRaw), c.ip(s))
		f.Add(uint8(layers.LinkTypeEthernet), append([]byte("............\x81\x00\x00\x01\x08\x00"), c.ip(s)...))
	}
	f.Fuzz(func(t *testing.T, link uint8, data []byte) {
		d := &decoder{
			keys: []seal.Key{c.key}, tell: func(l *Line) error { _ = l.String(); return nil }, tracks: map[trackKey]*track{},
			totals: Totals{Datagrams: map[string]Count{}, Messages: map[string]Count{}, Refused: map[string]Count{}},
		}
		d.frame = frame{link: layers.LinkType(link), data: data}
		if err := d.take(); err != nil {
			t.Fatal(err)
		}
	})
}

// A run that a capture has uncut is told as the datagrams that it will be.
func TestARunIsToldAsItsDatagrams(t *testing.T) {
	c := converse(t)
	before := len(c.sent)
	for n := uint64(1); n <= 3; n++ {
		c.say(0, 0, insert(n))
	}
	single, err := Decode(bytes.NewReader(c.capture(layers.LinkTypeRaw, bare)), Options{Log: c.log}, func(*Line) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	run := sent{from: 0}
	for _, s := range c.sent[before:] {
		run.payload = append(run.payload, s.payload...)
	}
	c.sent = append(c.sent[:before], run)
	var trouble []string
	whole, err := Decode(bytes.NewReader(c.capture(layers.LinkTypeRaw, bare)), Options{Log: c.log}, func(l *Line) error {
		if l.Trouble != "" {
			trouble = append(trouble, l.Trouble)
		}
		return nil
	})
	if err != nil || len(trouble) > 0 {
		t.Fatal(err, trouble)
	}
	if whole.Messages["insert"] != single.Messages["insert"] || whole.Messages["insert"].Count != 3 || whole.Datagrams["sealed"] != single.Datagrams["sealed"] {
		t.Errorf("a run is %+v, its datagrams singly %+v", whole, single)
	}
}
