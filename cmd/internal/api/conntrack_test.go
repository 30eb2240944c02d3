package api

import "testing"

// The lines are those of `conntrack -L` (libnetfilter_conntrack, snprintf_default.c).
func TestConntrackLines(t *testing.T) {
	tcp := Conn{
		Proto: "tcp", State: "ESTABLISHED", Timeout: 431999.9, Replied: true, Assured: true,
		Original: Tuple{"10.0.0.5", "198.51.100.9", 40001, 443}, Reply: Tuple{"198.51.100.9", "203.0.113.1", 443, 61234},
	}
	udp := tcp
	udp.Proto, udp.State, udp.Replied, udp.Assured, udp.Timeout = "udp", "UNREPLIED", false, false, 29.5
	ping := Conn{
		Proto: "icmp", State: "REPLIED", Timeout: 30, Replied: true,
		Original: Tuple{"10.0.0.5", "198.51.100.9", 77, 8 << 8}, Reply: Tuple{"198.51.100.9", "203.0.113.1", 77, 0},
	}
	gre := Conn{Proto: "gre", Timeout: 600, Replied: true, Original: Tuple{"10.0.0.5", "198.51.100.9", 0, 0}, Reply: Tuple{"198.51.100.9", "10.0.0.5", 0, 0}}
	other := gre
	other.Proto = "proto-99"
	esp := gre
	esp.Proto = "esp"
	for _, row := range []struct {
		conn Conn
		line string
	}{
		{tcp, "tcp      6 431999 ESTABLISHED src=10.0.0.5 dst=198.51.100.9 sport=40001 dport=443 src=198.51.100.9 dst=203.0.113.1 sport=443 dport=61234 [ASSURED] mark=0 use=1"},
		{udp, "udp      17 29 src=10.0.0.5 dst=198.51.100.9 sport=40001 dport=443 [UNREPLIED] src=198.51.100.9 dst=203.0.113.1 sport=443 dport=61234 mark=0 use=1"},
		{ping, "icmp     1 30 src=10.0.0.5 dst=198.51.100.9 type=8 code=0 id=77 src=198.51.100.9 dst=203.0.113.1 type=0 code=0 id=77 mark=0 use=1"},
		{gre, "gre      47 600 src=10.0.0.5 dst=198.51.100.9 srckey=0x0 dstkey=0x0 src=198.51.100.9 dst=10.0.0.5 srckey=0x0 dstkey=0x0 mark=0 use=1"},
		{esp, "unknown  50 600 src=10.0.0.5 dst=198.51.100.9 src=198.51.100.9 dst=10.0.0.5 mark=0 use=1"},
		{other, "unknown  99 600 src=10.0.0.5 dst=198.51.100.9 src=198.51.100.9 dst=10.0.0.5 mark=0 use=1"},
	} {
		if got := row.conn.Conntrack(); got != row.line {
			t.Errorf("got  %s\nwant %s", got, row.line)
		}
	}
}

func TestTupleString(t *testing.T) {
	for want, tuple := range map[string]Tuple{
		"10.0.0.2:4711 > 203.0.113.9:443":        {"10.0.0.2", "203.0.113.9", 4711, 443},
		"[2001:db8::2]:4711 > [2001:db8::9]:443": {"2001:db8::2", "2001:db8::9", 4711, 443},
		"10.0.0.2 > 203.0.113.9":                 {"10.0.0.2", "203.0.113.9", 0, 0},
		"not an address > neither is this":       {"not an address", "neither is this", 1, 2},
		"2001:db8::2 > [2001:db8::9]:443":        {"2001:db8::2", "2001:db8::9", 0, 443},
	} {
		if got := tuple.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
