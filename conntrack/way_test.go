package conntrack

import (
	"testing"

	"holdfast/dataplane/packet"
)

// TestQ5_WayOfBothDirections: the replies go where the first packet came from.
func TestQ5_WayOfBothDirections(t *testing.T) {
	for _, c := range []Class{
		{Ingress: 0, Egress: 1, Gateway: 3}, {Ingress: 63, Egress: 0}, {Ingress: packet.NoPort, Egress: 5, Gateway: GatewaysMax},
		{Ingress: 2, Egress: packet.NoPort}, {Ingress: 7, Egress: 7, Gateway: 1},
	} {
		there, back := c.Way(Original), c.Way(Reply)
		if there != (Way{Original, c.Ingress, c.Egress, c.Gateway}) || back != (Way{Reply, c.Egress, c.Ingress, c.Gateway}) {
			t.Errorf("%+v: %+v and %+v", c, there, back)
		}
		for _, w := range []Way{there, back} {
			r := Result{class: c.key(), Direction: w.Direction}
			if r.Way() != w || r.Exit() != w.Exit || r.Gateway() != w.Gateway {
				t.Errorf("%+v: the result says %+v, %d, %d", w, r.Way(), r.Exit(), r.Gateway())
			}
		}
	}
}
