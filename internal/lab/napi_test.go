package lab

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestThreadedNAPIMakesAThreadOfTheLink(t *testing.T) {
	l := ForTest(t)
	a, err := l.Namespace("a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Namespace("b")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Veth(End{Namespace: a, Name: "n0"}, End{Namespace: b, Name: "n1"}); err != nil {
		t.Fatal(err)
	}
	if err := a.OffloadsOn("n0", GRO); err != nil {
		t.Fatal(err)
	}
	pids, err := a.ThreadedNAPI("n0")
	if err != nil || len(pids) == 0 {
		t.Fatal(pids, err)
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pids[0])); err != nil || !strings.HasPrefix(string(name), "napi/n0-") {
		t.Errorf("%s, %v", name, err)
	}
	if _, err := b.ThreadedNAPI("n9"); err == nil {
		t.Error("no error for a link that is not there")
	}
}
