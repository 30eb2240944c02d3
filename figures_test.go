package holdfast_test

import (
	"io/fs"
	"os"
	"testing"

	"holdfast/bench/report"
)

// TestFiguresComeFromResults holds documents to the committed results of the benchmark:
// their tables are what bench/report makes of them, and no other figure of performance
// stands anywhere without a reason (package bench/report has the marks).
func TestFiguresComeFromResults(t *testing.T) {
	history, err := report.LoadHistory("bench/results")
	if err != nil {
		t.Fatal(err)
	}
	tree := os.DirFS(".")
	documents, err := report.Documents(tree)
	if err != nil || len(documents) < 10 {
		t.Fatalf("%d documents, %v", len(documents), err)
	}
	for _, name := range documents {
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			t.Fatal(err)
		}
		if anew, err := history.Rewrite(string(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if anew != string(text) {
			t.Errorf("%s: a table is not what bench/results says: run `go run ./bench report --tables` and commit", name)
		}
		strays, err := report.Strays(name, string(text))
		if err != nil {
			t.Error(err)
		}
		for _, s := range strays {
			t.Errorf("%s:%d: %q is a figure that no committed result has: let a table say it (`<!-- bench: N1 -->` ... `<!-- /bench -->`, "+
				"then `go run ./bench report --tables`), or put the paragraph between `<!-- by hand: REASON -->` and `<!-- /by hand -->`", s.File, s.Line, s.Figure)
		}
	}
}
