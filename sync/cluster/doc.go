// Package cluster makes single nodes a cluster: it elects who is active, keeps the
// sealed sessions to the peers alive, sends heartbeats, extends the lease, and carries
// batches between the journals of this node and the tables of the others.
//
// Election is a pure machine (beats and clock readings in, decisions out). Node drives
// it: one goroutine owns the election and the control lane, one goroutine per peer
// reads datagrams. Workers never wait for either: they seal and send their own lanes.
//
// What a node does and who lets it are apart (drive.go): Receive, Due, Obey and Turn are
// steps without goroutines, sockets or clock; Run takes them as sockets and tickers say,
// and sync/simulator as a seed says. What is added to the node belongs into these steps:
// time comes from Config.Now, randomness from Life.Random, datagrams leave by a
// journal.Way, and nothing waits.
//
// The order that fencing rests on, per heartbeat of an active node:
//
//  1. read the clock
//  2. send the beats
//  3. extend the lease to the reading + Lease, if every worker has moved and the lease still runs
//
// So whatever instant a node is stopped at, its lease ends before a peer that heard
// its last beat counts it as dead: reading + Lease < arrival + DeadAfter.
package cluster
