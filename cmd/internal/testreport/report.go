package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
)

// event is one line of `go test -json`, as `go doc test2json` describes it.
type event struct {
	Action     string // "run", "output", "pass", "fail", "skip", "build-output", ...
	Package    string
	ImportPath string // in place of Package in the build's events
	Test       string // empty in events of the package as a whole
	Output     string
}

// testName is a test within its package; the empty name is the package as a whole.
type testName struct{ Package, Test string }

// report follows the events of one run. Its zero value is not ready: use newReport.
type report struct {
	out    io.Writer
	output map[testName]*strings.Builder // kept until the test ends
	parent map[testName]bool             // tests that have subtests; their leaves are counted instead
	failed []testName
	skips  []skip
	result map[testName]string // how each test ended: "pass", "fail", "skip"
}

// skip is a test that did not run, with what it said about it.
type skip struct {
	name   testName
	reason string
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: make(map[testName]*strings.Builder), parent: make(map[testName]bool), result: make(map[testName]string)}
}

// read takes the run's standard output to its end. A line that is no event is printed
// as it is.
func (r *report) read(stream io.Reader) error {
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				r.event(e)
			} else {
				fmt.Fprint(r.out, line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the test run's output: %w", err)
		}
	}
}

func (r *report) event(e event) {
	name := testName{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "run":
		for i := strings.LastIndexByte(e.Test, '/'); i > 0; i = strings.LastIndexByte(e.Test[:i], '/') {
			r.parent[testName{e.Package, e.Test[:i]}] = true
		}
	case "output":
		if r.output[name] == nil {
			r.output[name] = new(strings.Builder)
		}
		r.output[name].WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
			return
		}
		r.result[name] = e.Action
		if e.Action == "skip" {
			r.skips = append(r.skips, skip{name, reasonOf(r.text(name))})
		}
		if e.Action == "fail" {
			r.failed = append(r.failed, name)
			fmt.Fprint(r.out, r.text(name))
		}
		delete(r.output, name)
	}
}

// endPackage prints the closing line that go test gave the package, and all that the
// package said when it failed. A test that never ended (a panic, a timeout) failed too.
func (r *report) endPackage(e event) {
	whole := testName{e.Package, ""}
	if e.Action == "fail" {
		r.endOpenTests(e.Package)
		fmt.Fprint(r.out, r.text(whole))
	} else {
		for _, line := range strings.SplitAfter(r.text(whole), "\n") {
			if strings.HasPrefix(line, "ok ") {
				fmt.Fprint(r.out, line)
			}
		}
	}
	delete(r.output, whole)
}

func (r *report) endOpenTests(pkg string) {
	var open []testName
	for name := range r.output {
		if name.Package == pkg && name.Test != "" {
			open = append(open, name)
		}
	}
	sort.Slice(open, func(i, j int) bool { return open[i].Test < open[j].Test })
	for _, name := range open {
		r.result[name] = "fail"
		r.failed = append(r.failed, name)
		fmt.Fprint(r.out, r.text(name))
		delete(r.output, name)
	}
}

func (r *report) text(name testName) string {
	if b := r.output[name]; b != nil {
		return b.String()
	}
	return ""
}

// reasonOf finds in a skipped test's output what t.Skip was given: the last line of it
// that go test did not write itself, without "file.go:12: ".
func reasonOf(output string) string {
	reason := "no reason given"
	for _, line := range strings.Split(output, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if place, rest, ok := strings.Cut(line, ": "); ok && strings.Contains(place, ".go:") {
			line = rest
		}
		reason = line
	}
	return reason
}

// summary lists what was skipped, by reason, and what failed, and closes with the
// counts. A test that has subtests is not counted beside them.
func (r *report) summary() string {
	var b strings.Builder
	byReason := make(map[string][]string)
	var reasons []string
	for _, s := range r.skips {
		if byReason[s.reason] == nil {
			reasons = append(reasons, s.reason)
		}
		byReason[s.reason] = append(byReason[s.reason], s.name.Package+" "+s.name.Test)
	}
	sort.Strings(reasons)
	for _, reason := range reasons {
		fmt.Fprintf(&b, "skipped: %s\n", reason)
		for _, name := range byReason[reason] {
			fmt.Fprintf(&b, "    %s\n", name)
		}
	}
	for _, name := range r.failed {
		fmt.Fprintf(&b, "FAILED: %s %s\n", name.Package, name.Test)
	}
	count := make(map[string]int)
	for name, how := range r.result {
		if !r.parent[name] {
			count[how]++
		}
	}
	fmt.Fprintf(&b, "tests: %d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	return b.String()
}
