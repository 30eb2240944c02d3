package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"holdfast/rules/config"
)

// The rulesets of the peers of N5 and N6. A verdict map of nftables has no first match: its
// elements must not overlap. So these rules lie apart, and the same ones can be written as a
// list, as a map of intervals (the kernel's pipapo set), and as a policy.

// apartRule lets UDP of a network go to one port of one host.
type apartRule struct {
	from netip.Prefix
	to   netip.Addr
	port uint16
}

// apartRules returns n rules, of which the last one lets through what the generator sends:
// the most expensive place of a list.
func apartRules(n int) []apartRule {
	all := make([]apartRule, n)
	for i := range n - 1 {
		all[i] = apartRule{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128 | byte(i>>8)&127, byte(i), 0}), 24),
			netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(1024 + i%50_000),
		}
	}
	all[n-1] = apartRule{lan, far, dstPort}
	return all
}

// apartPolicy is them as Holdfast's.
func apartPolicy(all []apartRule) *config.Policy {
	p := &config.Policy{}
	for i, a := range all {
		at := config.Position{File: "apart", Line: int32(i + 1), Column: 1}
		r := config.Rule{Pos: at}
		r.ID = config.Value[string]{V: "r" + strconv.Itoa(i), Pos: at}
		r.Action = config.Value[config.Action]{V: config.Pass, Pos: at}
		r.Protos = []config.Value[config.Protocol]{{V: config.UDP, Pos: at}}
		r.From = []config.Value[config.Address]{{V: config.Address{Kind: config.AddressRange, First: a.from.Addr(), Last: lastOf(a.from)}, Pos: at}}
		r.To = []config.Value[config.Address]{{V: config.Address{Kind: config.AddressRange, First: a.to, Last: a.to}, Pos: at}}
		r.ToPorts = []config.Value[config.PortRange]{{V: config.PortRange{First: a.port, Last: a.port}, Pos: at}}
		p.Rules = append(p.Rules, r)
	}
	return p
}

// lastOf returns the last address of an IPv4 network.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

// nftChain is the head of a chain that has no other rules than those to be measured.
const nftChain = "  chain forward {\n    type filter hook forward priority filter; policy drop;\n"

// nftReplace empties the table in the same transaction that fills it, as a reload does.
const nftReplace = "table ip bench\ndelete table ip bench\ntable ip bench {\n"

// nftNone lets everything through: what the rules of the others cost is above this.
const nftNone = nftReplace + nftChain + "    accept\n  }\n}\n"

// nftList is the rules one after the other.
func nftList(all []apartRule) string {
	var b strings.Builder
	b.WriteString(nftReplace + nftChain)
	for _, a := range all {
		fmt.Fprintf(&b, "    ip saddr %s ip daddr %s udp dport %d accept\n", a.from, a.to, a.port)
	}
	b.WriteString("  }\n}\n")
	return b.String()
}

// nftMap is the rules as one look-up.
func nftMap(all []apartRule) string {
	var b strings.Builder
	b.WriteString(nftReplace + "  map rules {\n    type ipv4_addr . ipv4_addr . inet_service : verdict\n    flags interval\n    elements = {\n")
	for _, a := range all {
		fmt.Fprintf(&b, "      %s . %s . %d : accept,\n", a.from, a.to, a.port)
	}
	b.WriteString("    }\n  }\n" + nftChain + "    meta l4proto udp ip saddr . ip daddr . udp dport vmap @rules\n  }\n}\n")
	return b.String()
}

// nftForms are how nftables can be given the rules, with how many it is worth to wait for.
var nftForms = []struct {
	name       string
	write      func([]apartRule) string
	lookUpMost int
}{{"nftables list", nftList, 10_000}, {"nftables interval map", nftMap, 100_000}}

// nftPatience is how long a ruleset may take to load.
const nftPatience = time.Minute

// nftLookUp returns what the rules cost the kernel in ns per packet above none, by form. What
// cannot be measured here is absent, and said in skipped.
func nftLookUp(ctx context.Context, n int, length time.Duration) (cost map[string]float64, skipped string, err error) {
	l, why := nftLine()
	if why != nil {
		return nil, fmt.Sprintf("nftables skipped: %v.", why), nil
	}
	defer func() { err = errors.Join(err, l.close()) }()
	rounds := map[string][]float64{}
	for range 3 {
		none, err := l.measure(ctx, nftables("no rules", nftNone), traffic{flows: 1000}, length)
		if err != nil {
			return nil, "", err
		}
		for _, form := range nftForms {
			if n > form.lookUpMost {
				skipped = fmt.Sprintf("%s of %d rules not measured: a packet asks each.", form.name, n)
				continue
			}
			patience, cancel := context.WithTimeout(ctx, nftPatience)
			s, err := l.measure(patience, nftables(form.name, form.write(apartRules(n))), traffic{flows: 1000}, length)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
				return nil, fmt.Sprintf("%s of %d rules did not load within %v.", form.name, n, nftPatience), nil
			}
			if err != nil {
				return nil, "", err
			}
			rounds[form.name] = append(rounds[form.name], s.cost-none.cost)
		}
	}
	cost = map[string]float64{}
	for name, values := range rounds {
		cost[name], _, _ = median(values)
	}
	return cost, skipped, nil
}

// nftLine is the line of the kernel's peers, and why there is none.
func nftLine() (*line, error) {
	if _, err := nftPath(); err != nil {
		return nil, err
	}
	return newRoutedLine()
}

// nftReload returns how long it takes nft to put the rules in place of as many others in ms,
// and by how much the kernel's memory grows with them in MiB, by form.
func nftReload(ctx context.Context, n int) (figures map[string]float64, skipped string, err error) {
	l, why := nftLine()
	if why != nil {
		return nil, fmt.Sprintf("nftables skipped: %v.", why), nil
	}
	defer func() { err = errors.Join(err, l.close()) }()
	figures = map[string]float64{}
	for _, form := range nftForms {
		text := form.write(apartRules(n))
		if err := nft(ctx, l.fw, nftNone); err != nil {
			return nil, "", err
		}
		before := kernelMemory()
		var took []float64
		for range reloadRounds {
			patience, cancel := context.WithTimeout(ctx, nftPatience)
			begin := time.Now()
			err := nft(patience, l.fw, text)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
				skipped += fmt.Sprintf(" %s of %d rules did not load within %v.", form.name, n, nftPatience)
				took = nil
				break
			}
			if err != nil {
				return nil, "", err
			}
			took = append(took, millis(time.Since(begin)))
		}
		if len(took) == 0 {
			continue
		}
		figures[form.name+" ms"], _, _ = median(took)
		figures[form.name+" MiB"] = max(0, kernelMemory()-before)
	}
	return figures, skipped, nil
}

// kernelMemory is what the kernel's own objects take in MiB: slab that cannot be reclaimed,
// vmalloc and per-CPU memory, of the whole machine.
func kernelMemory() (sum float64) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		switch f := strings.Fields(line); f[0] {
		case "SUnreclaim:", "VmallocUsed:", "Percpu:":
			kib, _ := strconv.ParseFloat(f[1], 64) // zero where the kernel says something else
			sum += kib / 1024
		}
	}
	return sum
}
