package xdp

import (
	"errors"
	"strings"
	"testing"

	"holdfast/dataplane/xsk"
)

// TestA9_TagsStayInTheFrame: a device that takes VLAN tags out of received frames is told
// to leave them in, and back; saying it twice changes nothing.
func TestA9_TagsStayInTheFrame(t *testing.T) {
	p := newPort(t, ordinary)
	read := func() (now Tags) {
		check(t, p.node.Do(func() (err error) { now, err = ReadTags(portName); return err }))
		return now
	}
	if read() != TagsBeside {
		t.Skip("skipped, this kernel's veth has no VLAN offload to switch")
	}
	for _, want := range []Tags{TagsInFrame, TagsInFrame, TagsBeside, TagsInFrame} {
		check(t, p.node.Do(func() error { return SetTags(portName, want) }))
		if now := read(); now != want {
			t.Errorf("tags are %d, want %d", now, want)
		}
	}
}

// A device that is not there, and one that cannot do it, are errors that say so.
func TestTagsOfNoDevice(t *testing.T) {
	p := newPort(t, ordinary)
	check(t, p.node.Do(func() error {
		if _, err := ReadTags("eth77"); !errors.Is(err, xsk.ErrNoDevice) {
			t.Errorf("%v", err)
		}
		if err := SetTags("lo", TagsBeside); err == nil || !strings.Contains(err.Error(), "ethtool -K lo rx-vlan-offload on") {
			t.Errorf("%v", err)
		}
		return nil
	}))
}
