package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Load reads what `run` and `check` are given: a node file together with the policy it
// names, cross-checked, or a policy alone, for which the Node is nil. The error is an
// Errors with the faults of both files.
func Load(path string) (*Node, *Policy, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, nil, Errors{refusal(unreadable(Position{path, 1, 1}, "the file", err))}
	}
	b := build(path, data, files{})
	if !isNodeFile(b.root) {
		policy, err := parsePolicy(path, data, disk)
		return nil, policy, err
	}
	node, errs := b.node()
	policy, policyErrs := loadPolicyOf(node)
	errs = append(errs, policyErrs...)
	if len(errs) > 0 {
		return nil, nil, errs.sorted()
	}
	if err := Check(node, policy); err != nil {
		return nil, nil, err
	}
	return node, policy, nil
}

// loadPolicyOf reads the policy that a node file names, pointing at the name where
// there is no such file.
func loadPolicyOf(n *Node) (*Policy, Errors) {
	if !n.Policy.Written() {
		return nil, nil // already told
	}
	data, err := readFile(n.Policy.V)
	if err != nil {
		return nil, Errors{refusal(unreadable(n.Policy.Pos, "the policy "+n.Policy.V, err))}
	}
	policy, err := parsePolicy(n.Policy.V, data, disk)
	var errs Errors
	if errors.As(err, &errs) {
		return nil, errs
	}
	return policy, nil
}

// LoadNode reads a node file. Its paths are relative to it.
func LoadNode(path string) (*Node, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, Errors{refusal(unreadable(Position{path, 1, 1}, "the file", err))}
	}
	node, errs := build(path, data, files{}).node()
	if len(errs) > 0 {
		return nil, errs.sorted()
	}
	return node, nil
}

// LoadPolicy reads a policy file and the files it includes.
func LoadPolicy(path string) (*Policy, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, Errors{refusal(unreadable(Position{path, 1, 1}, "the file", err))}
	}
	return parsePolicy(path, data, disk)
}

// ParsePolicy reads a policy from memory; name stands for the file in messages. It
// touches no file, so include is refused.
func ParsePolicy(name string, data []byte) (*Policy, error) {
	return parsePolicy(name, data, files{read: func(string) ([]byte, error) {
		return nil, errors.New("a policy that comes without its files must be one piece")
	}})
}

// files are where a policy's other files come from.
type files struct {
	read func(path string) ([]byte, error)      // nil: there are none, and include is a key like any other
	list func(pattern string) ([]string, error) // those that a pattern means, sorted; nil: patterns are names

	apart bool // they do not lie on this disk
}

// disk is where they lie.
var disk = files{read: readFile, list: filepath.Glob}

func parsePolicy(name string, data []byte, from files) (*Policy, error) {
	policy, errs := build(name, data, from).policy()
	if len(errs) > 0 {
		return nil, errs.sorted()
	}
	return policy, nil
}

func build(file string, data []byte, from files) *builder {
	b := &builder{root: &node{kind: unstable.Table, origin: header}, files: from}
	b.parse(file, data)
	return b
}

// isNodeFile tells a node file from a policy by the keys that only one of the two has.
func isNodeFile(root *node) bool {
	count := func(keys []string) (n int) {
		for _, key := range keys {
			if root.get(key) != nil {
				n++
			}
		}
		return n
	}
	return count(nodeOnly) > count(policyOnly)
}

func refusal(f *fault) Error { return Error{Pos: f.at, What: f.what, Mend: f.mend} }

func unreadable(at Position, what string, err error) *fault {
	mend := "make it readable, or name another"
	if errors.Is(err, fs.ErrNotExist) {
		mend = "make it, or name another"
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err // the path stands in the message already
	}
	return &fault{at: at, what: fmt.Sprintf("%s cannot be read (%v)", what, err), mend: mend}
}

// readFile reads a regular file of bounded size: a FIFO or a device would hang or
// never end.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, fileSizeMax+1))
}
