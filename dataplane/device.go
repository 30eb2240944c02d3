package dataplane

import (
	"errors"
	"fmt"
	"sync/atomic"

	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// device is one worker's share of a network device: the sockets that all logical ports on
// it have in common, and which frame is whose.
//
//	socket --burst--> no tagged port here: all of it is the one port's
//	                  else by tag, see vlan.go: a burst for each port that has a frame in it
//
//	ports' staged frames --(tag)--> sockets[0], one kick for all
type device struct {
	ports   []*share              // in the order of their IDs, at least one; what is nobody's is counted on the first
	byVLAN  *[packet.VLANs]*share // nil: one port, untagged. By identifier; nil entries: no such port
	mixed   []*share              // scratch of demultiplex
	queues  []int                 // this worker's
	sockets []*xsk.Socket         // by position in queues; nil: not open, see retryAt
	mode    atomic.Uint32         // xsk.Mode of the socket opened last
	retryAt int64                 // when to try to open missing sockets again
	first   int                   // the port whose frames go first this turn: a full ring is not always the same one's loss

	pressure int // full bursts in a row, see pressure.go
}

// addPorts makes the worker's shares of ports, in the order of their IDs, and of the
// devices that they are on.
func (w *Worker) addPorts(ports []*Port) {
	byIndex := map[int]*device{}
	for _, p := range ports {
		d := byIndex[p.Ifindex]
		if d == nil {
			d = &device{}
			byIndex[p.Ifindex] = d
			w.devices = append(w.devices, d)
		}
		s := &share{Port: p, device: d}
		w.shares = append(w.shares, s)
		d.ports = append(d.ports, s)
	}
	for _, d := range w.devices {
		d.index()
	}
}

// index makes byVLAN, where there is anything to tell apart.
func (d *device) index() {
	if len(d.ports) == 1 && d.ports[0].VLAN == packet.Untagged {
		return
	}
	d.byVLAN = new([packet.VLANs]*share)
	for _, s := range d.ports {
		d.byVLAN[s.VLAN] = s
		s.arrived = make([]xsk.Desc, 0, burstMax)
	}
	d.mixed = make([]*share, 0, len(d.ports))
}

// open opens whatever sockets of a device are missing and enters them in its map.
func (w *Worker) open(d *device) error {
	p := d.ports[0].Port // all of a device have these in common
	for i, queue := range d.queues {
		if d.sockets[i] != nil {
			continue
		}
		sock, err := xsk.Open(xsk.Config{Ifindex: p.Ifindex, Queue: queue, Umem: w.umem, Modes: p.Modes})
		if err != nil {
			return fmt.Errorf("port %s: %w", p.Name, err)
		}
		if err := p.Program.SetSocket(queue, sock.Fd()); err != nil {
			return errors.Join(fmt.Errorf("port %s: %w", p.Name, err), sock.Close())
		}
		d.sockets[i] = sock
		d.mode.Store(uint32(sock.Mode()))
	}
	return nil
}

// shut closes a device's sockets, with whatever lies in their rings, and lets refill open
// them again.
func (d *device) shut() {
	for i, sock := range d.sockets {
		if sock == nil {
			continue
		}
		// The frames are accounted for by Close whether or not the kernel complains.
		_ = sock.Close()
		d.sockets[i] = nil
	}
	d.retryAt = 0
}

// out returns the socket to transmit by, nil where it is not open.
func (d *device) out() *xsk.Socket {
	if len(d.sockets) == 0 {
		return nil
	}
	return d.sockets[0]
}
