package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// WatchEvent is one line of `holdfast watch --json`. The kinds:
//
//	role     of this node; the first line, and again when it changes. Only the active
//	         node tells of connections.
//	new      a connection began
//	change   its state, replied or assured is another one
//	end      it ended, and why
//	shed     count events could not be told: this reader, or the node, did not keep up
type WatchEvent struct {
	Event    string    `json:"event"`
	Time     time.Time `json:"time"`
	SeenBy   string    `json:"seen_by"`         // the node that tells
	Role     string    `json:"role,omitempty"`  // of role: active, standby
	Count    uint64    `json:"count,omitempty"` // of shed
	*Watched           // of new, change and end
}

// Watched is the connection of an event, in the words of Conn.
type Watched struct {
	ID       string `json:"id"` // "" where a connection ends because it is opened again in its place
	Proto    string `json:"proto"`
	State    string `json:"state"`
	Was      string `json:"was,omitempty"` // of change: the state before, where that is what changed
	Original Tuple  `json:"original"`
	Reply    Tuple  `json:"reply"`
	Replied  bool   `json:"replied"`
	Assured  bool   `json:"assured"`
	Rule     string `json:"rule"`
	In       string `json:"in"`
	Out      string `json:"out"`
	Gateway  string `json:"gateway,omitempty"`
	Node     uint16 `json:"node"`             // number of the node that created it
	Reason   string `json:"reason,omitempty"` // of end: expired, replaced, killed, evicted, limited
}

// Watch calls each with every event of the connections that the selector names, from the
// role line on, until ctx ends, which is no error. An error of each ends it too.
func (c *Client) Watch(ctx context.Context, selector []string, each func(WatchEvent) error) error {
	q := url.Values{"selector": {strings.Join(selector, " ")}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://holdfast/v1/watch?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	endless := http.Client{Transport: c.http.Transport} // c.http gives up after a while
	resp, err := endless.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return c.unreachable(err, "watch")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(resp.Body, bodyMax))
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		return refusal(resp, body, "watch")
	}
	for lines := json.NewDecoder(resp.Body); ; {
		var e WatchEvent
		if err := lines.Decode(&e); err != nil {
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
				return fmt.Errorf("%w any more on %s: it has ended", ErrUnreachable, c.path)
			}
			return fmt.Errorf("watch: %w", err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
}

// watch answers with one line per event for as long as the client listens.
func watch(d Daemon) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		control := http.NewResponseController(w)
		// A client that has stopped reading must not hold up the end of the daemon.
		defer context.AfterFunc(ctx, func() { _ = control.SetWriteDeadline(time.Now()) })()
		lines := json.NewEncoder(w)
		begun := false
		err := d.Watch(ctx, strings.Fields(r.URL.Query().Get("selector")), func(events []WatchEvent) error {
			if !begun {
				begun = true
				w.Header().Set("Content-Type", "application/x-ndjson")
			}
			for i := range events {
				if err := lines.Encode(&events[i]); err != nil {
					return err
				}
			}
			return control.Flush()
		})
		if !begun && err != nil {
			answer(w)(nil, err)
		}
	}
}
