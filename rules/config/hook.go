package config

import (
	"fmt"
	"strings"
	"time"
)

// Hook is a program that is run when something happens.
type Hook struct {
	Pos     Position       // of its [[hooks]]
	Events  []Value[Event] // at least one
	Command []Value[string]
	Timeout Value[time.Duration] // until it is killed
}

// Event is a kind of thing that happens.
type Event uint8

// The kinds of events.
const (
	EventRole    Event = iota // this node's role for a group changed, or the daemon starts or ends
	EventGateway              // a gateway came up or went down
	EventSync                 // a peer is heard, or is not; this node is ready, or is not
	EventTrack                // something tracked came up or went down
)

// String returns the word of the file.
func (e Event) String() string { return [...]string{"role", "gateway", "sync", "track"}[e] }

// MarshalText is String.
func (e Event) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// Defaults and bounds of a Hook.
const (
	DefaultHookTimeout = 10 * time.Second
	hooksMax           = 32
	commandMax         = 32 // words
)

// readHook reads one of [[hooks]].
func readHook(t *table) Hook {
	h := Hook{Pos: t.pos, Timeout: byDefault(DefaultHookTimeout)}
	if t.n.get("on") == nil {
		t.missing("on", `["role"]`)
	}
	many(t, "on", choice("an event", EventRole, EventGateway, EventSync, EventTrack), &h.Events)
	if t.n.get("command") == nil {
		t.missing("command", `["/usr/local/sbin/on-role"]`)
	}
	h.Command = readCommand(t)
	one(t, "timeout", duration(100*time.Millisecond, time.Hour), &h.Timeout)
	t.close("")
	return h
}

// readCommand reads a program's path and arguments: no shell takes them apart.
func readCommand(t *table) (words []Value[string]) {
	many(t, "command", text("a word of a command", pathMax, `"/usr/local/sbin/check"`), &words)
	if len(words) == 0 {
		return nil
	}
	if !strings.HasPrefix(words[0].V, "/") {
		t.refuse(words[0].Pos, fmt.Sprintf("%q is not the whole path of a program", words[0].V), `write ["/usr/local/sbin/check", "an argument"]: no shell reads it`)
	}
	if len(words) > commandMax {
		t.refuse(words[commandMax].Pos, fmt.Sprintf("a command of more than %d words", commandMax), "put it into a script")
	}
	return words
}

// words returns a command as the system wants it.
func words(command []Value[string]) (all []string) {
	for _, w := range command {
		all = append(all, w.V)
	}
	return all
}

// Argv returns the program and its arguments.
func (h *Hook) Argv() []string { return words(h.Command) }
