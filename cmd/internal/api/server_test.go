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
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fake answers every request with what it was given, and remembers the question.
type fake struct {
	err    error
	last   string
	events chan []WatchEvent // what Watch tells, until it is closed
	gone   chan struct{}     // Watch has ended

	watches sync.Mutex // guards last against watchers
}

func (f *fake) Status(history bool) (Status, error) {
	f.last = fmt.Sprint("status ", history)
	return Status{Node: "fw-a", Degraded: []string{}, Started: time.Unix(1_700_000_000, 0).UTC()}, f.err
}

func (f *fake) Conns(selector []string, countOnly bool) (Conns, error) {
	f.last = fmt.Sprintf("conns %q %v", selector, countOnly)
	return Conns{Count: 1, Connections: []Conn{{ID: "0001", Packets: [2]uint64{3, 4}}}}, f.err
}

func (f *fake) Drops() (Drops, error) {
	f.last = "drops"
	return Drops{Ports: []PortDrops{{Port: "lan", Receive: map[string]uint64{"ttl": 2}}}}, f.err
}

func (f *fake) Crashes() (Crashes, error) {
	f.last = "crashes"
	return Crashes{Count: 1, Ports: []string{"lan"}, Crashes: []Crash{{Port: "lan", Panic: "index out of range", Frame: []byte{1, 2}}}}, f.err
}

func (f *fake) Gateways() (Gateways, error) {
	f.last = "gateways"
	return Gateways{Gateways: []Gateway{{Name: "isp1", State: "up"}}}, f.err
}

func (f *fake) Kill(r KillRequest) (KillResult, error) {
	f.last = fmt.Sprintf("kill %+v", r)
	return KillResult{DryRun: r.DryRun, Killed: map[string]int{"fw-a": 7}}, f.err
}

func (f *fake) Rules() (Rules, error) {
	f.last = "rules"
	return Rules{Rules: []Rule{{ID: "web"}}}, f.err
}

func (f *fake) Explain(r ExplainRequest) (Explained, error) {
	f.last = fmt.Sprintf("explain %+v", r)
	return Explained{Node: "fw-a", Explanation: Explanation{In: r.In, Verdict: "pass", Rule: "web"}}, f.err
}

func (f *fake) Plan(r PlanRequest) (Plan, error) {
	f.last = fmt.Sprintf("plan %+v", r)
	return Plan{File: r.File}, f.err
}

func (f *fake) Reload(r ReloadRequest) (Plan, error) {
	f.last = fmt.Sprintf("reload %+v", r)
	return Plan{File: r.File}, f.err
}

func (f *fake) Confirm() (Done, error) {
	f.last = "confirm"
	return Done{Done: "confirmed"}, f.err
}

func (f *fake) Promote(r PromoteRequest) (Done, error) {
	f.last = fmt.Sprintf("promote %+v", r)
	return Done{Done: "promoted"}, f.err
}

func (f *fake) Demote(r DemoteRequest) (Done, error) {
	f.last = fmt.Sprintf("demote %+v", r)
	return Done{Done: "demoted"}, f.err
}

func (f *fake) Watch(ctx context.Context, selector []string, each func([]WatchEvent) error) error {
	f.watches.Lock() // several may watch at once
	f.last = fmt.Sprintf("watch %q", selector)
	f.watches.Unlock()
	if f.err != nil {
		return f.err
	}
	for batch := range f.events {
		if err := each(batch); err != nil {
			return err
		}
	}
	<-ctx.Done()
	f.gone <- struct{}{}
	return nil
}

// serve runs a server of f on a socket of its own until the test ends.
func serve(t *testing.T, f *fake) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "run", "holdfast.sock")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(f) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-served, s.Close()); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	return path
}

// raw sends any request and returns the status and the body.
func raw(t *testing.T, path, method, url string, body io.Reader) (int, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, "http://holdfast"+url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := NewClient(path).http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("%s %s is answered with %s", method, url, kind)
	}
	return resp.StatusCode, b
}

