package smallscope

import (
	"os/exec"
	"testing"
)

// TestREL7_EveryPlantedBugIsFound builds the machines with planted bugs, as the test of that
// name in package simulator does: a search that finds nothing says nothing. Without a bug it
// searches them too, whole.
func TestREL7_EveryPlantedBugIsFound(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command to build the planted bugs with")
	}
	c := exec.Command(tool, "test", "-count=1", "-tags", "mutants", "-run", "TestPlanted|TestREL5_", "-v", ".")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", c, err, out)
	}
	t.Logf("%s", out)
}
