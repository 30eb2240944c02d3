package api

import (
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
	"time"

	"golang.org/x/sys/unix"
)

// Daemon is what the server asks. Errors that wrap ErrUsage are answered with 400,
// all others with 409.
type Daemon interface {
	TableKeeper
	Status(history bool) (Status, error)
	Conns(selector []string, countOnly bool) (Conns, error)
	Drops() (Drops, error)
	Crashes() (Crashes, error)
	Gateways() (Gateways, error)
	Kill(KillRequest) (KillResult, error)
	Rules() (Rules, error)
	Explain(ExplainRequest) (Explained, error)
	Plan(PlanRequest) (Plan, error)
	Reload(ReloadRequest) (Plan, error)
	Confirm() (Done, error)
	Promote(PromoteRequest) (Done, error)
	Demote(DemoteRequest) (Done, error)
	// Watch calls each with the events of the connections that the selector names, a few
	// at a time and at once with the first, until ctx ends or each fails.
	Watch(ctx context.Context, selector []string, each func([]WatchEvent) error) error
}

// ErrUsage marks a request that is wrong in itself.
var ErrUsage = errors.New("wrong usage")

// errNotFound says that there is no such request.
var errNotFound = errors.New("no such request")

// bodyMax bounds a request's body in bytes.
const bodyMax = 1 << 20

// Server serves one daemon on one unix socket.
type Server struct {
	http     http.Server
	listener net.Listener
	lock     *os.File
	closed   sync.Once
	ctx      context.Context // of all requests
	cancel   context.CancelFunc
}

// Listen takes the socket at path for this process. A second daemon on the same path
// is refused by a lock on path + ".lock", so a stale socket file of a dead daemon is
// replaced and a living one never is.
func Listen(path string) (*Server, error) {
	lock, err := Lock(path)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		lock.Close()
		return nil, fmt.Errorf("api socket %s: cannot replace the old one: %w", path, err)
	}
	old := unix.Umask(0o177)
	listener, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("api socket %s: %w", path, err)
	}
	s := &Server{listener: listener, lock: lock}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// ErrRunning says that a daemon holds the socket.
var ErrRunning = errors.New("a holdfast daemon is running")

// Lock takes the lock that a daemon holds for as long as it lives; closing the file
// releases it. The error wraps ErrRunning where a daemon holds it.
func Lock(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("api socket: %w", err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("api socket %s: %w", path, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%w and holds %s: stop it first, or give this one another `socket`", ErrRunning, path)
	}
	return lock, nil
}

// Serve answers until Close.
func (s *Server) Serve(d Daemon) error {
	s.http.Handler = Handler(d)
	s.http.ReadHeaderTimeout = 5 * time.Second
	s.http.BaseContext = func(net.Listener) context.Context { return s.ctx }
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("api: %w", err)
	}
	return nil
}

// Close stops serving, removes the socket and releases the lock. A second call does nothing.
func (s *Server) Close() (err error) {
	s.closed.Do(func() {
		s.cancel() // who watches would watch for ever
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		err = s.http.Shutdown(ctx)
		_ = s.listener.Close() // in case Serve never ran; otherwise it is closed already
		err = errors.Join(err, s.lock.Close())
	})
	return err
}

// Handler routes the requests to d.
func Handler(d Daemon) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		answer(w)(d.Status(r.URL.Query().Has("history")))
	})
	mux.HandleFunc("GET /v1/conns", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		answer(w)(d.Conns(strings.Fields(q.Get("selector")), q.Has("count")))
	})
	mux.HandleFunc("GET /v1/drops", func(w http.ResponseWriter, r *http.Request) {
		answer(w)(d.Drops())
	})
	mux.HandleFunc("GET /v1/crashes", func(w http.ResponseWriter, r *http.Request) {
		answer(w)(d.Crashes())
	})
	mux.HandleFunc("GET /v1/gateways", func(w http.ResponseWriter, r *http.Request) {
		answer(w)(d.Gateways())
	})
	handleTables(mux, d)
	mux.HandleFunc("GET /v1/watch", watch(d))
	mux.HandleFunc("POST /v1/kill", post(d.Kill))
	mux.HandleFunc("GET /v1/rules", func(w http.ResponseWriter, r *http.Request) {
		answer(w)(d.Rules())
	})
	mux.HandleFunc("POST /v1/explain", post(d.Explain))
	mux.HandleFunc("POST /v1/plan", post(d.Plan))
	mux.HandleFunc("POST /v1/reload", post(d.Reload))
	mux.HandleFunc("POST /v1/confirm", post(func(ConfirmRequest) (Done, error) { return d.Confirm() }))
	mux.HandleFunc("POST /v1/promote", post(d.Promote))
	mux.HandleFunc("POST /v1/demote", post(d.Demote))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w)(nil, fmt.Errorf("%w: %s %s: its paths begin with /v1 and stand in the documentation of the API", errNotFound, r.Method, r.URL.Path))
	})
	return mux
}

// post decodes a request strictly and answers with what do makes of it.
func post[Q, A any](do func(Q) (A, error)) http.HandlerFunc { return postUpTo(bodyMax, do) }

// postUpTo is post for bodies of so many bytes.
func postUpTo[Q, A any](most int64, do func(Q) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
		dec.DisallowUnknownFields()
		err := dec.Decode(&q)
		if err == nil {
			if _, after := dec.Token(); !errors.Is(after, io.EOF) {
				err = errors.New("something follows the object")
			}
		}
		if err != nil {
			answer(w)(nil, fmt.Errorf("%w: request body: %w", ErrUsage, err))
			return
		}
		answer(w)(do(q))
	}
}

// answer returns a function that writes a result or its error.
func answer(w http.ResponseWriter) func(any, error) {
	return func(v any, err error) {
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			code := http.StatusConflict
			switch {
			case errors.Is(err, ErrUsage):
				code = http.StatusBadRequest
			case errors.Is(err, errNotFound), errors.Is(err, ErrNoTable):
				code = http.StatusNotFound
			}
			w.WriteHeader(code)
			v = Error{Error: err.Error()}
		}
		// The client is gone if this fails, and nobody is left to tell.
		_ = json.NewEncoder(w).Encode(v)
	}
}
