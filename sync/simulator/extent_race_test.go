//go:build race

package simulator

// gateSchedules is what the gate runs under the race detector, which makes them ten times as long.
const gateSchedules = 30

// gateElections is what the gate runs of schedules of elections.
const gateElections = 10

// gateTwice is how many schedules run twice, to see that they run alike.
const gateTwice = 5
