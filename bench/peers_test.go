package main

import (
	"cmp"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/lab"
)

// Every peer of the kernel forwards, its kernel threads are billed for it, and whatever is
// global is as it was.
func TestPeersOfTheKernelForward(t *testing.T) {
	lab.Require(t)
	before, _ := os.ReadFile(conntrackMax) // both empty where the kernel tracks nothing
	p := newPeers(1 << 19)
	for _, f := range p.forwarders {
		s, err := cmp.Or(f.line, p.line).measure(t.Context(), f, traffic{flows: 1000, rate: 20_000}, 200*time.Millisecond)
		if err != nil || s.rate < 2_000 {
			t.Errorf("%s: %+v, %v", f.name, s, err)
		}
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if after, _ := os.ReadFile(conntrackMax); string(after) != string(before) {
		t.Errorf("limit of connections %s, was %s", after, before)
	}
	if len(p.skipped) > 0 {
		t.Skipf("skipped, needs the kernel's peers: %s", strings.Join(p.skipped, " "))
	}
}

// A filter that lets nothing through shows: the peers' rules are asked.
func TestThePeersFilterIsAsked(t *testing.T) {
	lab.Require(t)
	p := newPeers(1 << 17)
	defer p.close()
	if len(p.forwarders) < 2 {
		t.Skipf("skipped, needs nftables: %s", strings.Join(p.skipped, " "))
	}
	none := nftables("nothing", strings.Replace(nftFilter, `iifname "f0"`, `iifname "f1"`, 1))
	if _, err := p.line.measure(t.Context(), none, traffic{flows: 100, rate: 20_000}, 200*time.Millisecond); err == nil || !strings.Contains(err.Error(), "no packet reached") {
		t.Errorf("a filter that passes nothing let packets through: %v", err)
	}
}
