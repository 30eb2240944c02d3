package lab

import (
	"net/netip"
	"os"
)

// Loopback returns address i, 0 to 3, of four on the loopback that no other process has: tests and
// measurements that run side by side on one machine would take each other's datagrams.
//
//	127.(process id, 22 bits)(i, 2 bits)
func Loopback(i int) netip.Addr {
	n := uint32(os.Getpid())<<2 | uint32(i&3)
	return netip.AddrFrom4([4]byte{127, byte(n >> 16), byte(n >> 8), byte(n)})
}
