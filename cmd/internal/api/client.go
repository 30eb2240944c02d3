package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrUnreachable says that no daemon answers on the socket.
var ErrUnreachable = errors.New("daemon not reachable")

// ErrRefused says that the daemon understood and would not.
var ErrRefused = errors.New("refused")

// requestLimit is how long any request may take; a reload asks other nodes too.
const requestLimit = time.Minute

// Client talks to one daemon.
type Client struct {
	http http.Client
	path string
}

// NewClient returns a client of the daemon on the unix socket at path.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{
		path: path,
		http: http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: requestLimit},
	}
}

// Status asks for the daemon's status.
func (c *Client) Status(ctx context.Context, history bool) (s Status, err error) {
	q := url.Values{}
	if history {
		q.Set("history", "")
	}
	return s, c.get(ctx, "status", q, &s)
}

// Conns asks for the connections that the selector names.
func (c *Client) Conns(ctx context.Context, selector []string, countOnly bool) (s Conns, err error) {
	q := url.Values{"selector": {strings.Join(selector, " ")}}
	if countOnly {
		q.Set("count", "")
	}
	return s, c.get(ctx, "conns", q, &s)
}

// Drops asks for the drop counters.
func (c *Client) Drops(ctx context.Context) (s Drops, err error) {
	return s, c.get(ctx, "drops", nil, &s)
}

// Gateways asks for the policy's gateways.
func (c *Client) Gateways(ctx context.Context) (s Gateways, err error) {
	return s, c.get(ctx, "gateways", nil, &s)
}

// Kill ends connections.
func (c *Client) Kill(ctx context.Context, r KillRequest) (s KillResult, err error) {
	return s, c.post(ctx, "kill", r, &s)
}

// Rules asks for the rules with their counters.
func (c *Client) Rules(ctx context.Context) (s Rules, err error) {
	return s, c.get(ctx, "rules", nil, &s)
}

// Explain asks what would become of a packet. It changes nothing.
func (c *Client) Explain(ctx context.Context, r ExplainRequest) (s Explained, err error) {
	return s, c.post(ctx, "explain", r, &s)
}

// Plan asks what a reload would change.
func (c *Client) Plan(ctx context.Context, r PlanRequest) (s Plan, err error) {
	return s, c.post(ctx, "plan", r, &s)
}

// Reload puts a policy in force.
func (c *Client) Reload(ctx context.Context, r ReloadRequest) (s Plan, err error) {
	return s, c.post(ctx, "reload", r, &s)
}

// Confirm keeps what was reloaded on condition.
func (c *Client) Confirm(ctx context.Context) (s Done, err error) {
	return s, c.post(ctx, "confirm", ConfirmRequest{}, &s)
}

// Promote asks for the role of active node.
func (c *Client) Promote(ctx context.Context, r PromoteRequest) (s Done, err error) {
	return s, c.post(ctx, "promote", r, &s)
}

// Demote asks to hand the role over.
func (c *Client) Demote(ctx context.Context, r DemoteRequest) (s Done, err error) {
	return s, c.post(ctx, "demote", r, &s)
}

func (c *Client) get(ctx context.Context, what string, q url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://holdfast/v1/"+what+"?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return c.do(req, what, into)
}

func (c *Client) post(ctx context.Context, what string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://holdfast/v1/"+what, bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return c.do(req, what, into)
}

func (c *Client) do(req *http.Request, what string, into any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err, what)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp, body, what)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: the daemon's answer: %w", what, err)
	}
	return nil
}

// unreachable says why a request got no answer.
func (c *Client) unreachable(err error, what string) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w on %s (%w): is `holdfast run` up, and are you root?", ErrUnreachable, c.path, op.Err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// refusal turns the daemon's Error object into an error.
func refusal(resp *http.Response, body []byte, what string) error {
	var e Error
	if json.Unmarshal(body, &e) != nil || e.Error == "" {
		e.Error = resp.Status
	}
	if resp.StatusCode == http.StatusBadRequest {
		return fmt.Errorf("%w: %s", ErrUsage, strings.TrimPrefix(e.Error, ErrUsage.Error()+": "))
	}
	return fmt.Errorf("%s %w: %s", strings.ReplaceAll(what, "/", " "), ErrRefused, e.Error)
}
