// Package demo shows what Holdfast exists for: two firewall nodes as real processes in
// network namespaces, real TCP of the running kernel through them, the active one
// killed with SIGKILL in mid-transfer, and a report of what the connections noticed.
//
//	  client ns                                              server ns
//	10.0.0.10, .11                                         203.0.113.10
//	      |c0                                                    |s0
//	 [switch lan]---------+                       +---------[switch wan]
//	      |               |                       |              |
//	      |lan          lan|                     |wan            |wan
//	 +---------+     +---------+            (each node has both ports)
//	 |  fw-a   |     |  fw-b   |     shared: 10.0.0.1 on lan, 203.0.113.2 on wan
//	 +---------+     +---------+
//	      |sync           |sync
//	      +---192.0.2.0/30+
//
// Nothing in it is simulated: hosts and switches are the kernel's, the nodes run
// `holdfast run` with ordinary configuration files, and the figures are what the
// client's sockets saw.
package demo
