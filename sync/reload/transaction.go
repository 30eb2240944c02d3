package reload

import (
	"fmt"
	"strings"

	"holdfast/sync/wire"
)

// Member is another node as the one that was asked sees it.
type Member struct {
	Number uint16
	Name   string
	Heard  bool // there is a session, and it is heard
	Active bool
}

// Parties is whom a transaction deals with.
type Parties interface {
	// Members returns the other nodes as they stand.
	Members() []Member
	// Own carries a step out on the node that was asked.
	Own(step wire.Step) error
	// Ask asks others for a step and waits for what comes of it.
	Ask(step wire.Step, peers []uint16) []Reply
}

// Transaction is one reload of all nodes, as the node sees it that was asked:
//
//	prepare   every node that is heard: compiled, without effect
//	commit    those that stand by, then the active one: in force, on trial
//	confirm   all, at once or when somebody says so
//
// Up to the first commit nothing has any effect. From there on each node is on trial, so
// whatever fails, all go back: told to, or by themselves.
//
// Those that stand by go first. A failover between the swaps then brings the new rules, which
// every node has compiled; the other way round a node would take over that does not know the
// rules by which the active one has admitted connections a moment before.
type Transaction struct {
	Parties
	names    map[uint16]string
	Faults   []string // why nothing has changed
	Warnings []string // nodes that have not taken part, and what becomes of them
}

// Put prepares and commits. The node that was asked has prepared already. It reports whether
// the generation is in force, on trial; otherwise Faults says why not, and all go back.
func (t *Transaction) Put() bool {
	all, silent := t.members()
	for _, number := range silent {
		t.absent(number, "is not heard")
	}
	ready, ok := t.ask(wire.StepPrepare, all)
	if !ok {
		t.back(all, false)
		return false
	}
	var standby, active []uint16
	roles := map[uint16]bool{}
	for _, m := range t.Members() {
		roles[m.Number] = m.Active
	}
	for _, n := range ready {
		if roles[n] {
			active = append(active, n)
		} else {
			standby = append(standby, n)
		}
	}
	if _, ok := t.ask(wire.StepCommit, standby); !ok {
		t.back(ready, false)
		return false
	}
	if err := t.Own(wire.StepCommit); err != nil {
		t.Faults = append(t.Faults, err.Error())
		t.back(ready, false)
		return false
	}
	if _, ok := t.ask(wire.StepCommit, active); !ok {
		t.back(ready, true)
		return false
	}
	return true
}

// members learns the names of the other nodes, and returns those that are heard and those that are not.
func (t *Transaction) members() (heard, silent []uint16) {
	t.names = map[uint16]string{}
	for _, m := range t.Members() {
		t.names[m.Number] = m.Name
		if m.Heard {
			heard = append(heard, m.Number)
		} else {
			silent = append(silent, m.Number)
		}
	}
	return heard, silent
}

// Confirm lets the generation stay, here first: what this node keeps the others hear of as
// long as it takes. The error says that it does not stay here.
func (t *Transaction) Confirm() error {
	if err := t.Own(wire.StepConfirm); err != nil {
		return err
	}
	all, _ := t.members()
	for _, r := range t.Ask(wire.StepConfirm, all) {
		switch r.What {
		case Refused:
			t.Warnings = append(t.Warnings, fmt.Sprintf("node %s does not keep it yet: %s", t.names[r.Peer], r.Why))
		case Gone, Late:
			t.Warnings = append(t.Warnings, fmt.Sprintf("node %s has not said that it keeps it: it does when it is heard again", t.names[r.Peer]))
		}
	}
	return nil
}

// ask asks nodes for a step. Those that are gone are left behind with a warning, and who
// refuses or is late is a fault.
func (t *Transaction) ask(step wire.Step, peers []uint16) (done []uint16, ok bool) {
	if len(peers) == 0 {
		return nil, true
	}
	ok = true
	for _, r := range t.Ask(step, peers) {
		switch r.What {
		case Done:
			done = append(done, r.Peer)
		case Gone:
			t.absent(r.Peer, "is not heard any more")
		case Refused:
			t.Faults = append(t.Faults, prefixed("node "+t.names[r.Peer]+" refuses: ", r.Why)...)
			ok = false
		default:
			t.Faults = append(t.Faults, fmt.Sprintf("node %s is heard and does not answer: nothing is put in force; look at its log", t.names[r.Peer]))
			ok = false
		}
	}
	return done, ok
}

func (t *Transaction) absent(peer uint16, why string) {
	t.Warnings = append(t.Warnings, fmt.Sprintf("node %s %s: it takes this policy when it is back, if nothing newer is there", t.names[peer], why))
}

// back tells all to go back. Who does not hear it goes back by itself.
func (t *Transaction) back(peers []uint16, own bool) {
	if own {
		if err := t.Own(wire.StepRevert); err != nil {
			t.Faults = append(t.Faults, err.Error())
		}
	}
	if len(peers) > 0 {
		t.Ask(wire.StepRevert, peers)
	}
}

// prefixed puts a word before each line.
func prefixed(word, text string) (all []string) {
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		all = append(all, word+line)
	}
	return all
}
