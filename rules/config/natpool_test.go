package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// poolText returns a policy with a table of that text and a snat to a target.
func poolText(table, target string) string {
	return natPolicy + "[tables.outside]\n" + table + "\n[[nat]]\nkind = \"snat\"\nout = \"wan\"\nfrom = \"10.0.0.0/24\"\ntarget = " + target + "\n"
}

func poolPolicy(t *testing.T, table, target string) *Policy {
	t.Helper()
	return parsed(t, poolText(table, target))
}

func targetsOf(n *NAT) (all []string) {
	for _, target := range n.Targets {
		all = append(all, fmt.Sprint(target.V, " ", target.V.Weight, " ", target.Pos.Line))
	}
	return all
}

// TestNATPools: a table stands for its written entries, with the weight of the target and its
// place, each address once.
func TestNATPools(t *testing.T) {
	const weighted = "[\"203.0.113.5\", { address = \"<outside>\", weight = 3 }]\npick = \"weighted\""
	for _, row := range []struct {
		table, target string
		want          []string
	}{
		{`addresses = "198.51.100.0/28"`, `"<outside>"`, []string{"198.51.100.0/28 of <outside> 0 15"}},
		{`addresses = ["198.51.100.9", "198.51.100.2-198.51.100.4"]`, weighted, []string{"203.0.113.5 0 15", "198.51.100.2-198.51.100.4 of <outside> 3 15", "198.51.100.9 of <outside> 3 15"}},
		{`addresses = ["198.51.100.8/30", "198.51.100.9", "198.51.100.12"]`, `"<outside>"`, []string{"198.51.100.8-198.51.100.12 of <outside> 0 15"}},
	} {
		p := poolPolicy(t, row.table, row.target)
		if got := targetsOf(&p.NAT[0]); !slices.Equal(got, row.want) {
			t.Errorf("%s, %s: %q, want %q", row.table, row.target, got, row.want)
		}
	}
	p := parsed(t, natPolicy+"[tables.servers]\naddresses = [\"10.0.0.8\", \"fd00::8\"]\n[[nat]]\nkind = \"dnat\"\nto = [\"203.0.113.2\", \"2001:db8::2\"]\ntarget = \"<servers>\"\n")
	if n := len(p.NAT[0].Targets); n != 2 {
		t.Errorf("of both families: %d targets", n)
	}
}

// TestNATPoolIsItsAddresses: who writes the addresses out means the same, and who changes the
// table changes the translation, though its text stays.
func TestNATPoolIsItsAddresses(t *testing.T) {
	const before = `addresses = ["198.51.100.1", "198.51.100.5"]`
	a := poolPolicy(t, before, `"<outside>"`)
	for table, want := range map[string][]string{
		before: nil,
		`addresses = ["198.51.100.5", "198.51.100.1"]`: {"changed table outside"},
		`addresses = ["198.51.100.1", "198.51.100.6"]`: {"added nat 1", "removed nat 1", "changed table outside"},
	} {
		var got []string
		for _, c := range Diff(a, poolPolicy(t, table, `"<outside>"`)) {
			got = append(got, fmt.Sprint(c.What, " ", c.Kind, " ", c.Name))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", table, got, want)
		}
	}
	if all := Diff(a, poolPolicy(t, before, `["198.51.100.1", "198.51.100.5"]`)); len(all) != 0 {
		t.Errorf("written out: %v", all)
	}
}

// TestNATPoolFaultsAreToldOnce: a table that is wrong itself, or stands where the file cannot
// be read, is no second fault of the translation.
func TestNATPoolFaultsAreToldOnce(t *testing.T) {
	for text, want := range map[string]int{
		poolText(`addresses = "198.51.100.0/33"`, `"<outside>"`):                         1,
		poolText("file = \"f\"", `"<outside>"`):                                          1,
		poolText("max = 0", `["<outside>", "203.0.113.9"]`):                              1,
		strings.Replace(poolText("", `"<lost>"`), "[tables.outside]", "[tables.lost", 1): 1,
	} {
		_, err := ParsePolicy("p.toml", []byte(text))
		if all, ok := err.(Errors); !ok || len(all) != want {
			t.Errorf("%s\n%v", text, err)
		}
	}
}

// TestNATPoolBounds: neither one table nor all pools together come to more than a node bears.
func TestNATPoolBounds(t *testing.T) {
	var list []string
	for i := range poolEntriesMax + 1 {
		list = append(list, fmt.Sprintf("%q", netip.AddrFrom4([4]byte{172, 16, byte(i >> 7), byte(i << 1)})))
	}
	table := func(n int) string { return "[tables.many]\naddresses = [" + strings.Join(list[:n], ", ") + "]\n" }
	const dnat = "[[nat]]\nkind = \"dnat\"\nto = \"203.0.113.2\"\nproto = \"tcp\"\nto_port = 80\ntarget = \"<many>\"\n"
	parsed(t, natPolicy+table(poolEntriesMax)+dnat)
	for text, want := range map[string]string{
		table(poolEntriesMax+1) + dnat: "1025 entries",
		table(poolEntriesMax) + strings.Repeat(dnat, macroElementsMax/poolEntriesMax): "more than 65536 values",
	} {
		if _, err := ParsePolicy("p.toml", []byte(natPolicy+text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestJoinedHoldsEachAddressOnce holds joined against marking addresses one by one.
func TestJoinedHoldsEachAddressOnce(t *testing.T) {
	families := [2]netip.Addr{netip.MustParseAddr("255.255.255.192"), netip.MustParseAddr("::")}
	rapid.Check(t, func(t *rapid.T) {
		want := map[netip.Addr]bool{}
		entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Value[Address] {
			a := families[rapid.IntRange(0, 1).Draw(t, "family")]
			for range rapid.IntRange(0, 50).Draw(t, "first") {
				a = a.Next()
			}
			e := Address{Kind: AddressRange, First: a, Last: a}
			for range rapid.IntRange(0, 13).Draw(t, "more") {
				e.Last = e.Last.Next()
			}
			return Value[Address]{V: e}
		}), 1, 12).Draw(t, "entries")
		for _, e := range entries {
			for a := e.V.First; ; a = a.Next() {
				if want[a] = true; a == e.V.Last {
					break
				}
			}
		}
		n, before := 0, netip.Addr{}
		for _, span := range joined(entries) {
			if span.First == before.Next() {
				t.Fatalf("%v adjoins what stands before it", span)
			}
			for a := span.First; ; a = a.Next() {
				if n++; !want[a] {
					t.Fatalf("%v holds %v", span, a)
				}
				if before = a; a == span.Last {
					break
				}
			}
		}
		if n != len(want) {
			t.Fatalf("%d addresses, want %d", n, len(want))
		}
	})
}
