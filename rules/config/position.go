package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
)

// Position is a place in a configuration file. The zero Position is no place: the
// value was not written, it is a default.
type Position struct {
	File   string
	Line   int32 // from 1
	Column int32 // from 1, in characters
}

// IsZero reports whether p is no place.
func (p Position) IsZero() bool { return p == Position{} }

// String returns file:line:column.
func (p Position) String() string {
	if p.IsZero() {
		return "default"
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// compare orders positions by file, line and column.
func (p Position) compare(q Position) int {
	return cmp.Or(strings.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// Value is a value of the configuration and the place where it was written.
type Value[T any] struct {
	V   T
	Pos Position // zero: V is the default
}

// Written reports whether the file says the value, as opposed to a default.
func (v Value[T]) Written() bool { return !v.Pos.IsZero() }

// MarshalJSON writes the value alone: two policies that mean the same have the same
// JSON wherever their lines stand (see Policy.Hash).
func (v Value[T]) MarshalJSON() ([]byte, error) { return json.Marshal(v.V) }

// byDefault makes a value that no file wrote.
func byDefault[T any](v T) Value[T] { return Value[T]{V: v} }
