package api

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

var someEvents = []WatchEvent{
	{Event: "role", Time: time.Unix(1_700_000_000, 0).UTC(), SeenBy: "fw-a", Role: "active"},
	{Event: "change", Time: time.Unix(1_700_000_001, 500).UTC(), SeenBy: "fw-a", Watched: &Watched{ID: "0001", Proto: "tcp", State: "SYN_RECV", Was: "SYN_SENT",
		Original: Tuple{"10.0.0.5", "198.51.100.9", 40001, 443}, Reply: Tuple{"198.51.100.9", "203.0.113.1", 443, 61234}, Replied: true, Rule: "out", In: "lan", Out: "wan"}},
	{Event: "shed", Time: time.Unix(1_700_000_002, 0).UTC(), SeenBy: "fw-a", Count: 7},
}

func newFakeWatched() *fake {
	return &fake{events: make(chan []WatchEvent, 8), gone: make(chan struct{}, 8)}
}

// Events come through whole and at once, one by one, until the client goes; then the
// daemon's side ends too.
func TestWatch(t *testing.T) {
	f := newFakeWatched()
	c := NewClient(serve(t, f))
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan WatchEvent)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Watch(ctx, []string{"proto=tcp", "dport=443"}, func(e WatchEvent) error { got <- e; return nil })
	}()
	for i, want := range someEvents {
		f.events <- someEvents[i : i+1] // the next one only after this one has come
		select {
		case e := <-got:
			if diff := cmp.Diff(want, e); diff != "" {
				t.Error(diff)
			}
		case err := <-ended:
			t.Fatalf("it ended: %v", err)
		case <-time.After(patience):
			t.Fatalf("event %d does not come", i)
		}
	}
	if f.last != `watch ["proto=tcp" "dport=443"]` {
		t.Errorf("the daemon heard %s", f.last)
	}
	close(f.events)
	cancel()
	for _, end := range []<-chan error{ended, errorOf(f.gone)} {
		select {
		case err := <-end:
			if err != nil {
				t.Errorf("the end of the client: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("it does not end")
		}
	}
}

func errorOf(c <-chan struct{}) <-chan error {
	e := make(chan error, 1)
	go func() { <-c; e <- nil }()
	return e
}

// What is wrong is said as by every other request, and an end that the client did not ask
// for is one of the daemon.
func TestWatchRefused(t *testing.T) {
	f := newFakeWatched()
	path := serve(t, f)
	nothing := func(WatchEvent) error { return nil }
	ctx := context.Background()
	f.err = fmt.Errorf("%w: selector: unknown key", ErrUsage)
	if err := NewClient(path).Watch(ctx, nil, nothing); !errors.Is(err, ErrUsage) || strings.Count(err.Error(), "wrong usage") != 1 {
		t.Errorf("wrong usage: %v", err)
	}
	f.err = errors.New("too many")
	if err := NewClient(path).Watch(ctx, nil, nothing); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "too many") {
		t.Errorf("refused: %v", err)
	}
	none := filepath.Join(t.TempDir(), "none.sock")
	if err := NewClient(none).Watch(ctx, nil, nothing); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), none) {
		t.Errorf("nobody there: %v", err)
	}
	f.err = nil
	f.events <- someEvents
	enough := errors.New("enough")
	if err := NewClient(path).Watch(ctx, nil, func(WatchEvent) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the callback's error: %v", err)
	}
	close(f.events)
}

// The end of the daemon ends who watches, also one who has stopped reading.
func TestCloseEndsWatchers(t *testing.T) {
	f := newFakeWatched()
	path := filepath.Join(t.TempDir(), "holdfast.sock")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(f) }()
	go func() { // far more than the sockets hold
		defer close(f.events)
		for range 64 {
			f.events <- make([]WatchEvent, 4096)
		}
	}()
	first, once := make(chan struct{}), sync.Once{}
	reads := make(chan error, 1)
	go func() {
		reads <- NewClient(path).Watch(context.Background(), nil, func(WatchEvent) error {
			once.Do(func() { close(first) })
			return nil
		})
	}()
	resp, err := NewClient(path).http.Get("http://holdfast/v1/watch") // reads the head and no more
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-first
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if err := <-reads; !errors.Is(err, ErrUnreachable) {
		t.Errorf("who watches: %v", err)
	}
	if err := <-served; err != nil || time.Since(began) > patience {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
