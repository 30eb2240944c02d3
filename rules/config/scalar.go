package config

import (
	"encoding"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// nameMax bounds the names of rules, groups, gateways, tables and macros.
const nameMax = 63

// wants refuses a value of another type than kind, with an example of the right one.
func wants(n *node, kind unstable.Kind, noun, example string) *fault {
	if n.kind == kind {
		return nil
	}
	return &fault{what: n.literal() + " is not " + noun, mend: "write " + noun + ", such as " + example}
}

// text reads a string that is not empty and fits in most bytes.
func text(noun string, most int, example string) parser[string] {
	return func(n *node) (string, *fault) {
		if bad := wants(n, unstable.String, noun, example); bad != nil {
			return "", bad
		}
		if n.text == "" || len(n.text) > most || strings.ContainsFunc(n.text, func(c rune) bool { return c < ' ' }) {
			return "", &fault{what: n.literal() + " is not " + noun, mend: fmt.Sprintf("write 1 to %d characters, such as %s", most, example)}
		}
		return strings.Clone(n.text), nil
	}
}

// integer reads a whole number from least to most.
func integer[T int | uint8 | uint16 | uint32](noun string, least, most T) parser[T] {
	return func(n *node) (T, *fault) {
		mend := fmt.Sprintf("write a number from %d to %d", least, most)
		if n.kind != unstable.Integer {
			return 0, &fault{what: n.literal() + " is not " + noun, mend: mend}
		}
		v, err := strconv.ParseInt(n.text, 0, 64)
		if err != nil || v < int64(least) || v > int64(most) {
			return 0, &fault{what: fmt.Sprintf("%s is out of range for %s", clip(n.text), noun), mend: mend}
		}
		return T(v), nil
	}
}

// boolean reads true or false.
func boolean(n *node) (bool, *fault) {
	if n.kind != unstable.Bool {
		return false, &fault{what: n.literal() + " is not true or false", mend: "write true or false, without quotes"}
	}
	return n.text == "true", nil
}

// duration reads a time with unit from least to most.
func duration(least, most time.Duration) parser[time.Duration] {
	return func(n *node) (time.Duration, *fault) {
		const how = `write a string with a unit, such as "10ms", "5s", "1h"`
		if n.kind != unstable.String {
			return 0, &fault{what: n.literal() + " is not a duration", mend: how}
		}
		d, err := time.ParseDuration(n.text)
		if err != nil {
			return 0, &fault{what: n.literal() + " is not a duration", mend: how}
		}
		if d < least || d > most {
			return 0, &fault{what: n.literal() + " is out of range", mend: fmt.Sprintf("write %v to %v", least, most)}
		}
		return d, nil
	}
}

// choice reads one word of a type whose values have text forms.
func choice[T encoding.TextMarshaler](noun string, all ...T) parser[T] {
	words := make([]string, len(all))
	for i, v := range all {
		word, err := v.MarshalText()
		if err != nil {
			panic(fmt.Sprintf("config: a choice of %s without a word: %v", noun, err))
		}
		words[i] = string(word)
	}
	return func(n *node) (T, *fault) {
		var zero T
		for i, w := range words {
			if n.kind == unstable.String && n.text == w {
				return all[i], nil
			}
		}
		mend := `write one of "` + strings.Join(words, `", "`) + `"`
		if near := Nearest(n.text, words); n.kind == unstable.String && near != "" {
			mend = fmt.Sprintf("did you mean %q?", near)
		}
		return zero, &fault{what: n.literal() + " is not " + noun, mend: mend}
	}
}

// address reads a single IP address that a host can have.
func address(n *node) (netip.Addr, *fault) {
	if bad := wants(n, unstable.String, "an address", `"203.0.113.1"`); bad != nil {
		return netip.Addr{}, bad
	}
	a, err := netip.ParseAddr(n.text)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, &fault{what: n.literal() + " is not an address", mend: `write one such as "203.0.113.1" or "2001:db8::1"`}
	}
	return a, hostFault(a, n)
}

// hostFault refuses addresses that no host can have on a port.
func hostFault(a netip.Addr, n *node) *fault {
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return &fault{what: n.literal() + " cannot be a host's address on a port", mend: "write a unicast address"}
	}
	return nil
}

// portAddress reads an address of a port together with its prefix length.
func portAddress(n *node) (netip.Prefix, *fault) {
	const example = `"10.0.0.1/24"`
	if bad := wants(n, unstable.String, "an address with its prefix length", example); bad != nil {
		return netip.Prefix{}, bad
	}
	p, err := netip.ParsePrefix(n.text)
	if err != nil || p.Addr().Is4In6() {
		if _, err := netip.ParseAddr(n.text); err == nil {
			return netip.Prefix{}, &fault{what: n.literal() + " has no prefix length", mend: "write one, such as " + example}
		}
		return netip.Prefix{}, &fault{what: n.literal() + " is not an address with its prefix length", mend: "write one such as " + example}
	}
	if bad := hostFault(p.Addr(), n); bad != nil {
		return netip.Prefix{}, bad
	}
	// RFC 3021: both addresses of a /31 are hosts; RFC 6164 says so of /127.
	if hostBits := p.Addr().BitLen() - p.Bits(); hostBits >= 2 && p.Addr().Is4() {
		first, last := prefixBounds(p)
		if p.Addr() == first || p.Addr() == last {
			return netip.Prefix{}, &fault{what: n.literal() + " is the network's own or broadcast address", mend: fmt.Sprintf("write a host's, such as \"%s/%d\"", first.Next(), p.Bits())}
		}
	}
	return p, nil
}

// endpoint reads an address with a UDP port.
func endpoint(n *node) (netip.AddrPort, *fault) {
	const example = `"192.0.2.1:7400"`
	if bad := wants(n, unstable.String, "an address with a UDP port", example); bad != nil {
		return netip.AddrPort{}, bad
	}
	a, err := netip.ParseAddrPort(n.text)
	if err != nil || a.Port() == 0 {
		return netip.AddrPort{}, &fault{what: n.literal() + " is not an address with a UDP port", mend: "write one such as " + example + ` or "[2001:db8::1]:7400"`}
	}
	return a, nil
}

// MAC is an Ethernet address; zero where none is written.
type MAC [6]byte

// String returns the usual form, 02:48:46:00:00:01.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText is String.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// mac reads the Ethernet address of a station.
func mac(n *node) (MAC, *fault) {
	const example = `"02:48:46:00:00:01"`
	if bad := wants(n, unstable.String, "a MAC address", example); bad != nil {
		return MAC{}, bad
	}
	hw, err := net.ParseMAC(n.text)
	if err != nil || len(hw) != 6 {
		return MAC{}, &fault{what: n.literal() + " is not a MAC address", mend: "write one such as " + example}
	}
	m := MAC(hw)
	if m[0]&1 != 0 || m == (MAC{}) {
		return MAC{}, &fault{what: n.literal() + " is not a single station's MAC address", mend: "write one with an even first byte, such as " + example}
	}
	return m, nil
}
