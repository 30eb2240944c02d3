//go:build race

package simulator

// gateSchedules is what the gate runs under the race detector, which makes them ten times as long.
const gateSchedules = 60
