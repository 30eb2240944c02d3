package node

import (
	"net/netip"
	"time"

	"holdfast/dataplane/gate"
	"holdfast/rules/table"
	"holdfast/sync/wire"
)

// tableTold is how many changes are told before a look at what peers lack.
const tableTold = 256

// tableTeller tells the peers what a command has changed in a table, no faster than they take
// it. What they do not take in time they ask for by themselves.
type tableTeller struct {
	d      *daemon
	t      *table.Table
	change wire.TableChange
	told   int
	lagged time.Duration
}

// entry tells what now holds of an entry.
func (l *tableTeller) entry(p netip.Prefix) {
	if len(l.d.links) > 0 && l.t.Tell(p, gate.Now(), &l.change.Change) {
		l.tell()
	}
}

// all tells what now holds of the whole table.
func (l *tableTeller) all() {
	if len(l.d.links) == 0 {
		return
	}
	for l.change.Change = range l.t.Changes(gate.Now()) {
		l.tell()
	}
}

func (l *tableTeller) tell() {
	l.d.shared.TableChange(&l.change)
	if l.told++; l.told%tableTold != 0 {
		return
	}
	l.d.shared.Flush()
	for l.lagged < peerPatient && l.d.cluster.Lag() > killAhead && !l.d.killing.ending.Load() {
		l.lagged += killPause
		time.Sleep(killPause)
	}
}

// done sends what is open, if something was told.
func (l *tableTeller) done() {
	if l.told > 0 {
		l.d.shared.Flush()
	}
}

// tellTable tells the peers of a table that was changed as a whole.
func (d *daemon) tellTable(t *table.Table) {
	peers := tableTeller{d: d, t: t}
	peers.all()
	peers.done()
}
