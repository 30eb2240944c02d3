package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the messages that testdata/bad and testdata/broken expect")

// TestBadFiles reads files with many faults, about one part of the language each.
func TestBadFiles(t *testing.T) { golden(t, "testdata/bad", 1) }

// TestBrokenFiles reads files that each have one fault that people make, and one with ten.
func TestBrokenFiles(t *testing.T) {
	golden(t, "testdata/broken", 60)
	var all Errors
	if _, _, err := Load("ten-mistakes.toml"); !errors.As(err, &all) || len(all) != 10 {
		t.Errorf("of ten mistakes %d are told:\n%v", len(all), err)
	}
}

// golden reads every file of a folder, which are so many at least, and compares what is said
// about it with the file beside it: all faults, in order, each with its place and how to mend
// it.
func golden(t *testing.T, folder string, least int) {
	t.Chdir(folder)
	files, err := filepath.Glob("*.toml")
	if err != nil || len(files) < least {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			if strings.HasPrefix(file, "cross-") {
				t.Skip("part of another file's test, itself good")
			}
			_, _, err := Load(file)
			if err == nil {
				t.Fatal("accepted")
			}
			got := err.Error() + "\n"
			expected := strings.TrimSuffix(file, ".toml") + ".txt"
			if *update {
				if err := os.WriteFile(expected, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(expected)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
		})
	}
}

// TestErrorsAreSingle gives callers every fault by itself.
func TestErrorsAreSingle(t *testing.T) {
	_, err := ParsePolicy("p.toml", []byte("a = 1\nb = 2\n[ports.lan]\n"))
	var all Errors
	if !errors.As(err, &all) || len(all) != 2 {
		t.Fatalf("got %v", err)
	}
	var one Error
	if !errors.As(err, &one) || one.Pos != (Position{"p.toml", 1, 1}) {
		t.Fatalf("first is %v", one)
	}
	if !slices.IsSortedFunc(all, func(a, b Error) int { return a.Pos.compare(b.Pos) }) {
		t.Error("not sorted")
	}
}
