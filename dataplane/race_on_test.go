//go:build race

package dataplane

// racing says that the race detector slows everything down tenfold.
const racing = true
