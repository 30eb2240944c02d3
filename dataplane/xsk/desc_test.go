package xsk

import "testing"

// A packet grows into its headroom, and never into the frame before.
func TestPrependStaysInTheFrame(t *testing.T) {
	d := Desc{Addr: 3*FrameSize + Headroom, Len: 60}
	if !d.Prepend(4) || d.Addr != 3*FrameSize+Headroom-4 || d.Len != 64 {
		t.Errorf("%+v", d)
	}
	if d.Prepend(Headroom) || d.Addr != 3*FrameSize+Headroom-4 || d.Len != 64 {
		t.Errorf("past the start of its frame: %+v", d)
	}
	if !d.Prepend(Headroom-4) || d.Addr != 3*FrameSize {
		t.Errorf("%+v", d)
	}
}
