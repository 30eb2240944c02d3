package simulator

import (
	"os"
	"os/exec"
	"testing"
)

// TestREL7_EveryPlantedBugIsFound builds the nodes with planted bugs and has the simulator
// look for each: a simulator that finds nothing says nothing. It is another test binary,
// because the product has no trace of them, and without the race detector, which costs more
// than it tells in one goroutine.
func TestREL7_EveryPlantedBugIsFound(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command to build the planted bugs with")
	}
	c := exec.Command(tool, "test", "-count=1", "-vet=off", "-ldflags=-w", "-tags", "mutants", "-run", "TestPlanted", "-v", ".")
	if os.Getenv("HOLDFAST_SOAK") != "" {
		c.Args = append(c.Args, "-timeout", "4h")
		c.Env = append(os.Environ(), "MUTANT_SCHEDULES=20000")
	}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", c, err, out)
	}
	t.Logf("%s", out)
}
