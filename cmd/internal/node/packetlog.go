package node

import (
	"errors"
	"os"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane"
	"holdfast/dataplane/capture"
	"holdfast/rules/config"
)

// packetLog is what a daemon has of the log of packets.
type packetLog struct {
	packets *dataplane.PacketLog // where the workers leave them
	logger  *capture.Logger      // who takes them
	ended   chan struct{}        // closed when it has told of the last
}

// openPacketLog makes the workers' rings and who empties them. A file that cannot be written
// does not keep the node from starting.
func (d *daemon) openPacketLog(workers int) (err error) {
	c := &d.node.Log
	l := &d.packetLog
	if l.packets, err = dataplane.NewPacketLog(workers, c.SnapLen.V); err != nil {
		return err
	}
	d.then(func() error {
		if err := l.packets.Close(); !errors.Is(err, os.ErrClosed) {
			return err // of a start that failed
		}
		return nil
	})
	var names []string
	for _, p := range d.ports {
		names = append(names, p.Name)
	}
	var file *capture.File
	if c.File.Written() {
		file = capture.NewFile(capture.FileConfig{
			Path: c.File.V, Size: c.Size.V, Keep: c.Keep.V, SnapLen: c.SnapLen.V, Ports: names, Application: "holdfast " + d.version,
		})
		if err := file.Open(); err != nil {
			d.log.Error("logged packets are lost until this works", "err", err)
		}
	}
	l.logger = capture.New(capture.Config{
		Packets: l.packets, Names: capture.Names{Ports: names, Rule: d.ruleOf}, Lines: d.log, File: file,
		Rate: rateOf(c.Rate.V), RuleRate: rateOf(c.RuleRate.V),
	})
	return nil
}

func rateOf(r config.Rate) capture.Rate { return capture.Rate{Count: r.Count, Per: r.Per} }

// begin runs the logger until end. Where it fails, packets are no longer logged; they are
// forwarded all the same.
func (l *packetLog) begin(d *daemon) {
	l.ended = make(chan struct{})
	go func() {
		defer close(l.ended)
		if err := l.logger.Run(); err != nil {
			d.log.Error("the log of packets has ended", "err", err)
		}
	}()
}

// end waits until all has been told. The workers have ended.
func (l *packetLog) end() error {
	err := l.packets.Close()
	<-l.ended
	return err
}

// counts returns what has become of logged packets: nothing before the start.
func (l *packetLog) counts() capture.Counts {
	if l.logger == nil {
		return capture.Counts{}
	}
	return l.logger.Counts()
}

// logStatus is the log of packets as status shows it.
func (d *daemon) logStatus() api.PacketLog {
	c := d.packetLog.counts()
	return api.PacketLog{
		File: d.node.Log.File.V, Logged: c.Logged, Suppressed: c.Suppressed, Shed: c.Shed, Stored: c.Stored, Lost: c.Lost,
	}
}
