package dataplane

// A first packet costs ten times what a packet of an established connection does. A device
// whose bursts come back full has more waiting than the worker can take, and what does
// not fit its ring is lost whosoever it is. So the longer that lasts, the fewer first
// packets of a burst are admitted, and the rest die early and cheaply (AdmissionShed): the
// ring runs empty again, and those who have a connection keep it.
//
//	full bursts in a row    0      1    2    3 and more
//	first packets a burst   any   32   16    8
//
// Eight a burst is still as many new connections as the worker can make if it does little
// else: shedding costs it a tenth of what admitting does.
const pressureMax = 3

// admissions returns how many first packets a burst of n packets may have, 0 for as many
// as there are.
func (d *device) admissions(n int) int {
	switch {
	case n == burstMax:
		d.pressure = min(d.pressure+1, pressureMax)
	case n < burstMax/2:
		d.pressure = 0
	}
	if d.pressure == 0 {
		return 0
	}
	return burstMax >> d.pressure
}

// shedBursts is how many bursts of a socket a turn takes at most while they shed. What a turn costs
// once (the datagram that tells the peers, the kicks, a look at the kernel's faces) would
// else be paid for eight new connections, where it serves 32 as well. A packet waits longer for
// its turn to end by less than it has waited in a ring that is full: four bursts of 32.
const shedBursts = 4

// sheds reports whether a burst had more first packets than it may have.
func (b *burst) sheds() bool { return b.admissions > 0 && b.admitted > b.admissions }
