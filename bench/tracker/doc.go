// Package tracker measures the connection tracker alone: what a packet of an established
// connection costs, what a new connection costs, what one takes in memory, and what a
// second worker adds. No sockets and no root are needed.
//
// The frames that are measured lie in cache, as they do after a receive in copy mode; the
// connections are drawn at random, so a large table's entries do not.
package tracker
