package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
)

// example writes a file of examples/ into the folder with some words replaced, each of which must
// be there, and returns its path.
func (f *files) example(name string, replace ...string) string {
	f.t.Helper()
	text, err := os.ReadFile("../../examples/" + name)
	f.check(err)
	info, err := os.Stat("../../examples/" + name)
	f.check(err)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(string(text), replace[i]) {
			f.t.Fatalf("%s has no %q", name, replace[i])
		}
	}
	name = filepath.Base(name)
	f.write(name, strings.NewReplacer(replace...).Replace(string(text)), info.Mode().Perm())
	return filepath.Join(f.dir, name)
}

// real starts a program of the distribution at a place.
func real(t *testing.T, ns *lab.Namespace, path string, args ...string) *lab.Process {
	t.Helper()
	said := &log{}
	p, err := ns.Start(context.Background(), lab.Program{Path: path, Args: args, Stdout: said, Stderr: said})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s in %s said:\n%s", path, ns.Name(), said)
		}
	})
	return p
}

// wanted skips where a program of the distribution is not installed.
func wanted(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed (Debian: keepalived, bird2)", name)
		}
	}
}

// TestManager_Keepalived: with examples/keepalived the active node is the one that keepalived has
// made master, there and back; and where no keepalived runs the role stays.
func TestManager_Keepalived(t *testing.T) {
	wanted(t, "keepalived")
	s := newSite(t, 0)
	a, b := s.startPair(t)
	f := s.flow(t)
	f.answers(t)
	manager := func(d *daemon) *lab.Process {
		files := d.place.files
		us := []string{"/usr/local/bin/holdfast", built(t), "/run/holdfast/holdfast.sock", files.socket}
		files.example("keepalived/holdfast-ready", us...)
		files.example("keepalived/holdfast-notify", us...)
		conf := files.example("keepalived/keepalived.conf", "interface eth3", "interface sync", "/etc/keepalived/", files.dir+"/",
			"    enable_script_security\n", "") // it refuses scripts below /tmp
		return real(t, d.place.Namespace, "keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file", conf,
			"--pid", filepath.Join(files.dir, "pid"), "--vrrp_pid", filepath.Join(files.dir, "vrrp.pid"))
	}
	end := func(p *lab.Process) {
		t.Helper()
		if err := p.Kill(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-p.Done()
	}
	master := func(d *daemon) bool {
		links, err := d.place.Handle().LinkByName("sync")
		if err != nil {
			return false
		}
		all, err := d.place.Handle().AddrList(links, unix.AF_INET)
		return err == nil && strings.Contains(fmt.Sprint(all), "192.0.2.3/32")
	}
	first := manager(b)
	eventually(t, "fw-b is master, and active", func() bool { return master(b) && b.group().Role == "active" && a.group().Role == "standby" })
	f.answers(t)
	second := manager(a)
	eventually(t, "fw-a is ready", func() bool { return a.group().Ready })
	end(first)
	eventually(t, "fw-a is master, and active", func() bool {
		return master(a) && !master(b) && a.group().Role == "active" && b.group().Role == "standby"
	})
	f.answers(t)
	b.stop(t, unix.SIGTERM) // now nobody else could serve
	end(second)
	if g := a.group(); g.Role != "active" {
		t.Errorf("without a manager: %+v", g)
	}
	f.answers(t)
}

// bgpRouter is a neighbour of both nodes, over networks that are no port's.
const bgpRouter = `router id 198.18.0.2;
protocol device { }
protocol bgp fw_a { local 198.18.0.2 as 64513; neighbor 198.18.0.1 as 64512; connect retry time 1; ipv4 { import all; export none; }; }
protocol bgp fw_b { local 198.18.1.2 as 64513; neighbor 198.18.1.1 as 64512; connect retry time 1; ipv4 { import all; export none; }; }
`

// TestManager_BIRD: with examples/bird a router hears of the group's network from the active node
// alone, after each change of role, and also when the active daemon is killed and no hook runs.
func TestManager_BIRD(t *testing.T) {
	wanted(t, "bird", "birdc")
	s := newSite(t, 0)
	router, err := s.lab.Namespace("router")
	if err != nil {
		t.Fatal(err)
	}
	prefix := func(i, host int) []netip.Prefix {
		return []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("198.18.%d.%d/30", i, host))}
	}
	for i, p := range s.places {
		err = errors.Join(err, s.lab.Veth(lab.End{Namespace: p.Namespace, Name: "bgp", Addresses: prefix(i, 1)},
			lab.End{Namespace: router, Name: fmt.Sprint("r", i), Addresses: prefix(i, 2)}))
		f, net := p.files, fmt.Sprintf("198.18.%d.", i)
		control := filepath.Join(f.dir, "bird.ctl")
		conf := f.example("bird/bird.conf", "198.18.0.", net)
		hook := f.example("bird/on-role", "/run/bird/bird.ctl", control)
		f.add("node.toml", "[[hooks]]\non = [\"role\"]\ncommand = [\""+hook+"\"]\n")
		real(t, p.Namespace, "bird", "-f", "-c", conf, "-s", control)
	}
	if err != nil {
		t.Fatal(err)
	}
	there := newFiles(t)
	there.write("router.conf", bgpRouter, 0o644)
	control := filepath.Join(there.dir, "router.ctl")
	real(t, router, "bird", "-f", "-c", filepath.Join(there.dir, "router.conf"), "-s", control)
	heard := func() string {
		out, err := exec.Command("birdc", "-s", control, "show", "route", "for", "10.0.0.10").CombinedOutput()
		if err != nil && !strings.Contains(string(out), "Network not found") {
			return err.Error()
		}
		var all []string
		for _, node := range []string{"fw_a", "fw_b"} {
			if strings.Contains(string(out), "["+node+" ") {
				all = append(all, node)
			}
		}
		return strings.Join(all, " ")
	}
	a, b := s.startPair(t)
	eventually(t, "the network is announced by fw-a alone", func() bool { return heard() == "fw_a" })
	b.tell(t, "promote").said(t)
	eventually(t, "the network is announced by fw-b alone", func() bool { return heard() == "fw_b" })
	eventually(t, "fw-a is ready", func() bool { return a.group().Ready })
	b.stop(t, unix.SIGKILL)
	eventually(t, "fw-a serves, and announces it alone", func() bool { return a.group().Role == "active" && heard() == "fw_a" })
	a.stop(t, unix.SIGTERM)
	eventually(t, "nobody announces it", func() bool { return heard() == "" })
}
