package api

import (
	"context"
	"time"
)

// Containment is what panics of workers have come to.
type Containment struct {
	Panics      uint64 `json:"panics"`      // of this node's workers, contained, since its start
	Quarantined int    `json:"quarantined"` // packets that are dropped undecoded: they made a worker panic, here or at a peer
}

// Crashes is `holdfast crashes --json`: the last panics of workers, oldest first.
type Crashes struct {
	Count   uint64   `json:"count"` // since the daemon's start; the last 64 are kept
	Ports   []string `json:"ports"`
	Crashes []Crash  `json:"crashes"`
}

// Crash is a panic of a worker that was contained.
type Crash struct {
	At     time.Time `json:"at"`
	Worker int       `json:"worker"`
	Port   string    `json:"port"`  // the packet came in by it
	Own    bool      `json:"own"`   // no: this node was about to send it there
	Panic  string    `json:"panic"` // what it said
	Stack  string    `json:"stack"`
	Frame  []byte    `json:"frame"`  // base64; empty where no packet could be blamed
	Digest string    `json:"digest"` // by which the packet is recognised
}

// Crashes asks for the last panics.
func (c *Client) Crashes(ctx context.Context) (s Crashes, err error) {
	return s, c.get(ctx, "crashes", nil, &s)
}
