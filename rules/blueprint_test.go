package rules

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
	"holdfast/internal/race"
	"holdfast/nat"
	"holdfast/rules/config"
)

// TestTranslations: each [[nat]] of a file as package nat gets it.
func TestTranslations(t *testing.T) {
	const lan, wan = packet.PortID(0), packet.PortID(1)
	prefixes := func(all ...string) (list []netip.Prefix) {
		for _, p := range all {
			list = append(list, netip.MustParsePrefix(p))
		}
		return list
	}
	target := func(first, last string, weight uint32) nat.Target {
		return nat.Target{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last), Weight: weight}
	}
	for _, row := range []struct {
		name, text string
		want       []nat.Translation
	}{
		{"every prefix of a range", "kind = 'masquerade'\nout = 'lan'\nfrom = ['10.0.0.4-10.0.0.6', 'fd00::/64', '!10.0.0.5']", []nat.Translation{{
			Kind: nat.Masquerade, Out: []packet.PortID{lan},
			From: prefixes("10.0.0.4/31", "10.0.0.6/32", "fd00::/64"), NotFrom: prefixes("10.0.0.5/32"),
		}}},
		{"of any what the port has addresses for", "kind = 'masquerade'\nout = ['lan', 'wan']\nfrom = 'any'", []nat.Translation{
			{Kind: nat.Masquerade, Out: []packet.PortID{lan}, From: prefixes("0.0.0.0/0", "::/0")},
			{Kind: nat.Masquerade, Out: []packet.PortID{wan}, From: prefixes("0.0.0.0/0")},
		}},
		{"a port without the family of its remotes is left out", "kind = 'masquerade'\nout = ['lan', 'wan']\nfrom = 'any'\nto = '2001:db8::/32'", []nat.Translation{
			{Kind: nat.Masquerade, Out: []packet.PortID{lan}, From: prefixes("0.0.0.0/0", "::/0"), To: prefixes("2001:db8::/32")},
		}},
		{"options", "kind = 'snat'\nin = 'lan'\nout = 'wan'\nfrom = '!10.0.0.66'\nproto = ['tcp', 'udp']\nfrom_port = 5060\nto_port = '$web'\n" +
			"target = ['203.0.113.5', '203.0.113.8-203.0.113.11']\ntarget_port = '1024-65535'\npick = 'weighted'\n" +
			"filtering = 'address-dependent'\nhairpin = true\nports_per_source = 2000\nhold_down = '120s'", []nat.Translation{{
			Kind: nat.Source, In: []packet.PortID{lan}, Out: []packet.PortID{wan},
			From: prefixes("0.0.0.0/0"), NotFrom: prefixes("10.0.0.66/32"), Protos: []packet.Proto{packet.TCP, packet.UDP},
			FromPorts: []nat.PortSpan{{First: 5060, Last: 5060}}, ToPorts: []nat.PortSpan{{First: 80, Last: 80}, {First: 8000, Last: 8080}},
			Targets:     []nat.Target{target("203.0.113.5", "203.0.113.5", 0), target("203.0.113.8", "203.0.113.11", 0)},
			TargetPorts: nat.PortSpan{First: 1024, Last: 65535}, Pick: nat.Weighted, Filtering: nat.FilterAddress,
			Hairpin: nat.HairpinOn, PortsPerSource: 2000, HoldDown: 120e9,
		}}},
		{"no affinity", "kind = 'snat'\nout = 'wan'\nfrom = '10.0.0.0/24'\ntarget = '203.0.113.5'\npick = 'round-robin'\nmapping = 'address-and-port-dependent'\npooling = 'arbitrary'", []nat.Translation{{
			Kind: nat.Source, Out: []packet.PortID{wan}, From: prefixes("10.0.0.0/24"), Targets: []nat.Target{target("203.0.113.5", "203.0.113.5", 0)},
			Pick: nat.RoundRobin, Mapping: nat.AddressAndPortDependent, Pooling: nat.Arbitrary,
		}}},
		{"self is every address of the node", "kind = 'dnat'\nto = 'self'\nproto = 'tcp'\nto_port = '8000-8009'\ntarget = { address = '10.0.0.9', weight = 3 }\n" +
			"target_port = '9000-9009'\npick = 'weighted'", []nat.Translation{{
			Kind: nat.Destination, To: prefixes("10.0.0.1/32", "203.0.113.2/32"), Protos: []packet.Proto{packet.TCP},
			ToPorts: []nat.PortSpan{{First: 8000, Last: 8009}}, Targets: []nat.Target{target("10.0.0.9", "10.0.0.9", 3)},
			TargetPorts: nat.PortSpan{First: 9000, Last: 9009}, Pick: nat.Weighted,
		}}},
		{"redirect", "kind = 'redirect'\nin = 'lan'\nproto = 'udp'\nto_port = 53", []nat.Translation{{
			Kind: nat.Redirect, In: []packet.PortID{lan}, Protos: []packet.Proto{packet.UDP}, ToPorts: []nat.PortSpan{{First: 53, Last: 53}},
		}}},
		{"static", "kind = 'static'\nout = 'wan'\nfrom = '10.1.0.0/24'\ntarget = '198.51.100.0/24'\nto = '!192.0.2.0/24'", []nat.Translation{{
			Kind: nat.Static, Out: []packet.PortID{wan}, To: prefixes("0.0.0.0/0"), NotTo: prefixes("192.0.2.0/24"),
			Inside: netip.MustParsePrefix("10.1.0.0/24"), Outside: netip.MustParsePrefix("198.51.100.0/24"),
		}}},
		{"nptv6", "kind = 'nptv6'\nout = 'wan'\nfrom = 'fd01:203:405::/48'\ntarget = '2001:db8:1::/48'", []nat.Translation{{
			Kind: nat.NPTv6, Out: []packet.PortID{wan},
			Inside: netip.MustParsePrefix("fd01:203:405::/48"), Outside: netip.MustParsePrefix("2001:db8:1::/48"),
		}}},
		{"none", "kind = 'none'\nto = ['10.0.0.0/8', '!10.9.0.0/16']", []nat.Translation{{
			Kind: nat.Exempt, To: prefixes("10.0.0.0/8"), NotTo: prefixes("10.9.0.0/16"),
		}}},
		{"filtering", "kind = 'masquerade'\nout = 'wan'\nfrom = '10.0.0.0/24'\nfiltering = 'endpoint-independent'", []nat.Translation{{
			Kind: nat.Masquerade, Out: []packet.PortID{wan}, From: prefixes("10.0.0.0/24"), Filtering: nat.FilterNone,
		}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, _ := compiled(t, head+"[[nat]]\n"+row.text)
			for i := range row.want {
				row.want[i].Name = p.NAT[0].Pos.String()
			}
			if diff := cmp.Diff(row.want, Translations(p), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestNATWords: the words of the file and of package nat's kinds are the same, so that
// listings and messages agree.
func TestNATWords(t *testing.T) {
	for k, kind := range natKinds {
		if k > 0 && config.NATKind(k).String() != kind.String() {
			t.Errorf("%v is %v", config.NATKind(k), kind)
		}
	}
	for _, kind := range natKinds[1:] {
		if kind == 0 || strings.Contains(fmt.Sprint(kind), "kind-") {
			t.Errorf("no kind %v", kind)
		}
	}
}

// TestNATAcceptedCompiles: what package config accepts, package nat does, whatever the
// combination of keys and of translations; so `check` tells all faults, with their place.
func TestNATAcceptedCompiles(t *testing.T) {
	values := map[string][]string{
		"in": {"'lan'", "'wan'", "['lan', 'wan']"}, "out": {"'lan'", "'wan'", "['lan', 'wan']"},
		"from":   {"'any'", "'10.0.0.0/24'", "['10.0.0.0/24', 'fd00::/64']", "'!10.0.0.66'", "'10.1.0.0/28'", "'fd00:1::/48'", "'fd00:1::/80'", "'10.0.0.3-10.0.0.9'"},
		"to":     {"'any'", "'self'", "'203.0.113.2'", "'203.0.113.0/24'", "'!10.0.0.0/8'", "'2001:db8::/32'", "['203.0.113.2', '2001:db8::2']"},
		"proto":  {"'tcp'", "['tcp', 'udp']", "'gre'", "'icmp'"},
		"target": {"'203.0.113.5'", "'198.51.100.0/28'", "'2001:db8:1::/48'", "'2001:db8:1::/80'", "['203.0.113.5', '2001:db8::5']", "'203.0.113.2'", "[{ address = '10.0.0.9', weight = 3 }, '10.0.0.10']", "'198.51.0.0/16'"},
		"pick":   {"'hash'", "'sticky'", "'round-robin'", "'random'", "'weighted'"}, "mapping": {"'endpoint-independent'", "'address-and-port-dependent'"},
		"filtering": {"'endpoint-independent'", "'address-dependent'", "'address-and-port-dependent'"}, "pooling": {"'paired'", "'arbitrary'"},
		"hairpin": {"true", "false"}, "ports_per_source": {"1", "2000"}, "hold_down": {"'0s'", "'2m'"},
		"from_port": {"5060"}, "to_port": {"80", "'8000-8009'", "[80, 443]"}, "target_port": {"8080", "'9000-9009'", "'1024-65535'"},
	}
	keys := slices.Sorted(maps.Keys(values))
	// What each kind needs, with values that go together.
	usual := map[string]map[string]string{
		"masquerade": {"out": "'wan'", "from": "'10.0.0.0/24'"}, "snat": {"out": "'wan'", "from": "'10.0.0.0/24'", "target": "'203.0.113.5'"},
		"dnat": {"to": "'203.0.113.2'", "target": "'10.0.0.9'"}, "redirect": {"in": "'lan'"},
		"static": {"out": "'wan'", "from": "'10.1.0.0/28'", "target": "'198.51.100.0/28'"},
		"nptv6":  {"out": "'wan'", "from": "'fd00:1::/48'", "target": "'2001:db8:1::/48'"}, "none": {"to": "'10.0.0.0/8'"},
	}
	kinds := slices.Sorted(maps.Keys(usual))
	accepted := map[string]bool{}
	try := func(t *rapid.T) {
		text := head
		var drawn []string
		for range rapid.IntRange(1, 3).Draw(t, "translations") {
			kind := rapid.SampledFrom(kinds).Draw(t, "kind")
			drawn = append(drawn, kind)
			text += fmt.Sprintf("[[nat]]\nkind = %q\n", kind)
			some := rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 0, 3, rapid.ID[string]).Draw(t, "keys")
			for _, key := range keys {
				value, needed := usual[kind][key]
				if slices.Contains(some, key) {
					value, needed = rapid.SampledFrom(values[key]).Draw(t, key), true
				}
				if needed {
					text += fmt.Sprintf("%s = %s\n", key, value)
				}
			}
		}
		p, err := config.ParsePolicy("p.toml", []byte(text))
		if err != nil {
			return
		}
		for _, kind := range drawn {
			accepted[kind] = true
		}
		if _, err := nat.Compile(Translations(p), Site(p), nat.NewPool()); err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
	}
	tries := 30
	if race.Enabled {
		tries = 10
	}
	rapid.Check(t, func(t *rapid.T) {
		for range tries {
			try(t)
		}
	})
	for _, kind := range kinds {
		if !accepted[kind] {
			t.Errorf("no %s was accepted: the test does not test it", kind)
		}
	}
}

// TestI14_Services: what rules let in to the node is kept from being given to connections.
func TestI14_Services(t *testing.T) {
	p, _ := compiled(t, head+`
[[rules]]
id = "ssh"
action = "pass"
to = "self"
proto = "tcp"
to_port = 22
[[rules]]
id = "dns"
action = "pass"
to = ["10.0.0.1", "198.51.100.7"]
proto = ["udp", "tcp"]
to_port = "53-54"
[[rules]]
id = "elsewhere"
action = "pass"
to = "198.51.100.0/24"
proto = "tcp"
to_port = 80
[[rules]]
id = "everything"
action = "pass"
proto = "tcp"
to_port = 443
[[rules]]
id = "shut"
action = "block"
to = "self"
proto = "tcp"
to_port = 25
`)
	want := []nat.Service{{Proto: packet.TCP, Ports: nat.PortSpan{First: 22, Last: 22}},
		{Proto: packet.UDP, Ports: nat.PortSpan{First: 53, Last: 54}}, {Proto: packet.TCP, Ports: nat.PortSpan{First: 53, Last: 54}}}
	if diff := cmp.Diff(want, Site(p).Services); diff != "" {
		t.Error(diff)
	}
}

// TestCheckNATNamesThePlace: what package nat refuses is told with the line of the [[nat]].
// Package config refuses the same, and more, so the fault is made behind its back.
func TestCheckNATNamesThePlace(t *testing.T) {
	p, _ := compiled(t, "[ports.lan]\naddresses = ['10.0.0.1/24']\n[ports.wan]\naddresses = ['203.0.113.2/24']\n[groups.main]\nports = ['lan', 'wan']\n"+
		"[[nat]]\nkind = 'none'\nout = 'wan'\nto = '192.0.2.0/24'\n[[nat]]\nkind = 'snat'\nout = 'wan'\nfrom = '10.0.0.0/24'\ntarget = '198.51.100.0/24'\n")
	if err := CheckNAT(p); err != nil {
		t.Fatal(err)
	}
	p.NAT[1].Targets[0].V.Last = netip.MustParseAddr("198.51.200.0")
	if err := CheckNAT(p); err == nil || !strings.HasPrefix(err.Error(), p.NAT[1].Pos.String()+": ") {
		t.Errorf("%v, want the place %v", err, p.NAT[1].Pos)
	}
}
