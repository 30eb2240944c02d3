package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/lab"
)

// The kernel's own connections, of every kind that we can make here, put into a Conn and
// printed again give the line that `conntrack -L` has printed, token by token.
//
//	one namespace: lo with nf_conntrack on it; what goes to ports 81 is dropped there
func TestConntrackLinesAreTheKernels(t *testing.T) {
	lab.Require(t)
	programs := map[string]string{}
	for _, name := range []string{"nft", "conntrack"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("skipped, needs the program %s: %v", name, err)
		}
		programs[name] = path
	}
	ns, err := lab.ForTest(t).Namespace("tracked")
	if err != nil {
		t.Fatal(err)
	}
	run := func(program string, args ...string) (out string) {
		t.Helper()
		if err := ns.Do(func() error {
			b, err := exec.Command(programs[program], args...).Output()
			out = string(b)
			return err
		}); err != nil {
			t.Skipf("skipped, %s %q: %v", program, args, err)
		}
		return out
	}
	run("nft", `add table inet t; add chain inet t in { type filter hook input priority 0; }; add rule inet t in ct state new th dport 81 drop;`)
	kernelConnections(t, ns)

	seen := map[string]bool{}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		lines := strings.Split(strings.TrimSpace(run("conntrack", "-L")+run("conntrack", "-L", "-f", "ipv6")), "\n")
		for _, line := range lines {
			sameLine(t, line, seen)
		}
		if missing := lacks(seen); missing == "" || t.Failed() {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("the kernel shows no %s:\n%s", missing, strings.Join(lines, "\n"))
		}
	}
}

// lacks names a kind of line that the kernel must show and has not, "" where it has shown all.
func lacks(seen map[string]bool) string {
	for _, kind := range []string{"tcp ESTABLISHED [ASSURED]", "tcp SYN_SENT [UNREPLIED]", "tcp TIME_WAIT [ASSURED]",
		"udp", "udp [UNREPLIED]", "icmp", "icmpv6", "gre [UNREPLIED]", "unknown [UNREPLIED]"} {
		if !seen[kind] {
			return kind
		}
	}
	return ""
}

// kernelConnections makes them.
func kernelConnections(t *testing.T, ns *lab.Namespace) {
	t.Helper()
	keep := func(c io.Closer, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	ctx := context.Background()
	for _, address := range []string{"127.0.0.1:443", "[::1]:443"} {
		server, err := ns.Listen("tcp", address)
		keep(server, err)
		go func() {
			for {
				c, err := server.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(io.Discard, c)
					c.Close()
				}()
			}
		}()
		c, err := ns.Dial(ctx, "tcp", "", address)
		keep(c, err)
	}
	closed, err := ns.Dial(ctx, "tcp", "", "127.0.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if c, err := ns.Dial(short, "tcp", "", "127.0.0.1:81"); err == nil {
		c.Close()
		t.Fatal("port 81 answers")
	}
	echo, err := ns.ListenPacket("udp", "127.0.0.1:53")
	keep(echo, err)
	for _, port := range []int{53, 81} {
		c, err := ns.Dial(ctx, "udp", "", fmt.Sprintf("127.0.0.1:%d", port))
		keep(c, err)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 8)
	n, from, err := echo.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := echo.WriteTo(b[:n], from); err != nil {
		t.Fatal(err)
	}
	if err := ns.Sysctl("net/ipv4/ping_group_range", "0 0"); err != nil {
		t.Fatal(err)
	}
	for address, request := range map[string]byte{"127.0.0.1": 8, "::1": 128} {
		ping, err := ns.Echo(netip.MustParseAddr(address), 0)
		keep(ping, err)
		if _, err := ping.WriteTo([]byte{request, 0, 0, 0, 0, 0, 0, 1}, &net.UDPAddr{IP: net.ParseIP(address)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, proto := range []string{"47", "50", "99"} {
		c, err := ns.Dial(ctx, "ip4:"+proto, "", "127.0.0.2")
		keep(c, err)
		// GRE: version 0, protocol IPv4, no key.
		if _, err := c.Write([]byte{0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
	}
}

var (
	head   = regexp.MustCompile(`^(\S+) +(\d+) (\d+) (?:([A-Z_]+) )?(src=.*)$`)
	useOf  = regexp.MustCompile(` use=\d+$`)
	fields = regexp.MustCompile(`(\w+)=(\S+)`)
)

// sameLine puts a line into a Conn and compares what that prints.
func sameLine(t *testing.T, line string, seen map[string]bool) {
	t.Helper()
	h := head.FindStringSubmatch(line)
	if h == nil {
		t.Errorf("not understood: %q", line)
		return
	}
	c := Conn{Proto: h[1], State: h[4], Replied: !strings.Contains(line, "[UNREPLIED]"), Assured: strings.Contains(line, "[ASSURED]")}
	if c.Proto == "unknown" {
		c.Proto = "proto-" + h[2]
	}
	c.Timeout, _ = strconv.ParseFloat(h[3], 64)
	tuples := [2]*Tuple{&c.Original, &c.Reply}
	at := -1
	for _, f := range fields.FindAllStringSubmatch(h[5], -1) {
		n, _ := strconv.ParseUint(f[2], 0, 16)
		switch f[1] {
		case "src":
			at++
			tuples[at].Src = f[2]
		case "dst":
			tuples[at].Dst = f[2]
		case "sport", "srckey", "id":
			tuples[at].SrcPort = uint16(n)
		case "dport", "dstkey":
			tuples[at].DstPort = uint16(n)
		case "type":
			tuples[at].DstPort = uint16(n << 8)
		case "code":
			tuples[at].DstPort |= uint16(n)
		}
	}
	want := useOf.ReplaceAllString(line, " use=1") // the kernel's references to it
	if got := c.Conntrack(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	kind := h[1]
	if h[4] != "" {
		kind += " " + h[4]
	}
	for _, mark := range []string{"[UNREPLIED]", "[ASSURED]"} {
		if strings.Contains(line, mark) {
			kind += " " + mark
		}
	}
	seen[kind] = true
}
