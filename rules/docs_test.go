package rules

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/rules/config"
)

// examplesOf loads and compiles every example of a page, alone, where the files lie that
// examples name, and returns the page and the examples.
func examplesOf(t *testing.T, file string) (page string, examples []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		examples = append(examples, found[1])
		if _, err := compiledExample(t, found[1]); err != nil {
			t.Errorf("%s\n%v", found[1], err)
		}
	}
	return string(text), examples
}

// compiledExample is what an example comes to, with the ports that the pages say they take.
func compiledExample(t *testing.T, example string) (*Set, error) {
	t.Helper()
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.toml")
	for name, text := range map[string]string{"policy.toml": example + docsHead, "nat.toml": "", "bogons.txt": "192.0.2.0/24\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "rules.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := config.LoadPolicy(policy)
	if err != nil {
		return nil, err
	}
	return Compile(p)
}

// TestTimeoutsDocs: the table that docs/rules.md calls the normal one is what holds without it.
func TestTimeoutsDocs(t *testing.T) {
	_, examples := examplesOf(t, "rules.md")
	i := slices.IndexFunc(examples, func(e string) bool { return strings.Contains(e, "profile = \"normal\"") })
	if i < 0 {
		t.Fatal("there is none")
	}
	written, err := compiledExample(t, examples[i])
	if err != nil {
		t.Fatal(err)
	}
	unwritten, err := compiledExample(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(written.Timeouts(), unwritten.Timeouts()) {
		t.Errorf("it says %v, what holds is %v", written.Timeouts()[0], unwritten.Timeouts()[0])
	}
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
