package packet

import (
	"encoding/binary"
	"strconv"

	"holdfast/dataplane/drop"
)

// A tagged frame (IEEE 802.1Q clause 9). The tag stands between the stations and the type:
//
//	0       6       12      14                 16      18
//	+-------+-------+-------+------------------+-------+---------- - -
//	| to    | from  | 8100  | PCP 3|DEI 1|ID 12 | type  | packet
//	+-------+-------+-------+------------------+-------+---------- - -
//
// No stage of the path sees a tag: Untag takes it off a received frame, which from then on
// is four bytes shorter and begins four bytes later, and Tag puts the one of the port that
// a frame leaves by in front of its type. So what a packet is does not depend on where its
// headers stand, and a frame of our own needs no tag before it leaves.
const (
	tagAt   = 12 // also where the type of an untagged frame stands
	TagLen  = 4  // bytes
	vlanMax = 4094
	vlanIDs = 1 << 12
)

// VLAN is an 802.1Q identifier, 1 to 4094. The zero value is untagged.
type VLAN uint16

// Untagged is the VLAN of frames without a tag, and of those whose tag carries a priority
// and no VLAN (identifier 0).
const Untagged VLAN = 0

// VLANs is how many values a VLAN can have, for tables by VLAN; 4095 is reserved.
const VLANs = vlanIDs

// String returns the identifier, "untagged" for none.
func (v VLAN) String() string {
	if v == Untagged {
		return "untagged"
	}
	return strconv.Itoa(int(v))
}

// Valid reports whether frames can be tagged with v.
func (v VLAN) Valid() bool { return v != Untagged && v <= vlanMax }

// VLANOf returns the VLAN of a frame, and how many bytes of tag Untag is to take off it,
// TagLen or 0. Priority and drop eligibility (PCP, DEI) are not looked at. It refuses a
// frame that is too short to tell, and one with a service tag (802.1ad) or a second tag:
// what is in there belongs to somebody's customer.
func VLANOf(frame []byte) (id VLAN, tag int, why drop.Reason) {
	if len(frame) < ethernetLen {
		return Untagged, 0, drop.FrameTruncated
	}
	switch binary.BigEndian.Uint16(frame[tagAt:]) {
	case etherVLAN:
	case etherQinQ:
		return Untagged, 0, drop.VLANStacked
	default:
		return Untagged, 0, drop.Pass
	}
	if len(frame) < ethernetLen+TagLen {
		return Untagged, 0, drop.FrameTruncated
	}
	switch binary.BigEndian.Uint16(frame[tagAt+TagLen:]) {
	case etherVLAN, etherQinQ:
		return Untagged, 0, drop.VLANStacked
	}
	return VLAN(binary.BigEndian.Uint16(frame[tagAt+2:]) % vlanIDs), TagLen, drop.Pass
}

// Untag returns the frame without its tag, in place: it begins TagLen bytes later. VLANOf
// has found the tag.
func Untag(frame []byte) []byte {
	copy(frame[TagLen:], frame[:tagAt])
	return frame[TagLen:]
}

// Tag puts a tag into frame, which begins with TagLen bytes of room and then holds an
// untagged frame. The priority is 0, best effort: that of the network it came from need
// not be ours to hand on (the DSCP of the packet, which says the same end to end, stays).
func Tag(frame []byte, id VLAN) {
	copy(frame, frame[TagLen:][:tagAt])
	binary.BigEndian.PutUint16(frame[tagAt:], etherVLAN)
	binary.BigEndian.PutUint16(frame[tagAt+2:], uint16(id))
}
