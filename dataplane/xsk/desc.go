package xsk

// Desc names bytes in packet memory: struct xdp_desc of <linux/if_xdp.h>, as it stands
// in the rx and tx rings.
//
//	 0                   8           12          16
//	+-------------------+-----------+-----------+
//	| Addr              | Len       | Options   |   native byte order
//	+-------------------+-----------+-----------+
type Desc struct {
	Addr    uint64 // offset of the first byte from the start of the Umem
	Len     uint32 // bytes
	Options uint32 // zero: neither fragments nor metadata are used
}

// Prepend makes the packet begin n bytes earlier, in its headroom, and reports whether
// there was that much.
func (d *Desc) Prepend(n uint32) bool {
	if d.Addr&offsetMask < uint64(n) {
		return false
	}
	d.Addr -= uint64(n)
	d.Len += n
	return true
}
