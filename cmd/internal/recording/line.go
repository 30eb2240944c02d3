package recording

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/sync/wire"
)

// Line is one thing that a capture shows: a message where the datagram could be opened,
// else the datagram.
type Line struct {
	At       time.Time      `json:"at"`
	Frame    uint64         `json:"frame"` // number in the capture, from 1
	From     string         `json:"from"`
	To       string         `json:"to"`
	Kind     string         `json:"kind"`              // knock, handshake1, handshake2, sealed, or other
	Session  string         `json:"session,omitempty"` // the receiver's id
	Lane     uint16         `json:"lane"`              // of the session
	Counter  uint64         `json:"counter"`
	Bytes    int            `json:"bytes"`             // of the message with its frame header, else of the datagram
	Batch    string         `json:"batch,omitempty"`   // "control", or lane and number: "0/17"
	Message  string         `json:"message,omitempty"` // its type
	Says     map[string]any `json:"says,omitempty"`
	Notes    []string       `json:"notes,omitempty"` // late, repeated, again, ...
	Trouble  string         `json:"trouble,omitempty"`
	sentence []wire.Field   // Says, in order
}

// String is the line as people read it.
func (l *Line) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s > %s ", l.At.UTC().Format("15:04:05.000000"), l.From, l.To)
	switch {
	case l.Batch != "":
		fmt.Fprintf(&b, "%s %s", l.Batch, l.Message)
	default:
		b.WriteString(l.Kind)
		if l.Session != "" {
			fmt.Fprintf(&b, " session %s", l.Session)
		}
		if l.Kind == "sealed" {
			fmt.Fprintf(&b, " lane %d counter %d", l.Lane, l.Counter)
		}
		fmt.Fprintf(&b, ", %d bytes", l.Bytes)
	}
	for _, f := range l.sentence {
		if text, ok := f.Value.(string); ok && (text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '"' || r > '~' })) {
			fmt.Fprintf(&b, " %s=%q", f.Name, text)
		} else {
			fmt.Fprintf(&b, " %s=%v", f.Name, f.Value)
		}
	}
	if len(l.Notes) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(l.Notes, ", "))
	}
	if l.Trouble != "" {
		fmt.Fprintf(&b, " REFUSED: %s", l.Trouble)
	}
	return b.String()
}

// say gives the line a message's words.
func (l *Line) say(fields []wire.Field) {
	l.sentence = fields
	l.Says = map[string]any{}
	for _, f := range fields {
		l.Says[f.Name] = f.Value
	}
}

// Count is how many there were of something.
type Count struct {
	Count uint64 `json:"count"`
	Bytes uint64 `json:"bytes"`
}

// Totals is what a capture came to.
type Totals struct {
	Frames    uint64           `json:"frames"`    // in the capture
	Datagrams map[string]Count `json:"datagrams"` // of the sync link, by kind; "other": what is none of it
	Messages  map[string]Count `json:"messages"`  // by type
	Missing   uint64           `json:"missing"`   // counters that were skipped and did not come late
	Late      uint64           `json:"late"`
	Repeated  uint64           `json:"repeated"`
	Again     uint64           `json:"again"`  // batches told again
	Closed    uint64           `json:"closed"` // sealed datagrams without a key in the key log
	Refused   map[string]Count `json:"refused"`
}

func add(m map[string]Count, name string, bytes int) {
	c := m[name]
	c.Count++
	c.Bytes += uint64(bytes)
	m[name] = c
}

// String is the totals as people read them, several lines.
func (t *Totals) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d frames\n", t.Frames)
	table := func(what string, m map[string]Count) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(&b, "%-9s %-20s %10d %12d bytes\n", what, name, m[name].Count, m[name].Bytes)
		}
	}
	table("datagrams", t.Datagrams)
	table("messages", t.Messages)
	table("refused", t.Refused)
	fmt.Fprintf(&b, "counters  %d missing, %d late, %d repeated; %d batches told again; %d datagrams without a key\n",
		t.Missing, t.Late, t.Repeated, t.Again, t.Closed)
	return b.String()
}
