// Package explain puts what the path would do with a packet, and why, into the API's words.
//
// It decides nothing: dataplane.Explainer asks the code of the path, and dataplane.Follower
// lets that track the packets of a trace. A running node gives its Snapshot and its policy; Load makes
// both of a file alone, without a kernel: then routes are those of the ports' networks and
// of the gateways, no neighbour is known, and tables hold what is written in the policy.
package explain
