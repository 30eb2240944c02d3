package xsk

import "fmt"

// PortQueues is a port, its device and the queues of that device.
type PortQueues struct {
	Device string
	Channels
}

// QueueRef names one receive queue.
type QueueRef struct {
	Port  int // index into the ports given to Assign
	Queue int
}

// Assign gives every receive queue of every port exactly one of the workers 0 to
// workers-1: queue q is worker q mod workers'. The result lists each worker's queues,
// by port, then by queue; the first one of a port is the one to transmit on.
//
// Every worker needs a queue of each port, or it could not transmit there. Where a port
// has fewer than there are workers the error names the command that gives it more.
func Assign(ports []PortQueues, workers int) ([][]QueueRef, error) {
	if workers < 1 {
		return nil, fmt.Errorf("%d workers: there must be at least one", workers)
	}
	for _, p := range ports {
		if fewest := min(p.Receive, p.Transmit); fewest < workers {
			return nil, fmt.Errorf("%s has %d receive and %d transmit queues for %d workers, and each needs one of each: run `ethtool -L %s combined %d` (`rx %d tx %d` where the device has no combined channels), or run %d workers",
				p.Device, p.Receive, p.Transmit, workers, p.Device, workers, workers, workers, max(1, fewest))
		}
	}
	assigned := make([][]QueueRef, workers)
	for port, p := range ports {
		for queue := range p.Receive {
			w := queue % workers
			assigned[w] = append(assigned[w], QueueRef{Port: port, Queue: queue})
		}
	}
	return assigned, nil
}
