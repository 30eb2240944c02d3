package main

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLogging: a real node logs what its rules want, as lines and into a pcapng file that
// tcpdump reads; status and rules count it, and a reload changes it.
func TestLogging(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	fw := s.places[0]
	fw.files.replace("node.toml", "[node]", "[log]\nfile = \"log/packets.pcapng\"\n\n[node]")
	fw.files.replace("policy.toml", "[[nat]]", "[defaults]\nlog = \"first\"\n\n[[nat]]")
	fw.files.replace("policy.toml", "[[rules]]\nid = \"inside-out\"\n", `[[rules]]
id = "watched"
action = "match"
proto = "tcp"
to_port = 7000
log = "all"

[[rules]]
id = "pings"
action = "match"
proto = "icmp"
log = "first"

[[rules]]
id = "inside-out"
`)
	d := start(t, fw)
	eventually(t, "fw-a is active", func() bool { return d.group().Role == "active" })
	witness(t, s.server, netip.AddrPortFrom(server, 7000))
	ping(t, s.client, server)
	conn := dial(t, s.client, "tcp", "", netip.AddrPortFrom(server, 7000))
	if _, err := conn.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	nobody := dial(t, s.server, "udp", "", netip.MustParseAddrPort("203.0.113.2:9"))
	lines := func(words ...string) bool {
		for _, line := range strings.Split(d.log.String(), "\n") {
			found := strings.Contains(line, "msg=packet ")
			for _, word := range words {
				found = found && strings.Contains(line, word)
			}
			if found {
				return true
			}
		}
		return false
	}
	for what, words := range map[string][]string{
		"the ping":       {"rule=inside-out ", "verdict=pass ", "proto=icmp ", "type=8 ", "dir=original"},
		"its answer not": nil,
		"the SYN":        {"proto=tcp ", "dport=7000 ", "flags=S ", "nat=203.0.113.2:"},
		"the SYN/ACK":    {"proto=tcp ", "sport=7000 ", "flags=SA ", "in=wan ", "out=lan ", "dir=reply"},
		"the end":        {"proto=tcp ", "flags=FA "},
	} {
		if words != nil {
			eventually(t, what+" is logged", func() bool { return lines(words...) })
		}
	}
	if lines("proto=icmp ", "type=0 ") {
		t.Error("the answer to a ping is logged, of a rule that logs the first packet")
	}
	eventually(t, "what no rule matches is logged", func() bool {
		_, err := nobody.Write([]byte("anybody?"))
		return err == nil && lines("rule=default ", "verdict=block ", "reason=to-self ", "out=self ", "dport=9 ")
	})
	status, err := d.ask()
	if err != nil || status.Log.Logged < 6 || status.Log.Stored == 0 || status.Log.Lost+status.Log.Shed != 0 {
		t.Errorf("%+v %v", status.Log, err)
	}
	if text := d.tell(t, "rules").said(t); !regexp.MustCompile(`(?m)^inside-out +pass +\d+ +\d+ +[1-9]`).MatchString(text) {
		t.Error(text)
	}

	fw.files.replace("policy.toml", "log = \"first\"\n\n[[nat]]", "log = false\n\n[[nat]]")
	d.tell(t, "reload", "--this-node").said(t)
	before := strings.Count(d.log.String(), "rule=default ")
	if _, err := nobody.Write([]byte("still nobody?")); err != nil {
		t.Error(err)
	}
	ping(t, s.client, server) // behind it
	d.stop(t, unix.SIGTERM)
	if n := strings.Count(d.log.String(), "rule=default "); n != before {
		t.Errorf("%d lines of the default after it logs nothing, %d before", n, before)
	}

	path := filepath.Join(filepath.Dir(fw.files.node), "log", "packets.pcapng")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"rule=inside-out at=", "verdict=pass in=lan out=wan proto=icmp", "verdict=block reason=to-self in=wan out=self"} {
		if !strings.Contains(string(data), word) {
			t.Errorf("no comment with %q", word)
		}
	}
	t.Run("tcpdump", func(t *testing.T) {
		program, err := exec.LookPath("tcpdump")
		if err != nil {
			t.Skip("no tcpdump")
		}
		got, err := exec.Command(program, "-n", "-r", path).CombinedOutput()
		for _, word := range []string{"10.0.0.10 > 203.0.113.10: ICMP echo request", "> 203.0.113.10.7000: Flags [S]", "> 203.0.113.2.9: UDP"} {
			if err != nil || !strings.Contains(string(got), word) {
				t.Errorf("%v, no %q in\n%s", err, word, got)
			}
		}
	})
}
