package wire

import (
	"slices"
	"testing"
)

func TestBatchHeader(t *testing.T) {
	for _, h := range []Header{{Kind: Stream, Lane: 63, Sequence: 1}, {Kind: Stream, Sequence: 1 << 63}, {Kind: Control}} {
		b := AppendControlHeader(nil)
		if h.Kind == Stream {
			b = AppendStreamHeader(nil, h.Lane, h.Sequence)
		}
		if len(b) != BatchHeaderSize {
			t.Errorf("%d bytes", len(b))
		}
		got, rest, err := DecodeHeader(append(b, "rest"...))
		if err != nil || got != h || string(rest) != "rest" {
			t.Errorf("%+v became %+v, %v", h, got, err)
		}
		for n := range b {
			if _, _, err := DecodeHeader(b[:n]); err != Truncated {
				t.Errorf("cut to %d: %v", n, err)
			}
		}
	}
	for text, want := range map[string]Malformed{
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00": BadKind,
		"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01": BadKind,
		"\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01": BadFlags,
		"\x01\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x01": BadLane,
		"\x02\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00": BadLane,
		"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00": BadSequence,
		"\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01": BadSequence,
	} {
		if _, _, err := DecodeHeader([]byte(text)); err != want {
			t.Errorf("%x: %v, want %v", text, err, want)
		}
	}
}

func TestUnknownFramesAreSkipped(t *testing.T) {
	s := begun()
	b := append([]byte{200, 0xff, 0, 3}, "???"...)
	b = AppendInsert(b, &s)
	b = append(b, 201, 0, 0, 0)
	b = (&Nack{Lane: 1, First: 2, Last: 3}).Append(b)
	var types []Type
	var f Frame
	frames := Frames{Rest: b}
	for frames.Next(&f) {
		types = append(types, f.Type)
	}
	if frames.Err() != nil || !slices.Equal(types, []Type{200, TypeInsert, 201, TypeNack}) {
		t.Errorf("%v %v", types, frames.Err())
	}
	frames = Frames{Rest: b[:len(b)-1]}
	for frames.Next(&f) {
		if f.Type == TypeNack {
			t.Error("a cut frame was handed out")
		}
	}
	if frames.Err() != Truncated {
		t.Errorf("cut: %v", frames.Err())
	}
}
