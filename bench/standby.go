package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
	"holdfast/sync/seal"
)

// Addresses of the sync link.
var (
	addrY0 = netip.MustParsePrefix("192.0.2.1/30")
	addrY1 = netip.MustParsePrefix("192.0.2.2/30")
)

// addStandby gives a line a second firewall that stands by, on the generator's core:
//
//	ns fw [y0 192.0.2.1/30]==veth==[y1 192.0.2.2/30] ns standby [b0] [b1]: ports that nobody is at
func (l *line) addStandby() (err error) {
	if l.standby, err = l.lab.Namespace("standby"); err != nil {
		return err
	}
	nobody, err := l.lab.Namespace("nobody")
	if err != nil {
		return err
	}
	for _, port := range []string{"b0", "b1"} {
		if err := l.lab.Veth(lab.End{Namespace: l.standby, Name: port}, lab.End{Namespace: nobody, Name: port}); err != nil {
			return err
		}
		if err := errors.Join(l.standby.OffloadsOff(port, lab.TSO, lab.GSO, lab.TxChecksum), l.standby.OffloadsOn(port, lab.GRO), nobody.OffloadsOff(port)); err != nil {
			return err
		}
	}
	return l.lab.Veth(lab.End{Namespace: l.fw, Name: "y0", Addresses: []netip.Prefix{addrY0}},
		lab.End{Namespace: l.standby, Name: "y1", Addresses: []netip.Prefix{addrY1}})
}

// told returns how many bytes the firewall has sent on the sync link, headers included.
func (l *line) told() (uint64, error) {
	y0, err := l.fw.Link("y0")
	if err != nil {
		return 0, err
	}
	return y0.Attrs().Statistics.TxBytes, nil
}

// holdfastPair is the daemon with another one that stands by, ready.
func holdfastPair(binary string, connections int) forwarder {
	return forwarder{name: "holdfast replicating", start: func(ctx context.Context, l *line) (running, error) {
		var procs [2]*lab.Process
		key := seal.FormatKeyFile(seal.NewKey())
		nodes := [2]daemon{
			{name: "fw", dir: l.dir, space: l.fw, devices: [2]string{"f0", "f1"}},
			{name: "standby", dir: filepath.Join(l.dir, "standby"), space: l.standby, devices: [2]string{"b0", "b1"}},
		}
		for i, link := range [2][3]string{{"y0", addrY0.Addr().String(), addrY1.Addr().String()}, {"y1", addrY1.Addr().String(), addrY0.Addr().String()}} {
			d := &nodes[i]
			d.binary, d.connections = binary, connections
			d.cluster = fmt.Sprintf("[cluster]\nkey_file = \"cluster.key\"\nlinks = [{ device = %q, address = \"%s:7400\", peers = [\"%s:7400\"] }]\npriority = { main = %d }\n",
				link[0], link[1], link[2], 100-50*i)
			err := os.MkdirAll(d.dir, 0o700)
			if err == nil {
				err = os.WriteFile(filepath.Join(d.dir, "cluster.key"), key, 0o600)
			}
			if err == nil {
				procs[i], err = l.startHoldfast(ctx, *d)
			}
			if err != nil {
				return running{}, err
			}
		}
		for i, role := range []string{"active", "standby"} {
			if err := l.await(ctx, binary, nodes[i].dir, role); err != nil {
				return running{}, err
			}
		}
		at := running{pids: []int{procs[0].Pid()}, wire: l.told, end: func() {
			endProcess(procs[1])
			endProcess(procs[0])
		}}
		return at, errors.Join(pinAll(procs[0].Pid(), coreFirewall), pinAll(procs[1].Pid(), coreGenerator))
	}}
}

// conntrackdFile configures conntrackd: reliable, over UDP, as its documentation does, with
// buffers that hold what this row sends.
const conntrackdFile = `Sync {
  Mode FTFW { DisableExternalCache Off }
  UDP {
    IPv4_address %s
    IPv4_Destination_Address %s
    Port 3780
    Interface %s
    SndSocketBuffer 8388608
    RcvSocketBuffer 8388608
    Checksum on
  }
}
General {
  HashSize 1048576
  HashLimit %d
  LogFile off
  Syslog off
  LockFile %s/lock
  UNIX { Path %s/socket }
  NetlinkBufferSize 2097152
  NetlinkBufferSizeMaxGrowth 8388608
}
`

// conntrackdPath finds conntrackd, also where PATH is that of a user.
func conntrackdPath() (string, error) {
	for _, name := range []string{"conntrackd", "/usr/sbin/conntrackd", "/sbin/conntrackd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("conntrackd is not installed: `make bench-deps` installs it")
}

// nftablesPair is nftables with conntrackd, and another conntrackd that takes in what it tells.
func nftablesPair(conntrackd string, connections int) forwarder {
	return forwarder{name: "nftables with conntrackd", start: func(ctx context.Context, l *line) (running, error) {
		at, err := nftables("", nftFilter).start(ctx, l)
		if err != nil {
			return running{}, err
		}
		var procs []*lab.Process
		off := at.end
		at.end = func() {
			for _, p := range procs {
				_ = p.Kill(unix.SIGKILL) // it is gone, then
				<-p.Done()
			}
			off()
		}
		for _, d := range []struct {
			space            *lab.Namespace
			link, own, other string
			core             int
		}{
			{l.standby, "y1", addrY1.Addr().String(), addrY0.Addr().String(), coreGenerator},
			{l.fw, "y0", addrY0.Addr().String(), addrY1.Addr().String(), coreFirewall},
		} {
			dir, err := os.MkdirTemp(l.dir, "conntrackd-")
			if err != nil {
				return at, err
			}
			file := filepath.Join(dir, "conf")
			text := fmt.Sprintf(conntrackdFile, d.own, d.other, d.link, 2*connections, dir, dir)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return at, err
			}
			p, err := d.space.Start(ctx, lab.Program{Path: conntrackd, Args: []string{"-C", file}, Stderr: os.Stderr, Stdout: os.Stderr})
			if err != nil {
				return at, err
			}
			procs = append(procs, p)
			if err := l.listens(p, filepath.Join(dir, "socket")); err != nil {
				return at, err
			}
			if err := pinAll(p.Pid(), d.core); err != nil {
				return at, err
			}
		}
		at.pids, at.wire = append(append([]int(nil), at.pids...), procs[1].Pid()), l.told
		return at, nil
	}}
}

// listens waits until a program's socket is there.
func (l *line) listens(p *lab.Process, socket string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return errors.New("conntrackd has ended: see its words above")
		default:
		}
		if time.Now().After(deadline) {
			return errors.New("conntrackd did not become ready")
		}
	}
}
