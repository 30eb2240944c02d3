package xdp

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"holdfast/dataplane/packet"
)

// openReception makes the device receive what the port needs and returns the socket
// that holds it so: the memberships end with the socket, and so with the process.
//
// The device keeps its own Ethernet address, which no node shares. The shared one is
// added to the device's filter (dev_uc_add), which most hardware holds several of; the
// kernel itself falls back to promiscuous reception where the hardware does not. Group
// addresses are all wanted: who listens to them is known to the TAP, not here.
// Without a shared address every frame is wanted.
//
// The socket's protocol is 0: it receives nothing itself.
func openReception(ifindex int, mac packet.MAC) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", explain(err))
	}
	for _, m := range memberships(ifindex, mac) {
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return -1, errors.Join(fmt.Errorf("receive %s: %w", mac, explain(err)), unix.Close(fd))
		}
	}
	return fd, nil
}

func memberships(ifindex int, mac packet.MAC) []unix.PacketMreq {
	index := int32(ifindex)
	if mac == (packet.MAC{}) {
		return []unix.PacketMreq{{Ifindex: index, Type: unix.PACKET_MR_PROMISC}}
	}
	shared := unix.PacketMreq{Ifindex: index, Type: unix.PACKET_MR_UNICAST, Alen: uint16(len(mac))}
	copy(shared.Address[:], mac[:])
	return []unix.PacketMreq{shared, {Ifindex: index, Type: unix.PACKET_MR_ALLMULTI}}
}
