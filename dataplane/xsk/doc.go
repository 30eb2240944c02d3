// Package xsk is Holdfast's own AF_XDP: packet memory, the four rings and the socket.
//
// # Who owns what
//
// A Umem is the packet memory of one worker, cut into frames. Every frame is at any
// time in exactly one place, and the Umem knows which (Account):
//
//	            Alloc                     Transmit                Kick
//	 +--------> held by the worker ---------> staged, tx ring ---------> kernel
//	 |            ^        |                                               |
//	 |    Receive |        | Free                                          v
//	free <--------|--------+                                       completion ring
//	 |  \         |                                                        |
//	 |   \      rx ring <------- kernel <------- fill ring                 |
//	 |    \                                          ^                     |
//	 |     +------------------ Refill ---------------+                     |
//	 +-------------------------- Reclaim ----------------------------------+
//
// A Socket is one queue of one device with four rings. All sockets of a worker stand
// on its one Umem, so a frame received on one port is transmitted on another by
// passing its descriptor on: nothing is copied.
//
// A Umem and its sockets belong to one goroutine; no call is safe for concurrent use.
// Open, Close and NewUmem take milliseconds and allocate: 10 ms a Close, and 22 ms more
// for an Open that follows it on the same queue (RCU grace periods; veth, 2026-11-21),
// so a worker closes all its sockets before it opens the first again. Account walks all
// frames. Every other call is for the packet path: no allocation, no lock, no clock.
//
// # Nothing leaves without a kick
//
// Transmit only writes descriptors into our side of the ring. Kick publishes them and
// makes one system call. So the caller compares its lease with the clock directly
// before each Kick, and what it has not kicked never leaves: not through a driver that
// polls the ring by itself (zero-copy), and not through poll(2), which transmits in
// copy mode (net/xdp/xsk.c, xsk_poll). Descriptors that an earlier kick published and
// the kernel did not take yet would leave by such a poll: Poller leaves these sockets
// out. Close takes back all that has not left.
//
// # Life of the registration
//
// The kernel's registration of a Umem (XDP_UMEM_REG) is made by the first socket and
// lives as long as any socket does; later ones join it through the descriptor of any
// living one (XDP_SHARED_UMEM), so sockets may be closed and opened in any order. When
// the last one goes the registration goes too, and the next Open registers the same
// memory anew. A registration has one mode, zero-copy or copy, for all its sockets
// (xp_assign_dev_shared), and ports may differ: so there is one per mode, on the same
// memory.
//
// The kernel may touch frames of a closed socket for a little longer: a driver's DMA,
// or a packet in flight whose pages are the frame. Such frames stay in limbo until the
// queue is opened again, which the kernel refuses (EBUSY) for just as long, or until
// the device is gone. Others come back at once.
//
// # Not here
//
// The XDP program, the XSKMAP and their order of attachment are package xdp's. Frames
// larger than a frame's room (XDP_USE_SG) are not used: the kernel drops them and
// counts them in Statistics.
package xsk
