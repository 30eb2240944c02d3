package dataplane

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// A logical port is a device or a device with a VLAN. The tag is taken off before the path
// and put on after it, so no stage in between knows of tags, and what the kernel's face of
// a port sees is untagged. A frame moves within its own memory for that:
//
//	received        | headroom ... | to | from | 8100 | id | type | packet
//	on the path     | headroom .........| to   | from      | type | packet
//	from untagged   | headroom .........| to   | from      | type | packet
//	sent tagged     | headroom ... | to | from | 8100 | id | type | packet
//
// A device whose only port is untagged pays nothing for it.

// frameMin is the shortest Ethernet frame without its check sequence (IEEE 802.3): one that
// was padded with its tag is too short without. No driver pads what AF_XDP sends.
const frameMin = 60

// untag takes the tag off a frame, if it has one, and returns whose it is: by tag, or
// Untagged, as which one with a priority alone counts.
func (w *Worker) untag(d *xsk.Desc) (id packet.VLAN, why drop.Reason) {
	frame := w.umem.Bytes(*d)
	id, tag, why := packet.VLANOf(frame)
	if why != drop.Pass || tag == 0 {
		return id, why
	}
	packet.Untag(frame)
	d.Addr += packet.TagLen
	d.Len -= packet.TagLen
	if n := d.Len; n < frameMin {
		d.Len = frameMin
		clear(w.umem.Bytes(*d)[n:]) // what lay here before is nobody's to see
	}
	return id, drop.Pass
}

// demultiplex takes a burst of a device with tagged ports through the path: the frames of
// each port as a burst of their own, in their order. First packets are admitted as if they
// were one burst, to each port its part.
func (w *Worker) demultiplex(d *device, b *burst) {
	all, admissions := b.n, b.admissions
	for _, desc := range b.desc[:all] {
		length := uint64(desc.Len)
		id, why := w.untag(&desc)
		s := d.byVLAN[id]
		if why == drop.Pass && s == nil {
			why = drop.VLANUnexpected
			if id == packet.Untagged {
				why = drop.VLANMissing
			}
		}
		if why != drop.Pass {
			d.ports[0].Received.add(1, length)
			d.ports[0].ReceiveDrops.Add(why, 1)
			w.umem.Free([]xsk.Desc{desc})
			continue
		}
		if len(s.arrived) == 0 {
			d.mixed = append(d.mixed, s)
			s.arrivedBytes = 0
		}
		s.arrived = append(s.arrived, desc)
		s.arrivedBytes += length
	}
	for _, s := range d.mixed {
		b.n = copy(b.desc[:], s.arrived)
		b.admissions = part(admissions, b.n, all)
		s.arrived = s.arrived[:0]
		w.take(s, b, s.arrivedBytes)
	}
	d.mixed = d.mixed[:0]
}

// part returns how many first packets n of all the packets of a burst may have, of those
// that the whole may; 0 is as many as there are.
func part(admissions, n, all int) int {
	if admissions == 0 {
		return 0
	}
	return max(1, admissions*n/all)
}

// decodeTagged is what decode does with a tagged frame on a device that has no tagged
// ports: with a priority alone it counts as untagged.
func (w *Worker) decodeTagged(b *burst, i int) drop.Reason {
	id, why := w.untag(&b.desc[i])
	b.frame[i] = w.umem.Bytes(b.desc[i])
	switch {
	case why != drop.Pass:
		return why
	case id != packet.Untagged:
		return drop.VLANUnexpected
	}
	return packet.Decode(b.frame[i], &b.parsed[i])
}

// tag makes what a port has staged frames of its VLAN. What has no room for a tag in front
// of it is dropped: nothing on the path uses up its headroom.
func (w *Worker) tag(s *share) {
	kept := s.staged[:0]
	for _, d := range s.staged {
		if !d.Prepend(packet.TagLen) {
			s.TxDrops.Add(drop.NoFreeFrame, 1)
			w.umem.Free([]xsk.Desc{d})
			continue
		}
		packet.Tag(w.umem.Bytes(d), s.VLAN)
		kept = append(kept, d)
	}
	s.staged = kept
}
