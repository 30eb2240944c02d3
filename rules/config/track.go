package config

import (
	"fmt"
	"slices"
	"time"
)

// Track is something whose state has a say in whether this node should serve.
type Track struct {
	Name Value[string]
	Kind Value[TrackKind]
	// Weight is what is taken off this node's priority while it is down; not Written: a node
	// with a fault does not serve where one without could.
	Weight  Value[int]
	Port    Value[string]   // of TrackCarrier; of a probe: the port that it leaves by
	Device  Value[string]   // of a probe: the device that it leaves by, which is no port's
	Gateway Value[string]   // of TrackGateway
	Command []Value[string] // of TrackProgram: its path and arguments
	Probe   Probe           // of probes; TrackProgram has its Patience
	// DownAfter and UpAfter say how long a carrier must be lost, or be back, to count.
	DownAfter, UpAfter Value[time.Duration]
	// Hold is how long a standby remembers that what it can no longer ask was dead.
	Hold Value[time.Duration]
}

// TrackKind is what is tracked.
type TrackKind uint8

// The kinds. The zero value is none.
const (
	TrackNone     TrackKind = iota
	TrackCarrier            // the carrier of a port's device
	TrackGateway            // the health of a gateway of the policy
	TrackICMP               // a target that answers pings
	TrackNeighbor           // a target that answers ARP or neighbour solicitations
	TrackTCP                // a target that accepts connections
	TrackProgram            // the exit status of a program
	TrackSelf               // this daemon: workers that stand still, a table that is full
)

// String returns the word of the file.
func (k TrackKind) String() string {
	return [...]string{"none", "carrier", "gateway", "icmp", "neighbor", "tcp", "program", "self"}[k]
}

// MarshalText is String.
func (k TrackKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Defaults and bounds of a Track. A carrier that is lost counts at once, but for a bounce
// of the link; one that is back has negotiated, and the switch behind it may still learn.
const (
	DefaultDownAfter = 10 * time.Millisecond
	DefaultUpAfter   = 2 * time.Second
	DefaultHold      = time.Minute

	tracksMax   = 64
	trackWeight = 1000 // as much as a priority may be
)

// trackKeys are the keys that belong to one kind alone, or to some.
var trackKeys = map[TrackKind][]string{
	TrackCarrier:  {"port", "down_after", "up_after"},
	TrackGateway:  {"gateway", "hold"},
	TrackICMP:     {"target", "port", "device", "hold", "interval", "timeout", "lost", "answered"},
	TrackNeighbor: {"target", "port", "device", "hold", "interval", "timeout", "lost", "answered"},
	TrackTCP:      {"target", "port", "device", "hold", "interval", "timeout", "lost", "answered"},
	TrackProgram:  {"command", "interval", "timeout", "lost", "answered"},
	TrackSelf:     {},
}

// probes are the kinds that ask a target, and how.
var probes = map[TrackKind]ProbeKind{TrackICMP: ProbeICMP, TrackNeighbor: ProbeNeighbor, TrackTCP: ProbeTCP}

// readTrack reads one table of [track].
func (d *decoder) readTrack(name Value[string], t *table) Track {
	v := Track{
		Name: name, DownAfter: byDefault(DefaultDownAfter), UpAfter: byDefault(DefaultUpAfter), Hold: byDefault(DefaultHold),
	}
	need(t, "kind", choice("a kind of track", TrackCarrier, TrackGateway, TrackICMP, TrackNeighbor, TrackTCP, TrackProgram, TrackSelf), `"carrier"`, &v.Kind)
	one(t, "weight", integer("a weight", 1, trackWeight), &v.Weight)
	one(t, "port", named("port", portNameMax), &v.Port)
	one(t, "device", deviceName, &v.Device)
	one(t, "gateway", named("gateway", nameMax), &v.Gateway)
	v.Command = readCommand(t)
	one(t, "target", probeTarget, &v.Probe.Target)
	v.Probe.Patience = readPatience(t)
	one(t, "down_after", duration(0, time.Minute), &v.DownAfter)
	one(t, "up_after", duration(0, time.Hour), &v.UpAfter)
	one(t, "hold", duration(time.Second, 24*time.Hour), &v.Hold)
	t.close("")
	if v.Kind.Written() {
		v.check(d, t)
	}
	return v
}

// check finds what is missing, and what is there for nothing.
func (v *Track) check(d *decoder, t *table) {
	own := trackKeys[v.Kind.V]
	for _, keys := range trackKeys {
		for _, key := range keys {
			if n := t.n.get(key); n != nil && !slices.Contains(own, key) {
				t.refuse(n.pos, fmt.Sprintf("%s means nothing for kind = %q", key, v.Kind.V), "remove it")
				own = append(own[:len(own):len(own)], key) // once
			}
		}
	}
	lacks := func(key, example string) {
		if slices.Contains(own, key) && t.n.get(key) == nil {
			t.missing(key, example)
		}
	}
	switch v.Kind.V {
	case TrackCarrier:
		lacks("port", `"lan"`)
	case TrackGateway:
		lacks("gateway", `"isp1"`)
	case TrackProgram:
		lacks("command", `["/usr/local/sbin/check"]`)
	case TrackICMP, TrackNeighbor, TrackTCP:
		v.Probe.Kind = Value[ProbeKind]{V: probes[v.Kind.V], Pos: v.Kind.Pos}
		v.Probe.check(t, needful)
		switch port, device := t.n.get("port") != nil, t.n.get("device") != nil; {
		case port && device:
			t.refuse(v.Device.Pos, "both port and device: a probe leaves by one of them", "remove one of the two")
		case !port && !device:
			t.missing("port", `"wan", or device = "eth0" for one that is no port's`)
		}
	}
}

// checkTracks: what a track leaves by is there, and carriers are told of once.
func (n *Node) checkTracks(d *decoder, used map[string]purpose) {
	carriers := map[string]Position{}
	if len(n.Tracks) > tracksMax {
		d.refuse(n.Tracks[tracksMax].Name.Pos, fmt.Sprintf("more than %d tracks", tracksMax), "put several checks into one program")
	}
	for i := range n.Tracks {
		v := &n.Tracks[i]
		if other, ok := used[v.Device.V]; ok && v.Device.Written() {
			d.refuse(v.Device.Pos, fmt.Sprintf("device %s is that of %s at %s, which Holdfast has taken over", v.Device.V, other.what, other.at), "name the port, or another device")
		}
		if v.Port.Written() && n.Device(v.Port.V) == nil {
			var ports []string
			for _, at := range n.Devices {
				ports = append(ports, at.Port.V)
			}
			d.refuse(v.Port.Pos, fmt.Sprintf("unknown port %q", v.Port.V), suggest(v.Port.V, ports, "ports"))
		}
		if v.Kind.V != TrackCarrier || !v.Port.Written() {
			continue
		}
		if at, ok := carriers[v.Port.V]; ok {
			d.refuse(v.Port.Pos, fmt.Sprintf("the carrier of port %s is tracked twice, first at %s", v.Port.V, at), "remove one of the two")
			continue
		}
		carriers[v.Port.V] = v.Port.Pos
	}
}

// Argv returns the program and its arguments.
func (v *Track) Argv() []string { return words(v.Command) }
