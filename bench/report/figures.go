package report

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Marks in documents; doc.go shows them.
var (
	tableBegin = regexp.MustCompile(`^<!-- bench: ([A-Za-z0-9 -]+?) -->$`)
	handBegin  = regexp.MustCompile(`^<!-- by hand: (.+?) -->$`)
)

const (
	tableEnd = "<!-- /bench -->"
	handEnd  = "<!-- /by hand -->"
)

// Documents are those that may quote figures: Markdown everywhere but in results of other
// programs (docs/soak).
func Documents(tree fs.FS) (names []string, err error) {
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "bin" || name == "bench/results" || strings.HasPrefix(d.Name(), ".") && name != "."):
			return fs.SkipDir
		case !d.IsDir() && path.Ext(name) == ".md":
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

// Rewrite returns a document with its tables made anew.
func (h History) Rewrite(text string) (string, error) {
	var out []string
	inTable := false
	for i, line := range strings.Split(text, "\n") {
		switch m := tableBegin.FindStringSubmatch(line); {
		case m != nil:
			if inTable {
				return "", fmt.Errorf("line %d: a table begins in a table", i+1)
			}
			inTable = true
			ids := strings.Fields(m[1])
			if m[1] == "all" {
				ids = h.IDs()
			}
			for _, id := range ids {
				if !slices.Contains(h.IDs(), id) {
					return "", fmt.Errorf("line %d: no result or goal has a row %s", i+1, id)
				}
			}
			out = append(out, line, h.Table(ids)+tableEnd)
		case line == tableEnd && !inTable:
			return "", fmt.Errorf("line %d: a table ends that has not begun", i+1)
		case line == tableEnd:
			inTable = false
		case !inTable:
			out = append(out, line)
		}
	}
	if inTable {
		return "", fmt.Errorf("a table does not end: %s is missing", tableEnd)
	}
	return strings.Join(out, "\n"), nil
}

// measured are the units that figures of performance have. Settings of the product have
// whole milliseconds and seconds, which therefore count in the benchmark's own document
// alone.
var (
	measured   = regexp.MustCompile(`\b\d[\d,.]* ?(?:ns|us|µs|[kM]?pps|[kKMG]?bit/s|[MG]iB/s|(?:k|M|G)?/s|M packets|k packets)\b|\b\d[\d,.]* (?:packets|connections|frames|changes|handshakes|SYNs?|datagrams|states)(?:/s| a second| per second)\b|\b\d+\.\d+ ?(?:ms|x\b|s\b)|\b\d[\d,.]*x\b|% of a core`)
	inTable    = regexp.MustCompile(`\| [^a-z|]*\d[\d,.]*[^a-z|]*\|`) // a cell of numbers
	measuredMS = regexp.MustCompile(`\b\d[\d,.]* ?(?:ms|s|MB|MiB|kB)\b`)
)

// elsewhere are documents whose figures come from something else than the suite.
var elsewhere = map[string]string{
	"docs/reliability-report.md": "counts of `make soak`, whose results are in docs/soak",
	"CHANGELOG.md":               "what changed, by what was measured at that time",
}

// benchmarks is the document that has nothing but figures.
const benchmarks = "docs/benchmarks.md"

// Stray is a figure that stands outside of the marks.
type Stray struct {
	File   string
	Line   int
	Figure string
	Text   string // of the line
}

// Strays finds the figures of a document that come neither from a result nor with a reason.
func Strays(name, text string) (all []Stray, err error) {
	if elsewhere[name] != "" {
		return nil, nil
	}
	until := "" // what ends the marked part
	for i, line := range strings.Split(text, "\n") {
		switch {
		case until != "":
			if line == until {
				until = ""
			}
			continue
		case tableBegin.MatchString(line):
			until = tableEnd
			continue
		case handBegin.MatchString(line):
			until = handEnd
			continue
		case line == handEnd:
			return all, fmt.Errorf("%s:%d: %s ends what has not begun", name, i+1, handEnd)
		}
		figure := measured.FindString(line)
		if figure == "" && name == benchmarks {
			if figure = measuredMS.FindString(line); figure == "" && strings.HasPrefix(line, "|") {
				figure = inTable.FindString(line)
			}
		}
		if figure != "" {
			all = append(all, Stray{name, i + 1, figure, line})
		}
	}
	if until != "" {
		return all, fmt.Errorf("%s: %s is missing", name, until)
	}
	return all, nil
}
