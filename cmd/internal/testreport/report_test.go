package main

import (
	"strings"
	"testing"
)

// sampleRun is a shortened run of three packages: one passes and skips, one fails in a test
// and leaves another hanging in a panic, one does not build.
const sampleRun = `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestOne"}
{"Action":"output","Package":"m/a","Test":"TestOne","Output":"=== RUN   TestOne\n"}
{"Action":"run","Package":"m/a","Test":"TestOne/row"}
{"Action":"output","Package":"m/a","Test":"TestOne/row","Output":"chatter\n"}
{"Action":"pass","Package":"m/a","Test":"TestOne/row"}
{"Action":"pass","Package":"m/a","Test":"TestOne"}
{"Action":"run","Package":"m/a","Test":"TestRoot"}
{"Action":"output","Package":"m/a","Test":"TestRoot","Output":"=== RUN   TestRoot\n"}
{"Action":"output","Package":"m/a","Test":"TestRoot","Output":"    a_test.go:7: needs root: network namespaces\n"}
{"Action":"output","Package":"m/a","Test":"TestRoot","Output":"--- SKIP: TestRoot (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestRoot"}
{"Action":"output","Package":"m/a","Output":"PASS\n"}
{"Action":"output","Package":"m/a","Output":"ok  \tm/a\t0.100s\n"}
{"Action":"pass","Package":"m/a"}
{"Action":"run","Package":"m/b","Test":"TestBad"}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"    b_test.go:9: got 1, want 2\n"}
{"Action":"fail","Package":"m/b","Test":"TestBad"}
{"Action":"run","Package":"m/b","Test":"TestPanic"}
{"Action":"output","Package":"m/b","Test":"TestPanic","Output":"panic: boom\n"}
{"Action":"output","Package":"m/b","Output":"FAIL\tm/b\t0.2s\n"}
{"Action":"fail","Package":"m/b"}
{"ImportPath":"m/c","Action":"build-output","Output":"c.go:1:1: undefined: x\n"}
{"ImportPath":"m/c","Action":"build-fail"}
{"Action":"output","Package":"m/c","Output":"FAIL\tm/c [build failed]\n"}
{"Action":"fail","Package":"m/c","FailedBuild":"m/c"}
not an event
`

func TestReport(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	if err := r.read(strings.NewReader(sampleRun)); err != nil {
		t.Fatal(err)
	}
	wantOut := "ok  \tm/a\t0.100s\n" +
		"    b_test.go:9: got 1, want 2\npanic: boom\nFAIL\tm/b\t0.2s\n" +
		"c.go:1:1: undefined: x\nFAIL\tm/c [build failed]\nnot an event\n"
	if out.String() != wantOut {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), wantOut)
	}
	wantSummary := "skipped: needs root: network namespaces\n    m/a TestRoot\n" +
		"FAILED: m/b TestBad\nFAILED: m/b TestPanic\n" +
		"tests: 1 passed, 2 failed, 1 skipped\n"
	if got := r.summary(); got != wantSummary {
		t.Errorf("summary\n%s\nwant\n%s", got, wantSummary)
	}
}
