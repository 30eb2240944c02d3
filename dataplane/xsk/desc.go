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
