package selector

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// ErrEmpty: there were no words.
var ErrEmpty = errors.New("no selector: write key=value words such as rule=web-out, or the word all")

// Selector chooses connections. The zero value chooses none.
type Selector struct {
	words []word
	all   bool
}

// word is one key=value.
type word struct {
	key, value string
	holds      test
	class      classTest // nil: it says nothing of the class
}

// test says whether a connection is as a word wants it.
type test func(*conntrack.View, *Names) bool

// Names translates the numbers in a connection into the names that people use. A nil
// function, and a nil Names, know no names: words that need them hold for nothing.
type Names struct {
	Rule    func(number uint32) (id string, labels []string) // "" where the rule is gone
	Labels  func() []string                                  // of all rules, as the file says them
	Port    func(packet.PortID) string
	Gateway func(number uint8) string // "" for none
	Node    func(number uint16) string
}

// Parse reads a selector from its words. Errors say which word is wrong and what to write.
func Parse(words []string) (*Selector, error) {
	if len(words) == 0 {
		return nil, ErrEmpty
	}
	if slices.Contains(words, "all") {
		if len(words) > 1 {
			return nil, errors.New("selector: all stands alone: remove it, or the other words")
		}
		return &Selector{all: true}, nil
	}
	s := &Selector{}
	for _, w := range words {
		parsed, err := parseWord(w)
		if err != nil {
			return nil, fmt.Errorf("selector: %w", err)
		}
		s.words = append(s.words, parsed)
	}
	return s, nil
}

// ParseText reads a selector from one text, with spaces between the words: the form of
// String and of the wire.
func ParseText(text string) (*Selector, error) { return Parse(strings.Fields(text)) }

func parseWord(w string) (word, error) {
	name, value, hasValue := strings.Cut(w, "=")
	i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
	switch {
	case i < 0 && !hasValue:
		return word{}, fmt.Errorf("%q is not a key=value word: %s", w, suggest(name))
	case i < 0:
		return word{}, fmt.Errorf("unknown key %q: %s", name, suggest(name))
	case value == "":
		return word{}, fmt.Errorf("%s has no value: write %s=%s", name, name, keys[i].example)
	case strings.ContainsFunc(value, unicode.IsSpace):
		return word{}, fmt.Errorf("%s=%q has a space in its value: write one word, such as %s=%s", name, value, name, keys[i].example)
	}
	parsed := word{key: name}
	var ok bool
	if keys[i].class != nil {
		parsed.value, ok = value, true
		parsed.class = func(c *conntrack.Class, n *Names) bool { return keys[i].class(c, n, value) }
		parsed.holds = func(v *conntrack.View, n *Names) bool { return parsed.class(&v.Class, n) }
	} else {
		parsed.value, parsed.holds, ok = keys[i].parse(value)
	}
	if name == "label" {
		parsed.holds = func(v *conntrack.View, n *Names) bool { return hasLabel(v, n, value) }
	}
	if !ok {
		return word{}, fmt.Errorf("%s=%s is not %s: write such as %s=%s", name, value, keys[i].noun, name, keys[i].example)
	}
	return parsed, nil
}

func suggest(name string) string {
	if name == "" {
		return "write a key before the ="
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	if near := config.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %s=?", near)
	}
	return "the keys are " + strings.Join(names, ", ")
}

// Match reports whether the selector chooses the connection.
func (s *Selector) Match(v *conntrack.View, n *Names) bool {
	if len(s.words) == 0 {
		return s.all
	}
	for i := range s.words {
		if !s.words[i].holds(v, n) {
			return false
		}
	}
	return true
}

// All reports whether the selector is the word all.
func (s *Selector) All() bool { return s.all }

// String returns the selector's words with spaces between; ParseText reads it back.
func (s *Selector) String() string {
	if s.all {
		return "all"
	}
	words := make([]string, len(s.words))
	for i, w := range s.words {
		words[i] = w.key + "=" + w.value
	}
	return strings.Join(words, " ")
}
