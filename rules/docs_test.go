package rules

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"holdfast/rules/config"
)

// examplesOf loads and compiles every example of a page, alone, and returns the page and the
// examples.
func examplesOf(t *testing.T, file string) (page string, examples []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		examples = append(examples, found[1])
		p, err := config.ParsePolicy(file, []byte(docsHead+found[1]))
		if err != nil {
			t.Errorf("%s\n%v", found[1], err)
			continue
		}
		if _, err := Compile(p); err != nil {
			t.Errorf("%s\n%v", found[1], err)
		}
	}
	return string(text), examples
}

// TestRulesDocs: docs/rules.md has an example of every key of a rule, and they are right.
func TestRulesDocs(t *testing.T) {
	page, examples := examplesOf(t, "rules.md")
	_, err := config.ParsePolicy("p.toml", []byte(head+"[[rules]]\nzzzzzzzz = 1\nid = \"x\"\naction = \"pass\"\n"))
	if err == nil {
		t.Fatal("a key that is none was accepted")
	}
	_, keys, ok := strings.Cut(err.Error(), "the known keys are ")
	if !ok {
		t.Fatal(err)
	}
	for _, key := range strings.Split(keys, ", ") {
		if !regexp.MustCompile(`(?m)^### .*\b` + key + `\b`).MatchString(page) {
			t.Errorf("no heading of %s", key)
		}
		if !regexp.MustCompile(`(?m)^` + key + ` = `).MatchString(strings.Join(examples, "")) {
			t.Errorf("no example of %s", key)
		}
	}
}

// TestFromDocs: the examples for those who come from elsewhere are right.
func TestFromDocs(t *testing.T) {
	for _, file := range []string{"from-pf.md", "from-nftables.md"} {
		if _, examples := examplesOf(t, file); len(examples) == 0 {
			t.Errorf("%s has no example", file)
		}
	}
}
