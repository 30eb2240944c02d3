package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
)

// follower is a command that runs until it is interrupted.
type follower struct {
	cmd  *exec.Cmd
	out  *log
	errs bytes.Buffer
}

// follow begins to watch and returns once the first line is there.
func (d *daemon) follow(t *testing.T, args ...string) *follower {
	t.Helper()
	f := d.follows(t, append([]string{"watch"}, args...)...)
	f.says(t, "role")
	return f
}

// follows begins a command that goes on.
func (d *daemon) follows(t *testing.T, args ...string) *follower {
	t.Helper()
	f := &follower{out: &log{}}
	f.cmd = exec.Command(built(t), append(args, "--socket", d.place.files.socket)...)
	f.cmd.Stdout, f.cmd.Stderr = f.out, &f.errs
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f.cmd.ProcessState == nil {
			_ = f.cmd.Process.Kill()
			_ = f.cmd.Wait()
		}
	})
	return f
}

// says waits until a line has all the words.
func (f *follower) says(t *testing.T, words ...string) {
	t.Helper()
	told := false
	defer func() {
		if !told {
			t.Logf("no line with %q:\n%s", words, f.out)
		}
	}()
	eventually(t, strings.Join(words, " ")+" is told", func() bool {
		return slices.ContainsFunc(strings.Split(f.out.String(), "\n"), func(line string) bool {
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
		})
	})
	told = true
}

// interrupted ends it as Ctrl-C does, which is no error.
func (f *follower) interrupted(t *testing.T) {
	t.Helper()
	if err := f.cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Wait(); err != nil || f.errs.Len() != 0 {
		t.Errorf("interrupted, it ends with %v: %s", err, &f.errs)
	}
}

// A pair, watched on both nodes: what begins, changes and ends is told by the active one,
// as lines and as objects, and by the other one after the role has moved.
func TestO4_WatchAPair(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	a, b := s.startPair(t)
	a.tell(t, "watch", "protoo=udp").refused(t, exitUsage, `"protoo"`, "did you mean proto=")
	a.tell(t, "watch", "min-age=1s").refused(t, exitUsage, "min-age=", "listings")
	lines, objects, none, other := a.follow(t), a.follow(t, "--json", "proto=udp", "rule=inside-out"), a.follow(t, "proto=tcp"), b.follow(t)
	f := s.flow(t)
	f.answers(t)
	lines.says(t, "new     udp  10.0.0.10:", "> 203.0.113.10:4000", "(answered as 203.0.113.10:4000 > 203.0.113.2:", "UNREPLIED  lan>wan rule=inside-out id=")
	lines.says(t, "change  udp", "UNREPLIED -> REPLIED")
	if got := a.tell(t, "kill", "proto=udp").said(t); !strings.HasPrefix(got, "fw-a: 1 ") {
		t.Errorf("%q", got)
	}
	lines.says(t, "end     udp", "REPLIED", "killed")
	objects.says(t, `"event":"end"`, `"reason":"killed"`)

	b.tell(t, "promote").said(t)
	lines.says(t, "role", "fw-a is standby")
	other.says(t, "role", "fw-b is active")
	f.answers(t)
	other.says(t, "new     udp", "rule=inside-out")
	for _, w := range []*follower{lines, objects, other} {
		w.interrupted(t)
	}

	var kinds []string
	for dec := json.NewDecoder(strings.NewReader(objects.out.String())); dec.More(); {
		var e api.WatchEvent
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, e.Event)
		if e.SeenBy != "fw-a" || time.Since(e.Time).Abs() > time.Minute || (e.Watched == nil) != (e.Event == "role") {
			t.Errorf("%+v", e)
		}
	}
	if want := []string{"role", "new", "change", "end", "role"}; !slices.Equal(slices.Compact(kinds), want) {
		t.Errorf("told %v, want %v", kinds, want)
	}
	// The daemon ends beneath it.
	a.stop(t, unix.SIGTERM)
	err := none.cmd.Wait()
	if err == nil || none.cmd.ProcessState.ExitCode() != exitUnreachable || !strings.Contains(none.errs.String(), "has ended") {
		t.Errorf("the daemon is gone: %v: %s", err, &none.errs)
	}
	if n := strings.Count(none.out.String(), "\n"); n != 2 {
		t.Errorf("no TCP was there, and it told\n%s", none.out)
	}
}

// Every event is one line that a person can read.
func TestEventLines(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.Local)
	tcp := api.Watched{ID: "0000000000010001", Proto: "tcp", State: "ESTABLISHED", Was: "SYN_RECV", Assured: true, Rule: "web-out", In: "lan", Out: "wan", Gateway: "isp1",
		Original: api.Tuple{Src: "10.0.0.5", Dst: "198.51.100.9", SrcPort: 40001, DstPort: 443}, Reply: api.Tuple{Src: "198.51.100.9", Dst: "10.0.0.5", SrcPort: 443, DstPort: 40001}}
	nat := tcp
	nat.Reply.Dst, nat.Was, nat.Reason, nat.ID, nat.Gateway = "203.0.113.1", "", "replaced", "", ""
	for _, row := range []struct {
		event api.WatchEvent
		want  string
	}{
		{api.WatchEvent{Event: "role", SeenBy: "fw-a", Role: "active"}, "role    fw-a is active"},
		{api.WatchEvent{Event: "role", SeenBy: "fw-b", Role: "standby"}, "role    fw-b is standby: it tells of connections when it is active"},
		{api.WatchEvent{Event: "shed", Count: 12}, "shed    12 events are missing here"},
		{api.WatchEvent{Event: "change", Watched: &tcp}, "change  tcp  10.0.0.5:40001 > 198.51.100.9:443  SYN_RECV -> ESTABLISHED [ASSURED]  lan>wan rule=web-out gateway=isp1 id=0000000000010001"},
		{api.WatchEvent{Event: "end", Watched: &nat}, "end     tcp  10.0.0.5:40001 > 198.51.100.9:443 (answered as 198.51.100.9:443 > 203.0.113.1:40001)  ESTABLISHED [ASSURED] replaced  lan>wan rule=web-out"},
	} {
		var b bytes.Buffer
		row.event.Time = at
		if err := printEvent(&b, &row.event); err != nil || b.String() != "03:04:05.678 "+row.want+"\n" {
			t.Errorf("%q: %v", b.String(), err)
		}
	}
}
