package node

import (
	"holdfast/cmd/internal/api"
	"holdfast/cmd/internal/explain"
	"holdfast/dataplane/gate"
)

// Explain implements api.Daemon: it asks what is in force at this moment, beside the workers,
// and changes nothing.
func (d *daemon) Explain(r api.ExplainRequest) (api.Explained, error) {
	g := d.generation()
	v := explain.View{Policy: g.policy, Snapshot: d.snapshot.Load(), Rule: d.ruleName, Proxy: d.synProxy}
	if v.Snapshot.Rules != g.snapshot.Rules { // a reload came in between
		v.Snapshot = g.snapshot
	}
	for _, p := range d.ports {
		v.Ports = append(v.Ports, &p.Port)
	}
	x, err := v.Explain(&r, gate.Now())
	return api.Explained{
		Node: d.name, File: g.policy.File, Hash: hash(g.hash), Generation: g.version.Number, Explanation: x,
	}, err
}
