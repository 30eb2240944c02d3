package tracker

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// Family is a kind of connection whose memory is measured.
type Family string

// The families. "Twice" means that both ends are translated.
const (
	IPv4Masqueraded Family = "IPv4, masqueraded"
	IPv6Plain       Family = "IPv6"
	IPv6Masqueraded Family = "IPv6, masqueraded"
	IPv6Twice       Family = "IPv6, both ends translated"
)

// tuples returns both tuples of connection i.
func (f Family) tuples(i int) (original, reply packet.Tuple) {
	original, reply = tuples(i)
	if f == IPv4Masqueraded {
		return original, reply
	}
	six := func(a packet.Addr, head byte) packet.Addr {
		copy(a[:12], []byte{0x20, 0x01, 0x0d, 0xb8, head})
		return a
	}
	external := six(reply.Dst, 3)
	original.Src, original.Dst = six(original.Src, 1), six(original.Dst, 2)
	port := reply.DstPort
	reply = original.Reply()
	if f != IPv6Plain {
		reply.Dst, reply.DstPort = external, port
	}
	if f == IPv6Twice {
		reply.Src = six(original.Dst, 4)
	}
	return original, reply
}

// BytesPerConn fills a table of its own with connections of a family and returns by how
// much the process has grown for each: entry, index, counters and what replication needs,
// in whole pages.
func BytesPerConn(f Family, conns int) (float64, error) {
	debug.FreeOSMemory()
	before, err := Anonymous(os.Getpid())
	if err != nil {
		return 0, err
	}
	table, err := conntrack.New(conntrack.Config{Capacity: uint32(conns), Node: 1})
	if err != nil {
		return 0, err
	}
	defer table.Close()
	var r conntrack.Result
	for i := range conns {
		original, reply := f.tuples(i)
		p := segment(original, packet.FlagSYN, 99, 0)
		pr := conntrack.Proposal{Original: original, Reply: reply, Class: conntrack.Class{Rule: 1, Egress: 1}}
		if got := table.Insert(&pr, &p, int64(time.Hour), &r); got != conntrack.Inserted {
			return 0, fmt.Errorf("%s: connection %d: outcome %d, %v", f, i, got, r.Reason)
		}
	}
	debug.FreeOSMemory()
	after, err := Anonymous(os.Getpid())
	if err != nil {
		return 0, err
	}
	return float64(after-before) / float64(conns), nil
}

// Anonymous returns the anonymous memory of a process in bytes.
func Anonymous(pid int) (int64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for scan := bufio.NewScanner(file); scan.Scan(); {
		if rest, ok := strings.CutPrefix(scan.Text(), "RssAnon:"); ok {
			var kib int64
			if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
				return 0, fmt.Errorf("process %d: RssAnon %q: %w", pid, rest, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("process %d has no RssAnon", pid)
}
