package lab

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"
)

// TestWireCarriesFramesWhole: what one end sends the other receives, tags included.
func TestWireCarriesFramesWhole(t *testing.T) {
	l := ForTest(t)
	left, right := must(l.Namespace("left"))(t), must(l.Namespace("right"))(t)
	if err := l.Veth(End{Namespace: left, Name: "x"}, End{Namespace: right, Name: "x"}); err != nil {
		t.Fatal(err)
	}
	a, err := left.Wire("x")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := right.Wire("x")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	head := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1}
	for name, rest := range map[string][]byte{
		"untagged":            {0x88, 0xb5},
		"VLAN 30, priority 3": {0x81, 0, 0x60, 30, 0x88, 0xb5},
		"a priority alone":    {0x81, 0, 0x60, 0, 0x88, 0xb5},
		"service tag":         {0x88, 0xa8, 0, 7, 0x88, 0xb5},
		"two tags":            {0x81, 0, 0, 10, 0x81, 0, 0, 20, 0x88, 0xb5},
		"of full length":      append([]byte{0x81, 0, 0, 10, 0x88, 0xb5}, make([]byte, 1500)...),
	} {
		frame := append(append(append([]byte{}, head...), rest...), make([]byte, 46)...)
		if len(rest) > 1000 {
			frame = frame[:1518]
		}
		if err := a.Send(frame); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for deadline := time.Now().Add(10 * time.Second); ; {
			got, err := b.Receive(deadline)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if bytes.Equal(got, frame) {
				break
			}
			if bytes.Equal(got[:12], head) {
				t.Fatalf("%s: came as\n% x\nof\n% x", name, got, frame)
			}
		}
	}
	if _, err := b.Receive(time.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the last frame: %v", err)
	}
}
