package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Bounds of what is read, so that a wrong file is an error and not a lack of memory.
const (
	fileSizeMax     = 32 << 20 // 100,000 rules have some 15 MiB
	includeDepthMax = 8
)

// builder turns files into one tree.
type builder struct {
	root    *node
	errs    Errors
	damaged bool // some lines did not become part of the tree

	files
	stack []string  // files being read, outermost first
	spare []node    // made together: a file of 100,000 rules has a million
	parts []keyPart // of the keys of the expression at hand
}

// nodesAtOnce is how many nodes are made together.
const nodesAtOnce = 512

// newNode returns a copy of n that lives as long as the tree.
func (b *builder) newNode(n node) *node {
	if len(b.spare) == 0 {
		b.spare = make([]node, nodesAtOnce)
	}
	made := &b.spare[0]
	b.spare, *made = b.spare[1:], n
	return made
}

// source is one file while it is being parsed. go-toml's offsets count from base,
// where the last restart was.
type source struct {
	file  string
	data  []byte
	whole string // data: texts of the tree are parts of it, see text
	lines []int  // offset of each line's first byte
	last  int    // the line that was asked for last: the next one is there or just behind
	base  int
}

func newSource(file string, data []byte) *source {
	s := &source{file: file, data: slices.Clip(data), whole: string(data), last: 1}
	s.lines = append(make([]int, 0, bytes.Count(data, []byte("\n"))+1), 0)
	for i, c := range data {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// at returns the position of an offset that go-toml gave.
func (s *source) at(offset int) Position {
	offset = min(s.base+offset, len(s.data))
	if s.lines[s.last-1] > offset || s.last+linesNear <= len(s.lines) && s.lines[s.last-1+linesNear] <= offset {
		s.last = sort.SearchInts(s.lines, offset+1) // lines[last-1] <= offset
	}
	for s.last < len(s.lines) && s.lines[s.last] <= offset {
		s.last++
	}
	return Position{File: s.file, Line: int32(s.last), Column: int32(utf8.RuneCount(s.data[s.lines[s.last-1]:offset]) + 1)}
}

// linesNear is how many lines are gone through before one is looked for by halving.
const linesNear = 8

// text returns data, which go-toml read from raw, as a part of the file where it stands there
// as it is: without escapes, that is with as many quotes before it as behind. The tree lives
// short, but who keeps a text longer must clone it, or it keeps the whole file.
func (s *source) text(data []byte, raw unstable.Range) string {
	if quotes := int(raw.Length) - len(data); quotes >= 0 && quotes%2 == 0 {
		from := s.base + int(raw.Offset) + quotes/2
		if to := from + len(data); to <= len(s.whole) && s.whole[from:to] == string(data) {
			return s.whole[from:to]
		}
	}
	return string(data)
}

// parse adds a file to the tree. A fault of syntax does not end it: reading goes on at
// the next line that opens a table, so that one run tells all.
func (b *builder) parse(file string, data []byte) {
	if len(data) > fileSizeMax {
		b.refuse(&fault{at: Position{file, 1, 1}, what: fmt.Sprintf("the file has %d bytes, more than %d", len(data), fileSizeMax),
			mend: "is this the right file?"})
		return
	}
	if b.root.pos.IsZero() {
		b.root.pos = Position{file, 1, 1}
	}
	b.stack = append(b.stack, file)
	defer func() { b.stack = b.stack[:len(b.stack)-1] }()

	s := newSource(file, data)
	for {
		var p unstable.Parser
		p.Reset(s.data[s.base:])
		current := b.root
		for p.NextExpression() {
			b.parts = b.parts[:0]
			current = b.expression(s, current, p.Expression())
		}
		var bad *unstable.ParserError
		if !errors.As(p.Error(), &bad) {
			return
		}
		b.damaged = true
		offset := int(p.Range(bad.Highlight).Offset)
		b.refuse(&fault{at: s.at(offset), what: "not TOML: " + bad.Message, mend: "see https://toml.io for how values are written"})
		next := bytes.Index(s.data[s.base+offset:], []byte("\n["))
		if next < 0 {
			return
		}
		s.base += offset + next + 1
	}
}

func (b *builder) refuse(f *fault) {
	b.errs = append(b.errs, Error{Pos: f.at, What: f.what, Mend: f.mend})
}

// expression takes one line of the file (or a value over several) into the tree and
// returns the table that the following keys belong to.
func (b *builder) expression(s *source, current *node, e *unstable.Node) *node {
	var bad *fault
	opened := current
	switch e.Kind {
	case unstable.KeyValue:
		path, value := b.keyValue(s, e)
		if b.read != nil && current == b.root && len(path) == 1 && path[0].name == "include" {
			b.include(value)
			return current
		}
		bad = current.set(path, value)
	case unstable.Table:
		opened, bad = b.root.open(b.keyPath(s, e))
	case unstable.ArrayTable:
		opened, bad = b.root.extend(b.keyPath(s, e), b.newNode)
	}
	if bad != nil {
		b.refuse(bad)
	}
	if opened == nil { // a refused header: read what follows, for its own faults, into nowhere
		opened = &node{kind: unstable.Table}
	}
	return opened
}

// keyPath returns the parts of an expression's key, valid until the next expression.
func (b *builder) keyPath(s *source, e *unstable.Node) []keyPart {
	first := len(b.parts)
	for it := e.Key(); it.Next(); {
		part := it.Node()
		b.parts = append(b.parts, keyPart{name: s.text(part.Data, part.Raw), pos: s.at(int(part.Raw.Offset))})
	}
	return slices.Clip(b.parts[first:])
}

// keyValue converts a key and its value.
func (b *builder) keyValue(s *source, e *unstable.Node) ([]keyPart, *node) {
	end := 0
	for it := e.Key(); it.Next(); {
		end = int(it.Node().Raw.Offset + it.Node().Raw.Length)
	}
	// go-toml gives lists no offset of their own; theirs is that of the bracket after
	// the key and the equals sign.
	rest := s.data[s.base+end:]
	start := end + len(rest) - len(bytes.TrimLeft(rest, " \t="))
	return b.keyPath(s, e), b.value(s, e.Value(), start)
}

// value converts a value that starts at offset.
func (b *builder) value(s *source, v *unstable.Node, offset int) *node {
	if v.Raw.Length > 0 {
		offset = int(v.Raw.Offset)
	}
	n := b.newNode(node{kind: v.Kind, pos: s.at(offset), text: s.text(v.Data, v.Raw)})
	switch v.Kind {
	case unstable.Array:
		for it := v.Children(); it.Next(); {
			n.items = append(n.items, b.value(s, it.Node(), offset))
		}
	case unstable.InlineTable:
		n.kind, n.text, n.origin = unstable.Table, "", inline
		for it := v.Children(); it.Next(); {
			path, value := b.keyValue(s, it.Node())
			if bad := n.set(path, value); bad != nil {
				b.refuse(bad)
			}
		}
	}
	return n
}

// include reads the files of an include list as if their lines stood in its place:
// paths are relative to the file that names them.
func (b *builder) include(list *node) {
	items := []*node{list}
	if list.kind == unstable.Array {
		items = list.items
	}
	from := b.stack[len(b.stack)-1]
	for _, n := range items {
		if n.kind != unstable.String {
			b.refuse(&fault{at: n.pos, what: n.literal() + " is not a path", mend: `write a list of strings, such as include = ["more.toml"]`})
			continue
		}
		for _, path := range b.named(n, relativeTo(from, strings.Clone(n.text))) {
			b.includeFile(n, path)
		}
	}
}

// named returns the files that an element of an include list means: in the order of their
// names where it is a pattern, which may mean none.
func (b *builder) named(n *node, path string) []string {
	if b.list == nil || !strings.ContainsAny(n.text, "*?[") {
		return []string{path}
	}
	paths, err := b.list(path)
	if err != nil {
		b.refuse(&fault{at: n.pos, what: n.literal() + " is not a pattern", mend: `close the "[", or write a \\ before it`})
	}
	if b.apart {
		return paths
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil && !strings.ContainsAny(filepath.Dir(path), "*?[") {
		b.damaged = true
		b.refuse(unreadable(n.pos, "the folder "+filepath.Dir(path), err))
	}
	return paths
}

// includeFile reads one file, which n has named.
func (b *builder) includeFile(n *node, path string) {
	switch {
	case slices.Contains(b.stack, path):
		b.refuse(&fault{at: n.pos, what: b.circle(path), mend: "remove one of the includes"})
		return
	case len(b.stack) >= includeDepthMax:
		b.refuse(&fault{at: n.pos, what: fmt.Sprintf("files include each other %d deep", includeDepthMax), mend: "include the files from the policy itself"})
		return
	}
	data, err := b.read(path)
	if err != nil {
		b.damaged = true
		b.refuse(unreadable(n.pos, "included file "+path, err))
		return
	}
	b.parse(path, data)
}

// circle names the files by which one includes itself.
func (b *builder) circle(path string) string {
	by := b.stack[slices.Index(b.stack, path)+1:]
	if len(by) == 0 {
		return path + " includes itself"
	}
	return path + " includes itself by way of " + strings.Join(by, ", ")
}

// relativeTo resolves path against the folder of the file that names it.
func relativeTo(file, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(file), path)
}
