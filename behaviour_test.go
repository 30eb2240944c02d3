package holdfast_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// The behaviour checklist and the table of its tests, from the root of the repository.
const (
	checklistFile = "docs/behaviour.md"
	coverageFile  = "docs/behaviour-coverage.md"
)

var update = flag.Bool("update", false, "write "+coverageFile+" anew")

// item is one behaviour of the checklist: section B, number 7 is B7.
type item struct {
	Section byte // 'A' to 'R'
	Number  int  // from 1, without gaps
}

func (i item) ID() string { return fmt.Sprintf("%c%d", i.Section, i.Number) }

// section is one heading of the checklist with its items in order.
type section struct {
	Letter byte
	Title  string
	Items  []item
}

// namedTest is a test function that carries an item's ID in its name.
type namedTest struct {
	ID   string // "B7"
	Name string // "TestB7_ChallengeACK"
	File string // slash-separated, from the root
	Line int
}

var (
	sectionLine = regexp.MustCompile(`^### ([A-R])\. (\S.*)$`)
	itemLine    = regexp.MustCompile(`^([A-R])([1-9][0-9]*)\. \S`)
	// buriedItem finds an item that hides behind another one on the same line.
	buriedItem = regexp.MustCompile(`[.;)] ([A-R][1-9][0-9]*)\. `)
	// behaviourTest finds the names that claim an item. The letters stop at R, so that
	// TestV4_... stays an ordinary name.
	behaviourTest = regexp.MustCompile(`^(?:Test|Fuzz)([A-R][0-9]+)_`)
)

// TestBehaviourChecklist holds three things together: the checklist, the tests that
// name its items, and the committed table of which item has a test.
func TestBehaviourChecklist(t *testing.T) {
	text, err := os.ReadFile(checklistFile)
	if err != nil {
		t.Fatal(err)
	}
	sections, problems := parseChecklist(string(text))
	for _, p := range problems {
		t.Errorf("%s:%s", checklistFile, p)
	}
	tests, err := findNamedTests(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, s := range sections {
		for _, i := range s.Items {
			known[i.ID()] = true
		}
	}
	for _, n := range tests {
		if !known[n.ID] {
			t.Errorf("%s:%d: %s names item %s, which %s does not have: name an existing item or add it there",
				n.File, n.Line, n.Name, n.ID, checklistFile)
		}
	}
	if t.Failed() {
		return
	}
	want := coverageTable(sections, tests)
	if *update {
		if err := os.WriteFile(coverageFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(coverageFile)
	if err != nil || !bytes.Equal(have, want) {
		t.Fatalf("%s is out of date: run `go test . -run TestBehaviourChecklist -update` and commit it", coverageFile)
	}
	logCoverage(t, sections, tests)
}

// parseChecklist reads the sections A to R. Between a section's heading and the next
// heading stand items, one a line and numbered without gaps, remarks that begin with
// '>', and empty lines; anything else is a problem, as "line: what is wrong".
func parseChecklist(text string) (sections []section, problems []string) {
	var open *section
	for n, line := range strings.Split(text, "\n") {
		problem := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("%d: %s", n+1, fmt.Sprintf(format, args...)))
		}
		if strings.HasPrefix(line, "#") {
			open = nil
			if m := sectionLine.FindStringSubmatch(line); m != nil {
				if want := byte('A' + len(sections)); m[1][0] != want {
					problem("section %s stands where %c is expected", m[1], want)
				}
				sections = append(sections, section{Letter: m[1][0], Title: m[2]})
				open = &sections[len(sections)-1]
			}
			continue
		}
		if open == nil || line == "" || strings.HasPrefix(line, ">") {
			continue
		}
		m := itemLine.FindStringSubmatch(line)
		if m == nil {
			problem("a line of section %c is neither an item (\"%c1. ...\") nor a remark (\"> ...\"): %.40q", open.Letter, open.Letter, line)
			continue
		}
		number, err := strconv.Atoi(m[2])
		if err != nil {
			problem("item %s%s: %v", m[1], m[2], err)
			continue
		}
		found := item{Section: m[1][0], Number: number}
		if want := (item{Section: open.Letter, Number: len(open.Items) + 1}); found.ID() != want.ID() {
			problem("item %s stands where %s is expected", found.ID(), want.ID())
		}
		if b := buriedItem.FindStringSubmatch(line); b != nil {
			problem("item %s hides on the line of %s: give it a line of its own", b[1], found.ID())
		}
		open.Items = append(open.Items, found)
	}
	if len(sections) != 'R'-'A'+1 {
		problems = append(problems, fmt.Sprintf("1: found %d sections, expected A to R", len(sections)))
	}
	return sections, problems
}

// findNamedTests returns the test and fuzz functions of the tree that carry an item's
// ID, ordered by file and line. It parses every test file, whatever its build tags.
func findNamedTests(tree fs.FS) ([]namedTest, error) {
	var found []namedTest
	err := walkGo(tree, func(name string, source []byte) error {
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil {
				continue
			}
			if m := behaviourTest.FindStringSubmatch(f.Name.Name); m != nil {
				found = append(found, namedTest{ID: m[1], Name: f.Name.Name, File: name, Line: fset.Position(f.Pos()).Line})
			}
		}
		return nil
	})
	return found, err
}

