//go:build !race

package simulator

// gateSchedules is what the gate runs.
const gateSchedules = 500
