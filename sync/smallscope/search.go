package smallscope

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// World is one run of a scope, from its beginning: production machines, what is on its way
// between them, and what may still go wrong. It must be a function of the steps taken.
type World interface {
	// Steps appends the steps that can be taken now to dst, in an order that is a function of
	// the world's state.
	Steps(dst []Step) []Step
	// Take takes one of them. An error is a law that does not hold.
	Take(s Step) error
	// Fingerprint returns a number that two worlds share if, and but for collisions only if,
	// everything that can come of them is the same.
	Fingerprint() uint64
	// Settle stops all faults and lets everything come right. An error says what does not. The
	// world is used up by it.
	Settle() error
	// Say puts a step into words.
	Say(s Step) string
	// Close gives back what the world holds.
	Close()
}

// Step is something that can happen. What it means is for its World to say.
type Step struct {
	Act  uint8
	A, B uint8
}

// Scope is what is searched: all sequences of at most Depth steps.
type Scope struct {
	Name  string // one word, for the command
	What  string // the scope in words
	Depth int
	New   func() World
}

// Limit bounds a search. A search that reaches it has not been through its scope, and says so.
type Limit struct {
	States int           // 0: none
	Time   time.Duration // 0: none
}

// Result is what a search has seen.
type Result struct {
	States  int // that differ, the first included
	Steps   int // taken from one of them: interleavings of which no two have one state and one step in common
	Settled int // states at the end of their steps from which everything had to come right
	Deepest int // how many steps the longest sequence had
	Closed  bool
	Took    time.Duration
	Broken  *Broken // nil: every law held
}

// String returns one line.
func (r Result) String() string {
	extent := "all of it"
	if !r.Closed {
		extent = "stopped at its limit"
	}
	return fmt.Sprintf("%d states, %d steps between them, up to %d deep, %d settled, in %v: %s",
		r.States, r.Steps, r.Deepest, r.Settled, r.Took.Round(time.Millisecond), extent)
}

// Broken is a law that did not hold, and how it came to that.
type Broken struct {
	Scope string
	Path  []int // which of the steps that could be taken was taken, by number
	Words []string
	Why   error
}

// Error returns the sequence, and how to see it again.
func (b *Broken) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %v\n", b.Scope, b.Why)
	for i, w := range b.Words {
		fmt.Fprintf(&s, "\t%2d  %s\n", i+1, w)
	}
	fmt.Fprintf(&s, "\treplay: go run ./sync/smallscope/run --scope %s --steps %s", b.Scope, JoinPath(b.Path))
	return s.String()
}

// Unwrap returns the law.
func (b *Broken) Unwrap() error { return b.Why }

// JoinPath writes a sequence of choices as the command reads it.
func JoinPath(path []int) string {
	var all []string
	for _, i := range path {
		all = append(all, strconv.Itoa(i))
	}
	return strings.Join(all, ".")
}

// ParsePath reads what JoinPath has written.
func ParsePath(text string) (path []int, err error) {
	for word := range strings.SplitSeq(text, ".") {
		i, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("step %q: want numbers with dots between them, as a failure prints them", word)
		}
		path = append(path, i)
	}
	return path, nil
}

// found is one state: how it was reached first.
type found struct {
	from  uint32
	step  uint8
	depth uint8
}

// search goes through a scope. Machines cannot be copied, and need not be: a state is
// reached again by its steps.
type search struct {
	scope  Scope
	limit  Limit
	begun  time.Time
	states []found
	seen   map[uint64]struct{}
	result Result
	path   []int
	steps  []Step
}

// Search goes through all of a scope, or as much of it as the limit allows.
//
// It goes into the depth first, because the first step from a state is then taken where the
// state was reached. Where a law breaks it goes through the scope again, breadth first, for a
// sequence than which none is shorter.
func Search(scope Scope, limit Limit) Result {
	s := newSearch(scope, limit)
	s.dive()
	r := s.finish()
	if r.Broken == nil {
		return r
	}
	again := newSearch(scope, limit)
	again.spread()
	if short := again.finish(); short.Broken != nil {
		r.Broken = short.Broken
	}
	return r
}

func newSearch(scope Scope, limit Limit) *search {
	s := &search{scope: scope, limit: limit, begun: time.Now(), seen: map[uint64]struct{}{}}
	w := scope.New()
	defer w.Close()
	s.known(w.Fingerprint())
	s.states = append(s.states, found{})
	s.result.Closed = true
	return s
}

func (s *search) finish() Result {
	s.result.States, s.result.Took = len(s.states), time.Since(s.begun)
	return s.result
}

// open is a step that is still to be taken.
type open struct {
	from uint32
	step uint8
}

// dive searches depth first.
func (s *search) dive() {
	var stack []open
	s.descend(s.scope.New(), 0, &stack)
	for n := 0; len(stack) > 0 && s.result.Broken == nil; n++ {
		if s.spent(n, len(s.states)) {
			return
		}
		next := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		w := s.reach(int(next.from))
		s.steps = w.Steps(s.steps[:0])
		if at, fresh := s.take(w, int(next.from), int(next.step), s.steps[next.step]); fresh {
			s.descend(w, at, &stack)
		} else {
			w.Close()
		}
	}
}