// Every request reaches the daemon with all that it says, and the answer comes back whole.
func TestEveryRequestReachesTheDaemon(t *testing.T) {
	f := &fake{}
	c := NewClient(serve(t, f))
	ctx := context.Background()
	for _, row := range []struct {
		ask  func() (any, error)
		want string
	}{
		{func() (any, error) { return c.Status(ctx, false) }, "status false"},
		{func() (any, error) { return c.Status(ctx, true) }, "status true"},
		{func() (any, error) { return c.Conns(ctx, nil, false) }, `conns [] false`},
		{func() (any, error) { return c.Conns(ctx, []string{"proto=tcp", "dst=2001:db8::/32"}, true) }, `conns ["proto=tcp" "dst=2001:db8::/32"] true`},
		{func() (any, error) { return c.Conns(ctx, []string{"label=a&count=b+c%"}, false) }, `conns ["label=a&count=b+c%"] false`},
		{func() (any, error) { return c.Drops(ctx) }, "drops"},
		{func() (any, error) { return c.Crashes(ctx) }, "crashes"},
		{func() (any, error) { return c.Gateways(ctx) }, "gateways"},
		{func() (any, error) {
			return c.Kill(ctx, KillRequest{Selector: []string{"all"}, DryRun: true, Manner: "silent"})
		}, "kill {Selector:[all] DryRun:true Manner:silent}"},
		{func() (any, error) { return c.Rules(ctx) }, "rules"},
		{func() (any, error) { return c.Plan(ctx, PlanRequest{File: "/p"}) }, "plan {File:/p}"},
		{func() (any, error) { return c.Reload(ctx, ReloadRequest{File: "/p", Confirm: 60}) }, "reload {File:/p Confirm:60 ThisNode:false}"},
		{func() (any, error) { return c.Confirm(ctx) }, "confirm"},
		{func() (any, error) { return c.Promote(ctx, PromoteRequest{Group: "main", Force: true}) }, "promote {Group:main Force:true}"},
		{func() (any, error) { return c.Demote(ctx, DemoteRequest{Group: "main"}) }, "demote {Group:main}"},
	} {
		got, err := row.ask()
		if err != nil || f.last != row.want {
			t.Errorf("asked %q, the daemon heard %q: %v", row.want, f.last, err)
		}
		var want any
		switch got.(type) {
		case Status:
			want, _ = f.Status(false)
		case Conns:
			want, _ = f.Conns(nil, false)
		case Drops:
			want, _ = f.Drops()
		case Crashes:
			want, _ = f.Crashes()
		case Gateways:
			want, _ = f.Gateways()
		case KillResult:
			want = KillResult{DryRun: true, Killed: map[string]int{"fw-a": 7}}
		case Done:
			want = Done{Done: strings.TrimSuffix(strings.Fields(row.want)[0], "e") + "ed"}
		case Rules:
			want, _ = f.Rules()
		case Plan:
			want = Plan{File: "/p"}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", row.want, diff)
		}
	}
}

// A refusal is 409 and ErrRefused, wrong usage is 400 and ErrUsage; the daemon's words
// come through, once.
func TestErrors(t *testing.T) {
	f := &fake{}
	path := serve(t, f)
	c := NewClient(path)
	ctx := context.Background()
	for _, row := range []struct {
		err    error
		status int
		is     error
		text   string
	}{
		{errors.New("no peer is ready"), http.StatusConflict, ErrRefused, "refused: no peer is ready"},
		{fmt.Errorf("%w: no key %q", ErrUsage, "frob"), http.StatusBadRequest, ErrUsage, `wrong usage: no key "frob"`},
	} {
		f.err = row.err
		_, eStatus := c.Status(ctx, false)
		_, eConns := c.Conns(ctx, nil, false)
		_, eDrops := c.Drops(ctx)
		_, eKill := c.Kill(ctx, KillRequest{})
		_, ePromote := c.Promote(ctx, PromoteRequest{})
		_, eDemote := c.Demote(ctx, DemoteRequest{})
		for i, err := range []error{eStatus, eConns, eDrops, eKill, ePromote, eDemote} {
			if !errors.Is(err, row.is) || !strings.HasSuffix(err.Error(), row.text) {
				t.Errorf("request %d: %v, want %q", i, err, row.text)
			}
		}
		status, body := raw(t, path, "GET", "/v1/status", nil)
		var e Error
		if err := json.Unmarshal(body, &e); err != nil || status != row.status || e.Error != row.err.Error() {
			t.Errorf("status %d, body %s, want %d", status, body, row.status)
		}
	}
}

