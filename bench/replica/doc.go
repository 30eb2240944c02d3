// Package replica measures replication between two nodes of one process: the production
// node of sync/cluster, its sockets and sessions, over the loopback, with a table and a lane
// but without ports and packets.
package replica