// walkGo calls visit for every Go file of the tree that the go command would see,
// in lexical order: not below directories named testdata or vendor, nor in or as names
// that begin with '.' or '_'.
func walkGo(tree fs.FS, visit func(name string, source []byte) error) error {
	return fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		hidden := name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_"))
		if d.IsDir() {
			if hidden || base == "testdata" || base == "vendor" {
				return fs.SkipDir
			}
			return nil
		}
		if hidden || filepath.Ext(base) != ".go" {
			return nil
		}
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return visit(name, source)
	})
}

// coverageTable renders docs/behaviour-coverage.md: one row an item, so that a review
// shows which row a change has filled. It names no line numbers, which would move with
// every edit.
func coverageTable(sections []section, tests []namedTest) []byte {
	by := testsByItem(tests)
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Which behaviour has a test\n\n")
	fmt.Fprintf(&b, "Generated by `go test . -run TestBehaviourChecklist -update`; do not edit. The items stand in [behaviour.md](behaviour.md).\n")
	fmt.Fprintf(&b, "An empty cell is an item that no test is named after yet.\n\n")
	var total, tested int
	for _, s := range sections {
		total += len(s.Items)
		tested += testedOf(s, by)
	}
	fmt.Fprintf(&b, "%d of %d items have a test.\n", tested, total)
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %c. %s (%d of %d)\n\n| item | tests |\n|---|---|\n", s.Letter, s.Title, testedOf(s, by), len(s.Items))
		for _, i := range s.Items {
			fmt.Fprintf(&b, "| %s | %s |\n", i.ID(), strings.Join(by[i.ID()], ", "))
		}
	}
	return b.Bytes()
}

// testsByItem lists for each item its tests as "folder: `name`", sorted.
func testsByItem(tests []namedTest) map[string][]string {
	by := make(map[string][]string)
	for _, n := range tests {
		by[n.ID] = append(by[n.ID], fmt.Sprintf("%s: `%s`", path.Dir(n.File), n.Name))
	}
	for _, names := range by {
		sort.Strings(names)
	}
	return by
}

func testedOf(s section, by map[string][]string) int {
	n := 0
	for _, i := range s.Items {
		if len(by[i.ID()]) > 0 {
			n++
		}
	}
	return n
}

func logCoverage(t *testing.T, sections []section, tests []namedTest) {
	t.Helper()
	by := testsByItem(tests)
	for _, s := range sections {
		var with, without []string
		for _, i := range s.Items {
			if len(by[i.ID()]) > 0 {
				with = append(with, i.ID())
			} else {
				without = append(without, i.ID())
			}
		}
		t.Logf("%c: %d of %d; with a test: %s; without: %s", s.Letter, len(with), len(s.Items), listOrNone(with), listOrNone(without))
	}
}

func listOrNone(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, " ")
}

// TestChecklistParserRefuses proves that a spoilt checklist is noticed, row by row.
func TestChecklistParserRefuses(t *testing.T) {
	var whole strings.Builder
	for c := 'A'; c <= 'R'; c++ {
		fmt.Fprintf(&whole, "### %c. Title\n%c1. Statement.\n\n", c, c)
	}
	good := whole.String()
	if _, problems := parseChecklist(good); len(problems) > 0 {
		t.Fatalf("a sound checklist is refused: %v", problems)
	}
	for _, row := range []struct{ name, old, new, want string }{
		{"loose prose", "A1. Statement.", "A1. Statement.\nA continued line.", "neither an item"},
		{"gap in the numbers", "C1. ", "C2. ", "C2 stands where C1 is expected"},
		{"item of another section", "C1. ", "D1. ", "D1 stands where C1 is expected"},
		{"item given twice", "C1. Statement.", "C1. Statement.\nC1. Again.", "C1 stands where C2 is expected"},
		{"two items on one line", "L1. Statement.", "L1. Statement. L2. Another.", "L2 hides on the line of L1"},
		{"section missing", "### Q. Title\nQ1. Statement.\n", "", "section R stands where Q is expected"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, problems := parseChecklist(strings.Replace(good, row.old, row.new, 1))
			if all := strings.Join(problems, "\n"); !strings.Contains(all, row.want) {
				t.Errorf("problems %q do not say %q", all, row.want)
			}
		})
	}
}
