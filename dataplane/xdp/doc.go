// Package xdp makes a network device a data port of Holdfast: it attaches the kernel
// programs of programs.c, which give every frame of the device to an AF_XDP socket or
// to nobody, and take the kernel's own voice on it.
//
// # Silent by construction
//
//	                    +-------------------- device ---------------------+
//	socket of queue n <-| holdfast_rx (XDP) <------------------ receive   |<-- wire
//	        nobody    <-|   no socket, ring full: XDP_DROP                |
//	                    |                                                 |
//	the kernel's own  ->| holdfast_egress (clsact): TC_ACT_SHOT, counted  |
//	socket of queue n ->| --------------------------------------> transmit|--> wire
//	                    +-------------------------------------------------+
//
// No path exists on which a frame reaches the kernel's stack, or on which the stack
// reaches the wire: no ARP answer, no duplicate address detection, no reset. What the
// node itself has to say goes through the TAP of the port (package tap) and leaves by
// the daemon.
//
// Attachment is by netlink and stays with the device. It is neither a bpf_link, which
// would go with the process, nor pinned, because a pin stands in a mount namespace and
// goes with that. So a daemon that is killed, however it was started, leaves a mute
// device: its sockets are gone, and both programs drop all they see.
//
// # Life
//
//	     Attach                  SetSocket...          Up
//	any --------> mute and down -------------> mute -------> up, sockets receive
//	                   ^                                      |  Close, or death
//	                   | Attach, of a later daemon            v
//	                   +-------------------------------- mute, up or down
//	                                                          |  Detach
//	                                                          v
//	                                       down, without addresses, the kernel's again
//
// Attach silences the kernel first, then takes the device down, and only then changes
// what receives. Programs of an earlier Holdfast are replaced in one step each, so the
// port never opens in between. A device that serves a living Holdfast is refused
// (ErrInUse), and so is one that carries programs of anybody else (ErrForeignProgram);
// both before anything is touched. The device is brought up by Up, once its sockets
// are in their slots, because a frame that finds no socket is lost.
//
// Attach, Attached and Detach work in the network namespace of the calling thread. A
// Program stays with the namespace it was made in, and its methods may be called from
// any goroutine at once, Close last.
//
// # What it is not
//
// It does not silence who bypasses the egress hook as AF_XDP does: programs that send
// through AF_PACKET with PACKET_QDISC_BYPASS, pktgen and netconsole. Nor firmware that
// speaks by itself (LLDP agents, a management controller on a shared NIC). All of these
// are the administrator's own doing.
package xdp
