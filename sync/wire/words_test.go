package wire

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// Every type has a sample, whose bytes are pinned, and words; and the protocol's
// description names it.
func TestEveryTypeHasASampleWordsAndADescription(t *testing.T) {
	description, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	samples := map[Type]string{}
	for name, b := range encodings() {
		f := only(t, b)
		samples[f.Type] = name
		fields, err := Words(f)
		if err != nil || len(fields) == 0 || fields[0].Name == "bytes" {
			t.Errorf("%s: words are %v, %v", name, fields, err)
		}
	}
	for _, typ := range Types() {
		if samples[typ] == "" {
			t.Errorf("type %v (%d) has no sample in sample_test.go, so nothing pins its bytes", typ, uint8(typ))
		}
		if row := fmt.Sprintf("| %d | `%v` |", uint8(typ), typ); !strings.Contains(string(description), row) {
			t.Errorf("sync/README.md has no row %q in its table of messages", row)
		}
	}
	if len(samples) != len(Types()) {
		t.Errorf("samples of %d types, but %d have names: give the others one in typeNames", len(samples), len(Types()))
	}
}

// What a recording shows is pinned too: one line for each sample.
func TestWordsGolden(t *testing.T) {
	const path = "testdata/words.txt"
	var b strings.Builder
	all := encodings()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fields, err := Words(only(t, all[name]))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%-30s", name)
		for _, f := range fields {
			fmt.Fprintf(&b, " %s=%v", f.Name, f.Value)
		}
		b.WriteString("\n")
	}
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != b.String() {
		t.Errorf("want\n%s\ngot\n%s", want, b.String())
	}
}

// Words never panic and refuse what the decoders refuse.
func FuzzWords(f *testing.F) {
	for _, b := range encodings() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var frame Frame
		for frames := (Frames{Rest: b}); frames.Next(&frame); {
			_, err := Words(&frame)
			if known := decode(&frame); typeNames[frame.Type] != "" && (err == nil) != (known == nil) {
				t.Fatalf("%v: words %v, decoder %v", frame.Type, err, known)
			}
		}
	})
}
