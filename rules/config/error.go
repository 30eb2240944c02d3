package config

import (
	"cmp"
	"slices"
	"strings"
)

// Error is one fault of a configuration file.
type Error struct {
	Pos  Position
	What string // what is wrong
	Mend string // how to mend it
}

// Error returns file:line:column: what is wrong: how to mend.
func (e Error) Error() string { return e.Pos.String() + ": " + e.What + ": " + e.Mend }

// Errors is every fault that was found, sorted by place, each once. It is never empty
// where it is returned as an error.
type Errors []Error

// Error returns one fault a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As the single faults.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// sorted returns e in order of place without repetitions: a macro's fault is found
// once for every use, and told once.
func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(a.Pos.compare(b.Pos), strings.Compare(a.What, b.What), strings.Compare(a.Mend, b.Mend))
	})
	return slices.Compact(e)
}

// orNil returns e, sorted, as an error, or nil where there is no fault.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e.sorted()
}

// Notice is what `check` and the daemon say of a policy that is right.
type Notice struct {
	Pos  Position
	Kind NoticeKind
	Text string
}

// NoticeKind says why somebody should know.
type NoticeKind uint8

// The kinds.
const (
	Pending NoticeKind = iota // accepted and not acted on yet, so that nobody trusts what is not there
	Risky                     // acted on as written, and against a rule of the trade
)

// String returns file:line:column: what kind of notice: text.
func (n Notice) String() string {
	return n.Pos.String() + [...]string{Pending: ": accepted, not acted on yet: ", Risky: ": warning: "}[n.Kind] + n.Text
}
