// Package tap makes the kernel's face of a logical port: a TAP device that stands for
// the port in the kernel's eyes, while the frames of the port itself never reach the
// kernel (package xdp).
//
//	kernel: addresses, ARP, ND, sockets, routing daemons
//	        |                        ^
//	   hf-lan, the TAP device; shared addresses, shared MAC
//	        |                        |
//	      Read                     Write
//	        v                        |
//	     the daemon: policy, tracking, transmit or not
//
// The device lives exactly as long as its descriptor. A daemon that dies, however it
// dies, takes device and addresses along in the same instant, and the node answers for
// them no more. What is not read is not sent and what is not written is not heard, so
// a daemon that must be silent leaves the device as it is and lets it be.
//
// Open gives a device that is up and complete: one method call after the other may
// follow in any order. Read, Write and Fd are for the path: one system call, no
// allocation, no lock. One goroutine reads; several may write. SetMTU and SetCarrier
// are for the control side, from any goroutine, and work in the network namespace in
// which Open was called. Close comes after the last use of everything else.
//
// Frames are whole Ethernet frames without any header before them, and complete: no
// checksum is left to hardware, no frame exceeds the MTU (plus Ethernet header and one
// VLAN tag).
package tap
