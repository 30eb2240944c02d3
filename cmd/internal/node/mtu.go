package node

import (
	"fmt"

	"holdfast/cmd/internal/api"
	"holdfast/sync/cluster"
)

// mtus returns the ports' MTUs by port, which the hello tells the peers: a connection whose
// ends have found what fits through one node must not meet less at another.
func mtus(ports []*port) []uint16 {
	all := make([]uint16, len(ports))
	for i, p := range ports {
		all[i] = uint16(p.MTU) // look has refused what does not fit a frame
	}
	return all
}

// peerMTUs returns the MTUs that a peer has told of by port. Numbers of ports mean the same
// only where the policy is the same.
func (d *daemon) peerMTUs(p *cluster.PeerStatus) map[string]int {
	all := map[string]int{}
	if !p.SamePolicy {
		return all
	}
	for i, mtu := range p.MTUs {
		if i < len(d.ports) {
			all[d.ports[i].Name] = int(mtu)
		}
	}
	return all
}

// unequalMTUs says for which ports a peer has another MTU than this node.
func unequalMTUs(ports []api.Port, p *api.Peer) (all []string) {
	for _, port := range ports {
		if there, told := p.MTUs[port.Name]; told && there != port.MTU {
			all = append(all, fmt.Sprintf("port %s has an MTU of %d here and of %d on %s: connections would stall when the role changes; make them equal (`ip link set %s mtu %d`, then start the daemon anew)",
				port.Name, port.MTU, there, p.Name, port.Device, min(there, port.MTU)))
		}
	}
	return all
}
