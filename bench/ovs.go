package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
)

// ovsPrograms are those of Open vSwitch that its peer needs.
var ovsPrograms = []string{"ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl"}

// ovsPaths finds them, also where PATH is that of a user, and the schema of its database
// (OVS_PKGDATADIR names another place, as for its own scripts).
func ovsPaths() (paths map[string]string, schema string, err error) {
	paths = map[string]string{}
	for _, name := range ovsPrograms {
		path, err := exec.LookPath(name)
		if err != nil {
			path, err = exec.LookPath("/usr/sbin/" + name)
		}
		if err != nil {
			return nil, "", errors.New("Open vSwitch is not installed (`make bench-deps` installs it): " + name + " is missing")
		}
		paths[name] = path
	}
	share := os.Getenv("OVS_PKGDATADIR")
	if share == "" {
		share = "/usr/share/openvswitch"
	}
	schema = filepath.Join(share, "vswitch.ovsschema")
	if _, err := os.Stat(schema); err != nil {
		return nil, "", fmt.Errorf("its schema is missing: Open vSwitch is not installed whole: %w", err)
	}
	return paths, schema, nil
}

// ovsFlows are what Holdfast's one rule says, with connection tracking in user space. ARP is
// let through because nobody here answers for f0 and f1: MACs are written as a router does.
func ovsFlows() string {
	return strings.Join([]string{
		"table=0,priority=10,ip,ct_state=-trk,actions=ct(table=1)",
		"table=0,priority=1,arp,actions=normal",
		"table=0,priority=0,actions=drop",
		"table=1,priority=10,ip,in_port=f0,ct_state=+trk+new,actions=ct(commit),mod_dl_dst:" + macS0.String() + ",output:f1",
		"table=1,priority=10,ip,in_port=f0,ct_state=+trk+est,actions=mod_dl_dst:" + macS0.String() + ",output:f1",
		"table=1,priority=10,ip,in_port=f1,ct_state=+trk+est,actions=mod_dl_dst:" + macG0.String() + ",output:f0",
		"table=1,priority=0,actions=drop",
	}, "\n") + "\n"
}

// openVSwitch is Open vSwitch in user space: AF_XDP ports, its own connection tracking, one
// polling thread on the firewall's core; as many connections as it tracks by default, three
// million. The thread never sleeps, so its CPU time says
// nothing. Every start has an empty table and a database of its own.
func openVSwitch(paths map[string]string, schema string) forwarder {
	return forwarder{name: "Open vSwitch", start: func(ctx context.Context, l *line) (at running, err error) {
		dir, err := os.MkdirTemp(l.dir, "ovs-")
		if err != nil {
			return at, err
		}
		var procs []*lab.Process
		at.end = func() {
			for _, p := range procs {
				_ = p.Kill(unix.SIGKILL) // it is gone, then
				<-p.Done()
			}
		}
		defer func() {
			if err != nil {
				at.end()
			}
		}()
		o := ovs{line: l, paths: paths, dir: dir}
		if err := o.tell(ctx, "ovsdb-tool", "create", filepath.Join(dir, "conf.db"), schema); err != nil {
			return at, err
		}
		for _, args := range [][]string{
			{"ovsdb-server", filepath.Join(dir, "conf.db"), "--remote=punix:" + o.socket(), "--unixctl=" + filepath.Join(dir, "db.ctl"), "--verbose=console:off"},
			{"ovs-vswitchd", "unix:" + o.socket(), "--unixctl=" + filepath.Join(dir, "v.ctl"), "--verbose=console:off"},
		} {
			p, err := o.start(ctx, args)
			if err != nil {
				return at, err
			}
			if procs = append(procs, p); len(procs) == 1 {
				if err := l.listens(p, o.socket()); err != nil {
					return at, fmt.Errorf("ovsdb-server: %w", err)
				}
			}
		}
		if err := o.configure(ctx); err != nil {
			return at, err
		}
		at.pids = []int{procs[1].Pid()}
		return at, pinAll(procs[1].Pid(), coreFirewall)
	}}
}

// ovs is one Open vSwitch in the firewall's namespace.
type ovs struct {
	line  *line
	paths map[string]string
	dir   string
}

func (o *ovs) socket() string { return filepath.Join(o.dir, "db.sock") }

func (o *ovs) environment() []string {
	return append(os.Environ(), "OVS_RUNDIR="+o.dir, "OVS_DBDIR="+o.dir, "OVS_LOGDIR="+o.dir)
}

func (o *ovs) start(ctx context.Context, args []string) (*lab.Process, error) {
	return o.line.fw.Start(ctx, lab.Program{Path: o.paths[args[0]], Args: args[1:], Env: o.environment()})
}

// tell runs one of its commands to its end.
func (o *ovs) tell(ctx context.Context, args ...string) error {
	var said bytes.Buffer
	p, err := o.line.fw.Start(ctx, lab.Program{Path: o.paths[args[0]], Args: args[1:], Env: o.environment(), Stderr: &said})
	if err != nil {
		return err
	}
	if err := p.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %.300s", args[0], err, said.String())
	}
	if text := said.String(); strings.Contains(text, "Error detected") { // exit status 0 all the same
		return fmt.Errorf("%s: %.300s", args[0], text)
	}
	return nil
}

func (o *ovs) configure(ctx context.Context) error {
	db := "--db=unix:" + o.socket()
	flows := filepath.Join(o.dir, "flows")
	if err := os.WriteFile(flows, []byte(ovsFlows()), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"ovs-vsctl", "--timeout=20", db, "set", "Open_vSwitch", ".", fmt.Sprintf("other_config:pmd-cpu-mask=%#x", 1<<coreFirewall)},
		{"ovs-vsctl", "--timeout=20", db, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"},
		{"ovs-vsctl", "--timeout=20", db, "add-port", "br0", "f0", "--", "set", "interface", "f0", "type=afxdp",
			"--", "add-port", "br0", "f1", "--", "set", "interface", "f1", "type=afxdp"},
		{"ovs-ofctl", "add-flows", "unix:" + filepath.Join(o.dir, "br0.mgmt"), flows},
	} {
		if err := o.tell(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
