package capture

import (
	"fmt"
	"io"
	"slices"
	"time"

	"holdfast/dataplane"
	"holdfast/dataplane/packet"
)

// Crash is a packet that made a worker panic, and what is known of that.
type Crash struct {
	At     time.Time
	Port   string
	Sense  dataplane.LogSense
	Frame  []byte
	Says   string // what the panic said
	Stack  string
	Worker int
}

// WriteCrashes writes the packets of crashes as a pcapng file, with what the panic said and
// the stack as the comment of each.
func WriteCrashes(w io.Writer, ports []string, crashes []Crash, application string) error {
	file := appendHeader(nil, ports, 0, application)
	for i := range crashes {
		c := &crashes[i]
		port := slices.Index(ports, c.Port)
		if port < 0 {
			return fmt.Errorf("crash of %v: there is no port %q", c.At, c.Port)
		}
		p := dataplane.LoggedPacket{Port: packet.PortID(port), Sense: c.Sense, FrameLen: len(c.Frame), Bytes: c.Frame}
		file = appendPacket(file, &p, c.At, fmt.Sprintf("worker %d panicked: %s\n%s", c.Worker, c.Says, c.Stack))
	}
	_, err := w.Write(file)
	return err
}
