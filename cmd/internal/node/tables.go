package node

import (
	"context"
	"time"

	"holdfast/dataplane/gate"
)

// tableTick is how much longer than its lifetime an entry of a table stays at most.
const tableTick = 250 * time.Millisecond

// expireTables takes entries whose lifetime is over out of the tables until ctx ends.
func (d *daemon) expireTables(ctx context.Context) {
	tick := time.NewTicker(tableTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.snapshot.Load().Tables.Expire(gate.Now())
		}
	}
}