// descend takes the first step from a state that w has just come to, and the first from
// there, until nothing new comes of it. What else could be taken goes onto the stack.
func (s *search) descend(w World, at int, stack *[]open) {
	for fresh := true; fresh; {
		s.steps = w.Steps(s.steps[:0])
		if s.over(at, len(s.steps)) {
			s.reached(at)
			s.settle(w)
			return
		}
		for i := len(s.steps) - 1; i > 0; i-- {
			*stack = append(*stack, open{uint32(at), uint8(i)})
		}
		at, fresh = s.take(w, at, 0, s.steps[0])
	}
	w.Close()
}

// spread searches breadth first.
func (s *search) spread() {
	for at := 0; at < len(s.states) && s.result.Broken == nil; at++ {
		if s.spent(at, at) {
			return
		}
		w := s.reach(at)
		steps := w.Steps(nil)
		if s.over(at, len(steps)) {
			s.settle(w)
			continue
		}
		for i := 0; i < len(steps) && s.result.Broken == nil; i++ {
			if i > 0 {
				w = s.reach(at)
			}
			s.take(w, at, i, steps[i])
			w.Close()
		}
	}
}

// spent reports whether the limit is reached, and notes it. n counts the calls.
func (s *search) spent(n, states int) bool {
	if s.limit.States > 0 && states >= s.limit.States || s.limit.Time > 0 && n%64 == 0 && time.Since(s.begun) > s.limit.Time {
		s.result.Closed = false
	}
	return !s.result.Closed
}

// over reports whether no more steps are taken from a state from which so many could be.
func (s *search) over(at, steps int) bool {
	s.result.Deepest = max(s.result.Deepest, int(s.states[at].depth))
	return steps == 0 || int(s.states[at].depth) == s.scope.Depth
}

// take takes a step from a state that w has come to, and returns the state that it leads to if
// that is new and lawful.
func (s *search) take(w World, from, choice int, step Step) (at int, fresh bool) {
	s.result.Steps++
	if err := w.Take(step); err != nil {
		s.reached(from)
		s.broken(err, choice)
		return 0, false
	}
	if s.known(w.Fingerprint()) {
		return 0, false
	}
	s.states = append(s.states, found{from: uint32(from), step: uint8(choice), depth: s.states[from].depth + 1})
	return len(s.states) - 1, true
}

// reached notes the path to a state.
func (s *search) reached(at int) {
	s.path = s.path[:0]
	for i := at; i != 0; i = int(s.states[i].from) {
		s.path = append(s.path, int(s.states[i].step))
	}
	slices.Reverse(s.path)
}

// reach makes a world and takes the steps to a state, which were lawful before.
func (s *search) reach(at int) World {
	s.reached(at)
	w := s.scope.New()
	for _, choice := range s.path {
		s.steps = w.Steps(s.steps[:0])
		if err := w.Take(s.steps[choice]); err != nil {
			panic(fmt.Sprintf("smallscope: %s: a sequence of steps has come to two ends: %v", s.scope.Name, err))
		}
	}
	return w
}

func (s *search) known(key uint64) bool {
	if _, there := s.seen[key]; there {
		return true
	}
	s.seen[key] = struct{}{}
	return false
}

// settle stops the faults in a world where no more steps are taken, at the end of s.path.
func (s *search) settle(w World) {
	s.result.Settled++
	if err := w.Settle(); err != nil {
		s.broken(fmt.Errorf("and then, without faults: %w", err), -1)
	}
	w.Close()
}

// broken notes the sequence that was reached last, and its last step if that is not in it.
func (s *search) broken(why error, last int) {
	path := slices.Clone(s.path)
	if last >= 0 {
		path = append(path, last)
	}
	words, _ := Replay(s.scope, path)
	s.result.Broken = &Broken{Scope: s.scope.Name, Path: path, Words: words, Why: why}
}

// Replay takes a sequence of choices and returns it in words, and what breaks in it or, if
// nothing does, when everything has to come right after it.
func Replay(scope Scope, path []int) (words []string, err error) {
	w := scope.New()
	defer w.Close()
	for _, choice := range path {
		steps := w.Steps(nil)
		if choice < 0 || choice >= len(steps) {
			return words, fmt.Errorf("step %d: there are only %d steps to choose from", choice, len(steps))
		}
		words = append(words, w.Say(steps[choice]))
		if err := w.Take(steps[choice]); err != nil {
			return words, err
		}
	}
	if err := w.Settle(); err != nil {
		return words, fmt.Errorf("and then, without faults: %w", err)
	}
	return words, nil
}

// errLaw marks what a world says of a law.
var errLaw = errors.New("law broken")

// broken returns an error that says that a law does not hold.
func broken(law, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", errLaw, law, fmt.Sprintf(format, args...))
}