// A request that is wrong in itself never reaches the daemon, and is answered with an
// Error object.
func TestBadRequests(t *testing.T) {
	f := &fake{}
	path := serve(t, f)
	big := append([]byte(`{"group":"`), bytes.Repeat([]byte("x"), bodyMax)...)
	big = append(big, `"}`...)
	for name, row := range map[string]struct {
		method, url, body string
		status            int
		says              string
	}{
		"unknown field":  {"POST", "/v1/kill", `{"selector":["all"],"manners":"silent"}`, 400, "manners"},
		"wrong type":     {"POST", "/v1/kill", `{"selector":"all"}`, 400, "selector"},
		"no body":        {"POST", "/v1/demote", "", 400, "EOF"},
		"not an object":  {"POST", "/v1/demote", "[]", 400, "array"},
		"cut off":        {"POST", "/v1/demote", `{"group":`, 400, "EOF"},
		"two objects":    {"POST", "/v1/promote", `{"group":"a"}{"force":true}`, 400, "follows"},
		"oversized":      {"POST", "/v1/demote", string(big), 400, "too large"},
		"unknown path":   {"GET", "/v1/frob", "", 404, "/v1/frob"},
		"no version":     {"GET", "/status", "", 404, "/status"},
		"root":           {"GET", "/", "", 404, "GET /"},
		"kill by GET":    {"GET", "/v1/kill", "", 404, "GET /v1/kill"},
		"status by POST": {"POST", "/v1/status", "{}", 404, "POST /v1/status"},
	} {
		t.Run(name, func(t *testing.T) {
			f.last = ""
			status, body := raw(t, path, row.method, row.url, strings.NewReader(row.body))
			var e Error
			if err := json.Unmarshal(body, &e); err != nil || status != row.status || !strings.Contains(e.Error, row.says) {
				t.Errorf("status %d, body %s; want %d and %q", status, body, row.status, row.says)
			}
			if f.last != "" {
				t.Errorf("the daemon heard %q", f.last)
			}
		})
	}
}

// Only the owner may ask: the socket has mode 0600 from its first moment.
func TestSocketMode(t *testing.T) {
	info, err := os.Stat(serve(t, &fake{}))
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode()&os.ModeSocket == 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// A socket that a dead daemon left is replaced; a living daemon's never is.
func TestStaleSocketIsReplacedAndALivingOneNever(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdfast.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if _, err := NewClient(path).Drops(context.Background()); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("a dead daemon's socket: %v", err)
	}
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	go first.Serve(&fake{})
	for range 2 {
		if _, err := Listen(path); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), path) {
			t.Errorf("the second daemon: %v", err)
		}
		if _, err := Lock(path); !errors.Is(err, ErrRunning) {
			t.Errorf("the lock: %v", err)
		}
		if _, err := NewClient(path).Drops(context.Background()); err != nil {
			t.Errorf("the first daemon after the second's attempt: %v", err)
		}
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	again, err := Listen(path)
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	if err := again.Close(); err != nil { // without Serve
		t.Error(err)
	}
}

// Nobody there is ErrUnreachable, and says where it asked.
func TestUnreachable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.sock")
	_, err := NewClient(path).Status(context.Background(), false)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "holdfast run") {
		t.Errorf("%v", err)
	}
}

// A socket that cannot be made says where and leaves no lock held.
func TestListenWhereItCannot(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(dir, "full.sock") // a folder that is not empty stands there
	if err := os.MkdirAll(filepath.Join(full, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "holdfast.sock"), full, filepath.Join(dir, strings.Repeat("x", 120))} {
		_, err := Listen(path)
		if err == nil || errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), "api socket") {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{full, filepath.Join(dir, strings.Repeat("x", 120))} {
		lock, err := Lock(path)
		if err != nil {
			t.Fatalf("the lock is still held: %v", err)
		}
		lock.Close()
	}
}
