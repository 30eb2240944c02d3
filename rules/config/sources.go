package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// Bounds of what a policy is made of.
const (
	SourcesBytesMax = 64 << 20 // of all its files together
	SourcesMax      = 4096     // files
)

// Source is one file of a policy, as it was read.
type Source struct {
	Path string // as errors name it
	Text []byte
}

// Sources are the files of a policy: itself first, then what it includes and the files of
// its tables, each once. Another node reads the same policy from them as the one on whose
// disk they lie, and names the same places in it.
type Sources []Source

// Gather reads a policy as LoadPolicy does, and returns what it was read from too.
func Gather(path string) (*Policy, Sources, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, nil, Errors{refusal(unreadable(Position{path, 1, 1}, "the file", err))}
	}
	all := Sources{{path, data}}
	bytes := len(data)
	read := func(name string) ([]byte, error) {
		if i := all.index(name); i >= 0 {
			return all[i].Text, nil
		}
		data, err := readFile(name)
		if err != nil {
			return nil, err
		}
		if bytes += len(data); bytes > SourcesBytesMax || len(all) == SourcesMax {
			return nil, fmt.Errorf("the policy's files have more than %d bytes, or are more than %d", SourcesBytesMax, SourcesMax)
		}
		all = append(all, Source{name, data})
		return data, nil
	}
	p, err := parsePolicy(path, data, files{read: read, list: filepath.Glob})
	if err != nil {
		return nil, nil, err
	}
	return p, all, nil
}

// Policy reads the policy from its files, without a look at the disk.
func (s Sources) Policy() (*Policy, error) {
	if len(s) == 0 {
		return nil, errors.New("a policy of no files")
	}
	return parsePolicy(s[0].Path, s[0].Text, files{read: s.read, list: s.list, apart: true})
}

func (s Sources) index(path string) int {
	return slices.IndexFunc(s, func(one Source) bool { return one.Path == path })
}

func (s Sources) read(path string) ([]byte, error) {
	if i := s.index(path); i >= 0 {
		return s[i].Text, nil
	}
	return nil, fs.ErrNotExist
}

// list returns what a pattern means: whatever matched it on the disk was read.
func (s Sources) list(pattern string) (paths []string, err error) {
	for _, one := range s[1:] {
		ok, err := filepath.Match(pattern, one.Path)
		if err != nil {
			return nil, err
		}
		if ok {
			paths = append(paths, one.Path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}
