// Command run runs schedules of the simulator, replays one, and shrinks one that breaks an
// invariant:
//
//	go run ./sync/simulator/run                          the first 1,000 seeds
//	go run ./sync/simulator/run --seed 77 --trace        one, with everything that happens
//	go run ./sync/simulator/run --seed 77 --shrink       the steps that matter
//	go run ./sync/simulator/run --seed 77 --without 3,9  without some of its steps
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"holdfast/sync/simulator"
)

func main() {
	seed := flag.Uint64("seed", 0, "the schedule, or the first of several")
	count := flag.Int("schedules", 0, "how many to run; 1 with --seed, otherwise 1000")
	elections := flag.Bool("elections", false, "schedules in which almost everything is about who serves")
	witness := flag.Bool("witness", false, "schedules of elections in which votes decide")
	trace := flag.Bool("trace", false, "print what happens")
	shrink := flag.Bool("shrink", false, "take steps away from a schedule that breaks an invariant while it still does")
	without := flag.String("without", "", "steps to leave out: numbers with commas")
	flag.Parse()
	debug.SetGCPercent(400) // a world is small and leaves much behind
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "seed" })
	if *count == 0 {
		if *count = 1000; given {
			*count = 1
		}
	}
	if err := run(*seed, *count, options{*trace, *shrink, *elections, *witness, *without}); err != nil {
		fmt.Fprintln(os.Stderr, "simulator:", err)
		os.Exit(1)
	}
}

// options of a run.
type options struct {
	trace, shrink, elections, witness bool
	without                           string
}

func run(first uint64, count int, o options) error {
	drop, err := numbers(o.without)
	if err != nil {
		return err
	}
	broken, begin := 0, time.Now()
	for seed := first; seed < first+uint64(count); seed++ {
		ok, err := one(o.plan(seed).Without(drop), o)
		if err != nil {
			return err
		}
		if !ok {
			broken++
		}
	}
	fmt.Printf("%d schedules in %v, %d broken\n", count, time.Since(begin).Round(time.Millisecond), broken)
	if broken > 0 {
		return errors.New("invariants were broken")
	}
	return nil
}

// plan makes the schedule of a seed.
func (o options) plan(seed uint64) simulator.Schedule {
	if o.witness {
		return simulator.PlanWitness(seed)
	}
	if o.elections {
		return simulator.PlanElection(seed)
	}
	return simulator.Plan(seed)
}

// one runs a schedule and reports whether everything held.
func one(s simulator.Schedule, o options) (ok bool, err error) {
	tell := func(at int64, line string) { fmt.Printf("%11.3f ms  %s\n", float64(at)/1e6, line) }
	if !o.trace || o.shrink {
		tell = nil
	}
	r, err := simulator.Run(s, tell)
	if err != nil {
		return false, err
	}
	if r.Err == nil {
		return true, nil
	}
	fmt.Printf("seed %d: %v\n", s.Seed, r.Err)
	if !o.shrink {
		return false, nil
	}
	before := len(s.Steps)
	if s, err = simulator.Shrink(s, 2000); err != nil {
		return false, err
	}
	fmt.Printf("shrunk from %d to %d steps; %+v\n", before, len(s.Steps), s.Shape)
	for _, x := range s.Steps {
		fmt.Println(x)
	}
	if o.trace {
		_, err = simulator.Run(s, func(at int64, line string) { fmt.Printf("%11.3f ms  %s\n", float64(at)/1e6, line) })
	}
	return false, err
}

// numbers reads "3,9".
func numbers(text string) (all []int, err error) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("--without %q: %w: write numbers of steps with commas", text, err)
		}
		all = append(all, n)
	}
	return all, nil
}
