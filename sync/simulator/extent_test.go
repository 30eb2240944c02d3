//go:build !race

package simulator

// gateSchedules is what the gate runs.
const gateSchedules = 500

// gateElections is what the gate runs of schedules of elections.
const gateElections = 200

// gateTwice is how many schedules run twice, to see that they run alike.
const gateTwice = 20
