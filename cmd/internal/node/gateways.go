package node

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/gateway"
)

// defaultRouteMetric keeps a gateway's default route behind one that the machine has by
// other means (its management network), for the node's own traffic. The path looks at
// routes over TAPs only, so for forwarded packets there are no others. The second gateway
// of the file has the next metric, and so on: the first holds as long as its link is up.
const defaultRouteMetric = 4846

// addDefaultRoutes adds the gateways' default routes over the TAPs.
func (d *daemon) addDefaultRoutes(order []gateway.Number) error {
	for rank, n := range order {
		g := &d.gateways.All()[n-1]
		if err := d.ports[g.Port].addDefaultRoute(g, defaultRouteMetric+rank); err != nil {
			return err
		}
	}
	return nil
}

func (p *port) addDefaultRoute(g *gateway.Gateway, metric int) error {
	dst, via := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, g.Addr.Netip()
	if via.Is6() {
		dst = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	if err := netlink.RouteReplace(&netlink.Route{
		LinkIndex: p.tap.Ifindex(), Dst: dst, Gw: net.IP(via.AsSlice()), Priority: metric,
	}); err != nil {
		return fmt.Errorf("gateway %s: default route over %v on port %s: %w: the gateway must lie in a network of the port's addresses", g.Name, via, p.Name, err)
	}
	return nil
}

// fibGateways returns the gateways as the routes' table wants them.
func fibGateways(set *gateway.Set) []fib.Gateway {
	var all []fib.Gateway
	for _, g := range set.All() {
		all = append(all, fib.Gateway{Port: g.Port, Addr: g.Addr})
	}
	return all
}

// gatewayName returns the name of a gateway, "" for none.
func (d *daemon) gatewayName(number uint8) string {
	if all := d.gateways.All(); number != 0 && int(number) <= len(all) {
		return all[number-1].Name
	}
	return ""
}

// Gateways implements api.Daemon.
func (d *daemon) Gateways() (api.Gateways, error) {
	list := api.Gateways{Gateways: []api.Gateway{}}
	live := [gateway.Max + 1]int{}
	d.table.Classes(func(c conntrack.Class, n int) { live[c.Gateway] += n })
	down := d.snapshot.Load().Down
	for i, g := range d.gateways.All() {
		n := gateway.Number(i + 1)
		one := api.Gateway{
			Name: g.Name, Port: d.portName(g.Port), Address: g.Addr.String(), State: "up",
			Connections: live[n],
		}
		if down.Has(n) {
			one.State = "down"
		}
		one.Why = "not asked: the policy has no probe for it"
		if s, ok := d.gatewayState(n); ok {
			one.Why, one.Loss, one.Latency = s.Why, s.Loss, float64(s.Latency)/1e9
		}
		if hop := d.routes.Table().Gateway(uint8(n)); hop.Kind == fib.Forward {
			one.Neighbor = hop.MAC.String()
		}
		list.Gateways = append(list.Gateways, one)
	}
	return list, nil
}
