// Command run searches small scopes whole, and replays what breaks a law in one:
//
//	go run ./sync/smallscope/run                                     the scopes of the gate
//	go run ./sync/smallscope/run --soak                              the large ones
//	go run ./sync/smallscope/run --scope election-loss               one
//	go run ./sync/smallscope/run --scope election-loss --steps 0.2.1   one sequence of it
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"holdfast/sync/smallscope"
)

func main() {
	name := flag.String("scope", "", "the scope, by its name; all where empty")
	steps := flag.String("steps", "", "a sequence of steps, as a failure prints it")
	soak := flag.Bool("soak", false, "the large scopes")
	states := flag.Int("states", 20_000_000, "how many states of a scope to look at, at most")
	most := flag.Duration("time", 0, "how long to search a scope, at most; 0: until it is through")
	flag.Parse()
	size := smallscope.Gate
	if *soak {
		size = smallscope.Soak
	}
	if err := run(*name, *steps, size, smallscope.Limit{States: *states, Time: *most}); err != nil {
		fmt.Fprintln(os.Stderr, "smallscope:", err)
		os.Exit(1)
	}
}

func run(name, steps string, size smallscope.Size, limit smallscope.Limit) error {
	scopes := smallscope.Scopes(size)
	if name != "" {
		one, there := smallscope.Named(name)
		if !there {
			return fmt.Errorf("no scope %q", name)
		}
		scopes = []smallscope.Scope{one}
	}
	if steps != "" {
		if name == "" {
			return errors.New("--steps belongs to one --scope")
		}
		return replay(scopes[0], steps)
	}
	failed := false
	for _, s := range scopes {
		fmt.Printf("%s: %s\n", s.Name, s.What)
		r := smallscope.Search(s, limit)
		fmt.Printf("\t%v\n", r)
		if r.Broken != nil {
			failed = true
			fmt.Println(r.Broken)
		}
	}
	if failed {
		return errors.New("laws were broken")
	}
	return nil
}

// replay takes one sequence of steps and prints it.
func replay(s smallscope.Scope, steps string) error {
	path, err := smallscope.ParsePath(steps)
	if err != nil {
		return err
	}
	words, err := smallscope.Replay(s, path)
	for i, w := range words {
		fmt.Printf("%3d  %s\n", i+1, w)
	}
	if err == nil {
		fmt.Println("every law holds")
	}
	return err
}
