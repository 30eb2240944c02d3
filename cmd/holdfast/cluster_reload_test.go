package main

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
)

// blockRule is a rule more, before the others of policyText.
const blockRule = `[[rules]]
id = "no-telnet"
action = "block"
proto = "tcp"
to_port = 23

`

// changed is policyText with a rule more, which an included file holds.
func changed(f *files) string {
	f.write("more.toml", blockRule, 0o644)
	return "include = [\"more.toml\"]\n" + policyText
}

// policyOf returns what a daemon says of its policy and of its peer's.
func policyOf(t *testing.T, d *daemon) (api.Policy, api.Peer) {
	t.Helper()
	s, err := d.ask()
	if err != nil || len(s.Peers) != 1 {
		return api.Policy{}, api.Peer{}
	}
	return s.Policy, s.Peers[0]
}

// agree waits until both daemons are at a generation with so many rules, none on trial, and
// each knows it of the other.
func agree(t *testing.T, what string, generation uint64, rules int, daemons ...*daemon) {
	t.Helper()
	eventually(t, what, func() bool {
		for _, d := range daemons {
			own, peer := policyOf(t, d)
			if own.Generation != generation || own.Rules != rules || own.Confirm != nil {
				return false
			}
			if len(daemons) == 2 && (peer.Generation != generation || peer.Policy != own.Hash || !peer.SamePlan) {
				return false
			}
		}
		return true
	})
}

// One reload changes both nodes, with places of files that only the node asked has; what one
// node refuses changes nothing anywhere; nodes come back with what was confirmed last.
func TestReloadOfACluster(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	a, b := s.startPair(t)
	f := s.flow(t)
	f.answers(t)
	agree(t, "both have started", 1, 1, a, b)

	s.places[0].files.write("policy.toml", changed(s.places[0].files), 0o644)
	if got := a.tell(t, "reload").said(t); !strings.Contains(got, "in force: generation 2") || strings.Contains(got, "WARNING") {
		t.Errorf("%s", got)
	}
	agree(t, "both have the new policy", 2, 2, a, b)
	more := filepath.Join(s.places[0].files.dir, "more.toml") + ":1:3"
	if got := b.tell(t, "rules").said(t); !strings.Contains(got, more) {
		t.Errorf("fw-b does not name %s:\n%s", more, got)
	}
	f.answers(t)

	t.Run("faults", func(t *testing.T) {
		s.places[0].files.write("more.toml", strings.NewReplacer("block", "blok", "23", "99999").Replace(blockRule), 0o644)
		if o := a.tell(t, "reload"); o.code != exitRefused || !strings.Contains(o.errors, "more.toml:3:10") || !strings.Contains(o.errors, "more.toml:5:11") {
			t.Errorf("exit %d: %s", o.code, o.errors)
		}
		agree(t, "nothing has changed", 2, 2, a, b)
		s.places[0].files.write("more.toml", blockRule, 0o644)
		// One node tries a policy of its own: it takes no other until that is over.
		b.tell(t, "reload", "--this-node", "--confirm", "60s").said(t)
		a.tell(t, "reload").refused(t, exitRefused, "node fw-b refuses: ", "holdfast confirm")
		agree(t, "fw-a has changed nothing", 2, 2, a)
		if got := b.tell(t, "confirm").said(t); !strings.Contains(got, "this node") {
			t.Errorf("%s", got)
		}
		if got := a.tell(t, "reload").said(t); !strings.Contains(got, "generation 4") {
			t.Errorf("%s", got) // 3 was the one refused
		}
		agree(t, "both agree again", 4, 2, a, b)
	})

	t.Run("a node that was away", func(t *testing.T) {
		b.stop(t, unix.SIGKILL)
		eventually(t, "fw-b is not heard", func() bool { _, p := policyOf(t, a); return p.Heard > 2 })
		s.places[0].files.write("policy.toml", policyText, 0o644)
		if got := a.tell(t, "reload").said(t); !strings.Contains(got, "WARNING: node fw-b is not heard") || !strings.Contains(got, "generation 5") {
			t.Errorf("%s", got)
		}
		b = start(t, s.places[1])
		agree(t, "fw-b has taken the newer policy", 5, 1, a, b)
		b.stop(t, unix.SIGKILL)
		b = start(t, s.places[1])
		agree(t, "and has it over a restart", 5, 1, a, b)
	})
}

// TestREL29_ClusterGoesBack: what nobody confirms goes back on both nodes, also where one of
// them is killed in the window; and a confirmation on the node that took over holds for all.
func TestREL29_ClusterGoesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	a, b := s.startPair(t)
	agree(t, "both have started", 1, 1, a, b)
	trial := filepath.Join(s.places[0].files.dir, "trial.toml")
	s.places[0].files.write("trial.toml", changed(s.places[0].files), 0o644)
	tried := func(d *daemon) bool {
		own, _ := policyOf(t, d)
		return own.Rules == 2 && own.Confirm != nil
	}

	a.tell(t, "reload", "--confirm", "2s", trial).said(t)
	if !tried(a) || !tried(b) {
		t.Error("not on trial on both")
	}
	agree(t, "both are back", 1, 1, a, b)

	t.Run("peer killed", func(t *testing.T) {
		a.tell(t, "reload", "--confirm", "3s", trial).said(t)
		b.stop(t, unix.SIGKILL)
		agree(t, "fw-a is back", 1, 1, a)
		b = start(t, s.places[1])
		agree(t, "fw-b has never kept it", 1, 1, a, b)
	})

	t.Run("the node asked is killed", func(t *testing.T) {
		s.places[0].files.write("policy.toml", changed(s.places[0].files), 0o644) // on trial from the file itself
		a.tell(t, "reload", "--confirm", "3s").said(t)
		a.stop(t, unix.SIGKILL)
		agree(t, "fw-b is back", 1, 1, b)
		a = start(t, s.places[0])
		agree(t, "fw-a has not kept what stands in its file", 1, 1, a, b)
		if st, err := a.ask(); err != nil || !strings.Contains(strings.Join(st.Degraded, "\n"), "says something else than generation 1") {
			t.Errorf("%q %v", st.Degraded, err)
		}
	})

	t.Run("confirmed after a failover", func(t *testing.T) {
		eventually(t, "both are heard", func() bool {
			x, p := policyOf(t, a)
			_, q := policyOf(t, b)
			return x.Generation == 1 && p.Heard >= 0 && p.Heard < 1 && q.Heard >= 0 && q.Heard < 1
		})
		a.tell(t, "reload", "--confirm", "60s", trial).said(t)
		if !tried(a) || !tried(b) {
			t.Error("not on trial on both")
		}
		a.stop(t, unix.SIGKILL)
		if got := b.tell(t, "confirm").said(t); !strings.Contains(got, "stays in force") {
			t.Errorf("%s", got)
		}
		own, _ := policyOf(t, b)
		a = start(t, s.places[0])
		agree(t, "fw-a takes what fw-b has confirmed", own.Generation, 2, a, b)
	})
}
