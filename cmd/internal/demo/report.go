package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Report is what `holdfast demo --json` prints.
type Report struct {
	OK     bool    `json:"ok"`
	Trials []Trial `json:"trials"`
}

// Trial is one failover.
type Trial struct {
	Download    Download    `json:"download"`
	Connections Connections `json:"connections"`
	BlackoutMS  float64     `json:"blackout_ms"` // longest time between two answers on the 1 kHz connection
	PacketsLost PacketsLost `json:"packets_lost"`
	Fresh       Fresh       `json:"fresh"`
	Active      []Tenure    `json:"active"`
	Ports       []Port      `json:"ports"`
	Problems    []string    `json:"problems,omitempty"` // why ok is false
}

// Download is the big transfer.
type Download struct {
	Bytes    int64   `json:"bytes"`
	SHA256OK bool    `json:"sha256_ok"`
	AtKill   int64   `json:"bytes_at_kill"`
	Seconds  float64 `json:"seconds"`
}

// Connections counts TCP connections that lived when the active node was killed.
type Connections struct {
	Before     int     `json:"before"`
	After      int     `json:"after"`
	Lost       int     `json:"lost"`
	YoungestMS float64 `json:"youngest_ms"`     // age of the youngest at the kill
	Translated int     `json:"port_translated"` // whose external port differs from the client's
}

// PacketsLost counts datagrams without an answer.
type PacketsLost struct {
	UDP  int64 `json:"udp"`
	Ping int64 `json:"ping"`
}

// Fresh counts the connections opened after the failover.
type Fresh struct {
	Opened    int `json:"opened"`
	PortTwice int `json:"port_twice"` // external ports that a living connection had already
}

// Tenure says how long a node was active.
type Tenure struct {
	Node string    `json:"node"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Port says how a port of a node was driven.
type Port struct {
	Node string `json:"node"`
	Port string `json:"port"`
	Mode string `json:"mode"`
}

func (t *Trial) problem(format string, args ...any) {
	t.Problems = append(t.Problems, fmt.Sprintf(format, args...))
}

// WriteJSON prints the report as one object.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteText prints the report for a person.
func (r *Report) WriteText(w io.Writer) {
	for i := range r.Trials {
		if len(r.Trials) > 1 {
			fmt.Fprintf(w, "\ntrial %d of %d", i+1, len(r.Trials))
		}
		r.Trials[i].write(w)
	}
	if len(r.Trials) > 1 {
		r.writeSummary(w)
	}
	if r.OK {
		fmt.Fprintln(w, "\nNothing was lost: the active node died, its connections held fast.")
	} else {
		fmt.Fprintln(w, "\nNOT OK: see the lines marked with !")
	}
}

func (t *Trial) write(w io.Writer) {
	sum := "SHA-256 equal"
	if !t.Download.SHA256OK {
		sum = "SHA-256 DIFFERS OR INCOMPLETE"
	}
	fmt.Fprintf(w, "\n  download      %d MB, %s, %.1f s; the active node was killed at %d %%\n",
		t.Download.Bytes>>20, sum, t.Download.Seconds, 100*t.Download.AtKill/max(t.Download.Bytes, 1))
	fmt.Fprintf(w, "  connections   %d before, %d after, %d lost; youngest %.0f ms old at the kill, %d with a translated port\n",
		t.Connections.Before, t.Connections.After, t.Connections.Lost, t.Connections.YoungestMS, t.Connections.Translated)
	fmt.Fprintf(w, "  blackout      %.1f ms on the connection with a request every millisecond\n", t.BlackoutMS)
	fmt.Fprintf(w, "  packets lost  %d UDP datagrams at 1 per ms, %d pings at 1 per 10 ms\n", t.PacketsLost.UDP, t.PacketsLost.Ping)
	fmt.Fprintf(w, "  afterwards    %d new connections opened, %d external ports found twice\n", t.Fresh.Opened, t.Fresh.PortTwice)
	for _, a := range t.Active {
		fmt.Fprintf(w, "  active        %s from %s to %s\n", a.Node, a.From.Format("15:04:05.000"), a.To.Format("15:04:05.000"))
	}
	for i, p := range t.Ports {
		label := ""
		if i == 0 {
			label = "AF_XDP"
		}
		fmt.Fprintf(w, "  %-13s %s %s: %s\n", label, p.Node, p.Port, p.Mode)
	}
	for _, p := range t.Problems {
		fmt.Fprintln(w, "! ", p)
	}
}

func (r *Report) writeSummary(w io.Writer) {
	var blackouts []float64
	lost, passed := 0, 0
	for _, t := range r.Trials {
		blackouts = append(blackouts, t.BlackoutMS)
		lost += t.Connections.Lost
		if len(t.Problems) == 0 {
			passed++
		}
	}
	slices.Sort(blackouts)
	fmt.Fprintf(w, "\n%d of %d trials passed; %d connections lost; blackout median %.1f ms, longest %.1f ms\n",
		passed, len(r.Trials), lost, blackouts[len(blackouts)/2], blackouts[len(blackouts)-1])
}
