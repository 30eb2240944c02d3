package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a policy was read from gives the same policy, with the same places, where its files
// are not; and faults of what another node has are told at the same places.
func TestSourcesGiveThePolicyElsewhere(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	main := write("main.toml", "include = [\"rules.d/*.toml\", \"last.toml\"]\n"+ports+"[tables.bad]\nfile = \"bad.txt\"\n")
	write("bad.txt", "192.0.2.1\n198.51.100.0/24 # a network\n")
	write("rules.d/20.toml", "[[rules]]\nid = \"two\"\naction = \"pass\"\n")
	write("rules.d/10.toml", "[[rules]]\nid = \"one\"\naction = \"block\"\nfrom = \"<bad>\"\n")
	write("last.toml", "[[rules]]\nid = \"three\"\naction = \"pass\"\n")
	want, sources, err := Gather(main)
	if err != nil || len(sources) != 5 || sources[0].Path != main {
		t.Fatalf("%d files: %v", len(sources), err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	got, err := sources.Policy()
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash() != want.Hash() || len(got.Rules) != 3 {
		t.Errorf("another policy: %d rules", len(got.Rules))
	}
	for i := range want.Rules {
		if got.Rules[i].Pos != want.Rules[i].Pos {
			t.Errorf("rule %d stands at %v, and not at %v", i, got.Rules[i].Pos, want.Rules[i].Pos)
		}
	}
	sources[2].Text = []byte("[[rules]]\nid = \"x\"\naction = \"pas\"\n")
	if _, err := sources.Policy(); err == nil || !strings.Contains(err.Error(), sources[2].Path+":3:10") {
		t.Errorf("a fault: %v", err)
	}
	if _, err := sources[:2].Policy(); err == nil || !strings.Contains(err.Error(), "last.toml") {
		t.Errorf("a file that lacks: %v", err)
	}
	if _, err := Sources(nil).Policy(); err == nil {
		t.Error("no files at all are accepted")
	}
}
