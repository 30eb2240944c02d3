package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/internal/lab"
)

// behaviour is how a NAT maps and filters, in the words of the configuration.
type behaviour struct{ mapping, filtering string }

// offered are the combinations that the configuration takes.
var offered = []behaviour{
	{"endpoint-independent", "endpoint-independent"},
	{"endpoint-independent", "address-dependent"},
	{"endpoint-independent", "address-and-port-dependent"},
	{"address-and-port-dependent", "address-and-port-dependent"},
}

// stunSite is a firewall with a client and an external address for each behaviour that is
// offered, and a STUN server with two addresses outside.
//
//	10.0.0.31 --+
//	 ...        +-- [lan] -- fw-a (203.0.113.31 ...) -- [wan] -- 203.0.113.10, 203.0.113.11
//	10.0.0.34 --+
func stunSite(t *testing.T) (s *site, clients []*lab.Namespace) {
	t.Helper()
	s = newSite(t, 0)
	f := s.places[0].files
	f.alone()
	own, rows := `"203.0.113.2/24"`, ""
	for i, b := range offered {
		external := netip.AddrFrom4([4]byte{203, 0, 113, byte(31 + i)})
		inside := netip.AddrFrom4([4]byte{10, 0, 0, byte(31 + i)})
		own += fmt.Sprintf(", \"%s/24\"", external)
		rows += fmt.Sprintf("[[nat]]\nkind = \"snat\"\nout = \"wan\"\nfrom = %q\ntarget = %q\nmapping = %q\nfiltering = %q\n", inside, external, b.mapping, b.filtering)
		clients = append(clients, s.inside(t, fmt.Sprintf("client-%d", i), inside))
	}
	f.replace("policy.toml", `"203.0.113.2/24"`, own)
	f.replace("policy.toml", "[[nat]]\nkind = \"masquerade\"\nfrom = [\"10.0.0.0/24\"]\nout = \"wan\"\n", rows)
	if err := s.server.Address("s0", netip.PrefixFrom(stunOther, 24)); err != nil {
		t.Fatal(err)
	}
	serveSTUN(t, s.server, [2]netip.Addr{server, stunOther}, [2]uint16{stunPort, stunPort + 1})
	return s, clients
}

// The STUN server's second address, and its first port.
var stunOther = netip.MustParseAddr("203.0.113.11")

const stunPort = 3478

// inside adds a host to the lan.
func (s *site) inside(t *testing.T, name string, address netip.Addr) *lab.Namespace {
	t.Helper()
	ns, err := s.lab.Namespace(name)
	if err == nil {
		err = errors.Join(s.lab.Veth(lab.End{Namespace: ns, Name: "c0", Addresses: []netip.Prefix{netip.PrefixFrom(address, 24)}},
			lab.End{Namespace: s.switches, Name: name}),
			ns.OffloadsOff("c0"), s.switches.OffloadsOff(name), s.switches.Attach("lan", name), ns.DefaultRoute(netip.MustParseAddr("10.0.0.1")))
	}
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// TestI5_I6_STUNReportsWhatIsConfigured: two programs that others have written to find out
// how a NAT behaves (RFC 5780 sections 4.3 and 4.4) find what the policy says, for every
// combination of mapping and filtering that is offered.
func TestI5_I6_STUNReportsWhatIsConfigured(t *testing.T) {
	t.Parallel()
	s, clients := stunSite(t)
	start(t, s.places[0])
	for i, ns := range clients {
		s.answered(t, ns, uint16(5000+i))
	}
	pion := filepath.Join(t.TempDir(), "stun-nat-behaviour")
	if out, err := exec.Command("go", "build", "-o", pion, "github.com/pion/stun/v3/cmd/stun-nat-behaviour").CombinedOutput(); err != nil {
		t.Fatalf("building pion's behaviour discovery: %v\n%s", err, out)
	}
	tools := []discovery{
		{"pion", pion, []string{"-server", netip.AddrPortFrom(server, stunPort).String()}, regexp.MustCompile(`NAT (mapping|filtering) behavior: ([a-z ]+)`)},
		{"coturn", "turnutils_natdiscovery", []string{"-m", "-f", "-p", fmt.Sprint(stunPort), server.String()}, regexp.MustCompile(`NAT with ([A-Za-z ]+) (Mapping|Filtering)!`)},
	}
	// All at once: what they do most is wait for answers that do not come.
	var running []*report
	for i := range tools {
		for j, want := range offered {
			running = append(running, tools[i].begin(t, clients[j], want))
		}
	}
	for _, r := range running {
		t.Run(fmt.Sprintf("%s/%s/%s", r.tool.name, r.want.mapping, r.want.filtering), func(t *testing.T) {
			if got := r.wait(t); got != r.want {
				t.Errorf("reports %+v, want %+v", got, r.want)
			}
		})
	}
}

// answered waits until the firewall forwards for a client.
func (s *site) answered(t *testing.T, ns *lab.Namespace, port uint16) {
	t.Helper()
	other := *s
	other.client = ns
	other.flowTo(t, port).answers(t)
}

// discovery is a program that finds out how a NAT behaves, and how it says so.
type discovery struct {
	name, program string
	args          []string
	says          *regexp.Regexp // two groups: mapping or filtering, and the behaviour; in either order
}

// report is a discovery that runs.
type report struct {
	tool      *discovery
	want      behaviour
	process   *lab.Process // nil: the program is not here
	out, errs bytes.Buffer
}

// begin runs it at a host.
func (d *discovery) begin(t *testing.T, ns *lab.Namespace, want behaviour) *report {
	t.Helper()
	r := &report{tool: d, want: want}
	program, err := exec.LookPath(d.program)
	if err != nil {
		return r
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience) // each unanswered question is some seconds
	t.Cleanup(cancel)
	if r.process, err = ns.Start(ctx, lab.Program{Path: program, Args: d.args, Stdout: &r.out, Stderr: &r.errs}); err != nil {
		t.Fatal(err)
	}
	return r
}

// wait waits for its end and returns what it has found out.
func (r *report) wait(t *testing.T) (b behaviour) {
	t.Helper()
	if r.process == nil {
		t.Skipf("skipped, no %s here (it is in Debian's package coturn)", r.tool.program)
	}
	err := r.process.Wait()
	said := r.out.String() + r.errs.String()
	for _, found := range r.tool.says.FindAllStringSubmatch(said, -1) {
		what, how := strings.ToLower(found[1]), strings.ToLower(found[2])
		if how == "mapping" || how == "filtering" {
			what, how = how, what
		}
		how = strings.ReplaceAll(strings.TrimSpace(how), " ", "-")
		if what == "mapping" {
			b.mapping = how
		} else {
			b.filtering = how
		}
	}
	if err != nil || b.mapping == "" || b.filtering == "" {
		t.Fatalf("%s: %v, it says:\n%s", r.tool.name, err, said)
	}
	return b
}
