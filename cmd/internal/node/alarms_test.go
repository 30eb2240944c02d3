package node

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// operations is where people read what an alarm means.
const operations = "../../../docs/operations.md"

// alarmWords is how long a piece of an alarm's text is that must be in the document, in bytes:
// shorter ones are names and punctuation.
const alarmWords = 16

// functions are those of this package by name, without tests.
func functions(t *testing.T) map[string]*ast.FuncDecl {
	t.Helper()
	all := map[string]*ast.FuncDecl{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				all[fn.Name.Name] = fn
			}
		}
	}
	return all
}

// called names the functions that are called in a node of the syntax.
func called(n ast.Node) (names []string) {
	ast.Inspect(n, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			switch f := call.Fun.(type) {
			case *ast.Ident:
				names = append(names, f.Name)
			case *ast.SelectorExpr:
				names = append(names, f.Sel.Name)
			}
		}
		return true
	})
	return names
}

// says reports whether a function returns text.
func says(fn *ast.FuncDecl) bool {
	if fn.Type.Results == nil || len(fn.Type.Results.List) != 1 {
		return false
	}
	typ := fn.Type.Results.List[0].Type
	if list, ok := typ.(*ast.ArrayType); ok {
		typ = list.Elt
	}
	name, ok := typ.(*ast.Ident)
	return ok && name.Name == "string"
}

// alarming finds the functions whose text comes into Status.Degraded.
func alarming(all map[string]*ast.FuncDecl) map[string]bool {
	found := map[string]bool{}
	var add func(n ast.Node)
	add = func(n ast.Node) {
		for _, name := range called(n) {
			if fn := all[name]; fn != nil && says(fn) && !found[name] {
				found[name] = true
				add(fn.Body)
			}
		}
	}
	ast.Inspect(all["Status"].Body, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok {
			if to, ok := a.Lhs[0].(*ast.SelectorExpr); ok && to.Sel.Name == "Degraded" {
				add(a)
			}
		}
		return true
	})
	return found
}

// TestAlarmsAreExplained: every text of an alarm is in docs/operations.md, which says what it means and what
// to do.
func TestAlarmsAreExplained(t *testing.T) {
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	doc := strings.Join(strings.Fields(string(text)), " ")
	all := functions(t)
	names := alarming(all)
	if len(names) < 8 {
		t.Fatalf("found %d functions that give alarms: %v", len(names), names)
	}
	verb := regexp.MustCompile(`%[-+# 0-9.]*[a-zA-Z]`)
	pieces := 0
	for name := range names {
		ast.Inspect(all[name].Body, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, piece := range verb.Split(value, -1) {
				piece = strings.Trim(strings.Join(strings.Fields(piece), " "), " :;,()")
				if len(piece) < alarmWords {
					continue
				}
				if pieces++; !strings.Contains(doc, piece) {
					t.Errorf("%s does not explain %q (of %s)", operations, piece, name)
				}
			}
			return true
		})
	}
	if pieces < 20 {
		t.Errorf("only %d pieces of alarms were looked for", pieces)
	}
}
