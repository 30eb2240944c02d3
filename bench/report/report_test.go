package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// some is a result with a bit of everything.
func some(day string, value float64) *Result {
	return &Result{Schema: Schema, Machine: Machine{CPU: "a", Cores: 2, Date: day}, Name: day, Rows: []Row{
		{ID: "N1", Name: "first", Unit: "x", Better: More, PeerUnit: "packets/s", Notes: "a <note>", Points: []Point{
			{At: "here", Value: value, Min: value - .1, Max: value + .1, Must: .85, Aim: .95, OK: value >= .85, Own: 400_000,
				Peers: map[string]float64{"bare": 500_000}, Ratios: map[string]float64{"bare": value}, GeneratorBound: true},
		}},
		{ID: "N5", Name: "second", Unit: "ns", Better: Less, Quick: true, Points: []Point{
			{At: "10", Value: 58, Min: 50, Max: 60, Must: 60, Aim: 20, OK: true, Peers: map[string]float64{"list": 1e6}, Details: map[string]float64{"compile ms": 3}},
		}},
		{ID: "N9", Name: "third", Missing: "needs root"},
	}}
}

func TestAResultComesBackAsItWasStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "2026-01-02.json")
	r := some("2026-01-02", 0.9)
	if err := r.Store(path); err != nil {
		t.Fatal(err)
	}
	back, err := Load(path)
	if err != nil || fmt.Sprint(*back) != fmt.Sprint(*r) {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	for what, spoil := range map[string]func(*Result){
		"schema":          func(r *Result) { r.Schema++ },
		"date":            func(r *Result) { r.Machine.Date = "yesterday" },
		"stands twice":    func(r *Result) { r.Rows[1].ID = "N1" },
		"why it has none": func(r *Result) { r.Rows[0].Points = nil },
		"better is":       func(r *Result) { r.Rows[0].Better = "" },
		"not between":     func(r *Result) { r.Rows[0].Points[0].Max = 0.1 },
		"misses":          func(r *Result) { r.Rows[1].Points[0].Must = 57 },
	} {
		r := some("2026-01-02", 0.9)
		spoil(r)
		path := filepath.Join(t.TempDir(), "2026-01-02.json")
		if err := r.Store(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The committed results are read, so that a change of the form does not lose them.
func TestCommittedResultsAreRead(t *testing.T) {
	h, err := LoadHistory("../results")
	if err != nil || len(h) < 3 {
		t.Fatalf("%d results, %v", len(h), err)
	}
	for _, r := range h {
		text, err := json.Marshal(r)
		if err != nil || !bytes.Contains(text, []byte(`"schema":1`)) {
			t.Errorf("%s: %v", r.Name, err)
		}
	}
	// Whatever is missed says what holds it back.
	for _, id := range h.IDs() {
		if row := h.pageRow(id); row.Verdict == missed && row.HeldBack == "" {
			t.Errorf("%s is missed and does not say what holds it back: see goals.go", id)
		}
	}
}

func TestHistoryIsInOrderAndHasTheLatest(t *testing.T) {
	folder := t.TempDir()
	for i, name := range []string{"2026-01-10", "2026-01-02", "2026-01-02.2", "2026-01-02.10"} {
		r := some(name[:10], 0.5+float64(i)/10)
		if name == "2026-01-10" {
			r.Rows = r.Rows[1:] // nothing of N1
		}
		if err := r.Store(filepath.Join(folder, name+".json")); err != nil {
			t.Fatal(err)
		}
	}
	h, err := LoadHistory(folder)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, r := range h {
		order = append(order, r.Name)
	}
	if got := strings.Join(order, " "); got != "2026-01-02 2026-01-02.2 2026-01-02.10 2026-01-10" {
		t.Error(got)
	}
	if row, from := h.Latest("N1"); row == nil || from.Name != "2026-01-02.10" || row.Points[0].Value != 0.8 {
		t.Errorf("%+v", row)
	}
	if row, _ := h.Latest("N9"); row == nil || row.Missing != "needs root" {
		t.Errorf("%+v", row)
	}
	if row, _ := h.Latest("N2"); row != nil {
		t.Errorf("%+v", row)
	}
	if all := h.Of("N1", "here"); len(all) != 3 {
		t.Errorf("%d", len(all))
	}
	if next, err := NextName(folder, "2026-01-02"); err != nil || filepath.Base(next) != "2026-01-02.3.json" {
		t.Error(next, err)
	}
	if err := os.Rename(filepath.Join(folder, "2026-01-10.json"), filepath.Join(folder, "2026-01-11.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadHistory(folder); err == nil || !strings.Contains(err.Error(), "name it so") {
		t.Error(err)
	}
}

// Worse is what lies outside of the rounds of both, and what misses a must that was met.
func TestCompareFindsWhatIsWorse(t *testing.T) {
	at := func(v, low, high float64) Point { return Point{Value: v, Min: low, Max: high, OK: true} }
	for i, row := range []struct {
		better Better
		a, b   Point
		worse  bool
	}{
		{More, at(1, .9, 1.1), at(.5, .4, .6), true},
		{More, at(1, .9, 1.1), at(.95, .8, 1.2), false}, // scatter
		{More, at(1, .99, 1.01), at(.97, .96, .98), false},
		{More, at(.5, .4, .6), at(1, .9, 1.1), false},
		{Less, at(10, 9, 11), at(20, 18, 22), true},
		{Less, at(20, 18, 22), at(10, 9, 11), false},
		{Less, at(10, 9, 30), at(20, 18, 22), false},
		{Less, at(10, 9, 30), Point{Value: 20, Min: 18, Max: 22}, true}, // a must is missed
	} {
		if got := worse(row.better, row.a, row.b); got != row.worse {
			t.Errorf("%d: %v", i, got)
		}
	}
	var out bytes.Buffer
	if n, err := WriteChanges(&out, Compare(some("2026-01-02", 0.9), some("2026-01-03", 0.6))); n != 1 || err != nil || !strings.Contains(out.String(), "WORSE") {
		t.Errorf("%d, %v:\n%s", n, err, &out)
	}
}

// The page is one file without scripts and foreign resources, and says what is missed.
func TestThePageStandsAlone(t *testing.T) {
	h := History{some("2026-01-02", 0.9), some("2026-01-03", 0.6)}
	var out bytes.Buffer
	if err := h.WritePage(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, not := range []string{"http:", "https:", "<script", "src=", "url(", "@import", "ZgotmplZ", "NaN", "<note>"} {
		if strings.Contains(page, not) {
			t.Errorf("the page has %s", not)
		}
	}
	for _, want := range []string{`id="N1" class="missed"`, "Held back by:", `id="N5" class="met"`, "generator-bound", "a &lt;note&gt;", "Not measured: needs root", "1/17,241x", "0.90 then, 0.60 now", `id="N18" class="unknown"`, "<polyline points"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0.123: "0.12", 3: "3", 12.34: "12.3", 265.4: "265", 1234: "1,234", 123456.7: "123,457", 2230058: "2,230,058", -0.5: "-0.50"} {
		if got := Figure(v); got != want {
			t.Errorf("%g: %s, want %s", v, got, want)
		}
	}
}

func TestTablesAreMadeAnew(t *testing.T) {
	h := History{some("2026-01-02", 0.9)}
	text := "before\n<!-- bench: N1 N9 N11 -->\nold 12 ns\n<!-- /bench -->\nafter\n"
	got, err := h.Rewrite(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n<!-- bench: N1 N9 N11 -->\n| row |", "0.90 x (0.80 - 1), generator-bound", "must 0.85, aim 0.95: met", "bare 500,000 packets/s (0.90x)", "not measured: needs root", "not measured yet: ", "2026-01-02.", "<!-- /bench -->\nafter\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %s:\n%s", want, got)
		}
	}
	if again, err := h.Rewrite(got); err != nil || again != got {
		t.Errorf("twice is not once: %v", err)
	}
	for _, bad := range []string{"<!-- bench: N1 -->\n", "<!-- /bench -->\n", "<!-- bench: N77 -->\n<!-- /bench -->\n"} {
		if _, err := h.Rewrite(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestStrayFiguresAreFound(t *testing.T) {
	for _, line := range []string{"needs 265 ns", "1.8 M/s", "500,000 packets/s", "0.58x of it", "63.1 ms later", "192,000 connections a second", "40 us", "8.4 Gbit/s", "10 % of a core"} {
		if all, err := Strays("README.md", "\n"+line); err != nil || len(all) != 1 || all[0].Line != 2 {
			t.Errorf("%q: %v, %v", line, all, err)
		}
	}
	for _, line := range []string{"every 10 ms", "after 30s", "see N1, RFC 9293", "0x3f", "port 8080", "10.0.0.1/8", "<!-- by hand: once -->\n265 ns\n<!-- /by hand -->", "<!-- bench: N1 -->\n265 ns\n<!-- /bench -->"} {
		if all, err := Strays("docs/rules.md", line); err != nil || len(all) != 0 {
			t.Errorf("%q: %v, %v", line, all, err)
		}
	}
	if all, _ := Strays(benchmarks, "after 10 ms"); len(all) != 1 {
		t.Error("the benchmarks' own document may have free milliseconds")
	}
	if _, err := Strays("a.md", "<!-- by hand: x -->\n1 ns"); err == nil {
		t.Error("a part that does not end passes")
	}
}
