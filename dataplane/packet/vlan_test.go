package packet

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/drop"
)

// withTag returns frame with a tag of the given type and control word (PCP, DEI, VLAN).
func withTag(frame []byte, kind, control uint16) []byte {
	tag := []byte{byte(kind >> 8), byte(kind), byte(control >> 8), byte(control)}
	return append(append(append([]byte{}, frame[:12]...), tag...), frame[12:]...)
}

// A frame's VLAN is what its one tag says, whatever its priority; what has two tags, or a
// provider's, is refused, and so is what ends in its tag.
func TestA9_VLANOfAFrame(t *testing.T) {
	plain := ipv4(client4, server4, UDP, nil, udp(nil))
	for _, row := range []struct {
		name  string
		frame []byte
		id    VLAN
		tag   int
		why   drop.Reason
	}{
		{"no tag", plain, 0, 0, drop.Pass},
		{"VLAN 1", withTag(plain, etherVLAN, 1), 1, TagLen, drop.Pass},
		{"VLAN 4094", withTag(plain, etherVLAN, 4094), 4094, TagLen, drop.Pass},
		{"VLAN 30 with priority 7 and drop eligible", withTag(plain, etherVLAN, 0xf000|30), 30, TagLen, drop.Pass},
		{"a priority alone (802.1p)", withTag(plain, etherVLAN, 0xa000), Untagged, TagLen, drop.Pass},
		{"the reserved 4095 is nobody's", withTag(plain, etherVLAN, 4095), 4095, TagLen, drop.Pass},
		{"two tags", withTag(withTag(plain, etherVLAN, 20), etherVLAN, 10), 0, 0, drop.VLANStacked},
		{"a priority, then a tag", withTag(withTag(plain, etherVLAN, 20), etherVLAN, 0), 0, 0, drop.VLANStacked},
		{"service tag (802.1ad)", withTag(plain, etherQinQ, 10), 0, 0, drop.VLANStacked},
		{"service tag behind a tag", withTag(withTag(plain, etherQinQ, 20), etherVLAN, 10), 0, 0, drop.VLANStacked},
		{"nothing behind the tag", withTag(plain, etherVLAN, 10)[:17], 0, 0, drop.FrameTruncated},
		{"the type behind the tag, and no more", withTag(plain, etherVLAN, 10)[:18], 10, TagLen, drop.Pass},
		{"shorter than a header", plain[:13], 0, 0, drop.FrameTruncated},
	} {
		id, tag, why := VLANOf(row.frame)
		if id != row.id || tag != row.tag || why != row.why {
			t.Errorf("%s: VLAN %v, tag of %d bytes, %v; want %v, %d, %v", row.name, id, tag, why, row.id, row.tag, row.why)
		}
	}
	if VLAN(0).Valid() || !VLAN(1).Valid() || !VLAN(4094).Valid() || VLAN(4095).Valid() {
		t.Error("valid VLANs are 1 to 4094")
	}
}

// What Tag puts in, VLANOf reads and Untag takes out, and nothing else of the frame changes.
func TestA9_TagAndUntagAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frame := rapid.SliceOfN(rapid.Byte(), 14, 1514).Draw(t, "frame")
		frame[12], frame[13] = 0x08, 0 // not itself a tag
		id := VLAN(rapid.Uint16Range(1, 4094).Draw(t, "VLAN"))
		room := append(make([]byte, TagLen), frame...)
		Tag(room, id)
		if want := withTag(frame, etherVLAN, uint16(id)); !bytes.Equal(room, want) {
			t.Fatalf("tagged\n% x, want\n% x", room, want)
		}
		if got, tag, why := VLANOf(room); got != id || tag != TagLen || why != drop.Pass {
			t.Fatalf("it is VLAN %v, %d, %v", got, tag, why)
		}
		if got := Untag(room); !bytes.Equal(got, frame) {
			t.Fatalf("untagged\n% x, want\n% x", got, frame)
		}
	})
}

// FuzzVLAN: no frame makes the readers look past its end, and what they call tagged can be
// untagged.
func FuzzVLAN(f *testing.F) {
	plain := ipv4(client4, server4, UDP, nil, udp(nil))
	for _, seed := range [][]byte{plain, withTag(plain, etherVLAN, 30), withTag(plain, etherVLAN, 30)[:18], withTag(plain, etherQinQ, 30), nil} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		frame = bytes.Clone(frame)[:len(frame):len(frame)]
		id, tag, why := VLANOf(frame)
		if why != drop.Pass && (id != Untagged || tag != 0) || tag != 0 && tag != TagLen || id > 4095 {
			t.Fatalf("VLAN %v, tag %d, %v", id, tag, why)
		}
		if tag == 0 {
			return
		}
		rest := Untag(frame)
		if len(rest) < ethernetLen || len(rest) != len(frame)-TagLen {
			t.Fatalf("%d bytes of %d are left", len(rest), len(frame))
		}
		if again, more, why := VLANOf(rest); why != drop.Pass || more != 0 || again != Untagged {
			t.Fatalf("there is another tag: %v, %d, %v", again, more, why)
		}
	})
}
