package holdfast_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// module is this module's path, the first part of every import of ours.
const module = "holdfast"

// floor places packages in the house. A package imports only packages of lower floors.
type floor struct {
	Path   string // folder; "x/..." means every folder below x that has no row of its own
	Level  int    // 0 is the ground
	Reason string // why it stands there, in one line
}

// floors is the plan of the house. Two sides that need each other do not import each
// other: they meet through plain data that a floor above hands to both.
var floors = []floor{
	{"internal/race", 0, "whether the race detector watches; tests ask, the product never does"},
	{"internal/mutant", 0, "bugs that tests plant, anywhere; no build has them"},
	{"dataplane/drop", 0, "every stage names why a packet died, so the names stand below every stage"},

	{"dataplane/packet", 1, "tuples, decoding and rewriting are pure bytes; decoding names only drop reasons"},
	{"dataplane/xsk", 1, "AF_XDP sockets move frames and know nothing of what is in them"},
	{"dataplane/gate", 1, "the right to transmit is plain data, written by the cluster and read by workers"},
	{"rules/config", 1, "a file becomes a blueprint; what it means is decided above"},
	{"sync/seal", 1, "the record layer seals bytes, whatever they say"},

	{"dataplane/xdp", 2, "kernel programs serve the sockets of xsk"},
	{"dataplane/tap", 2, "the kernel's face of a port hands over frames as packet draws them"},
	{"dataplane/fib", 2, "next hops are addresses of packet, followed from the kernel"},
	{"dataplane/cookie", 2, "SYN cookies of tuples: bytes and a key"},
	{"dataplane/fragment", 2, "fragments are tracked by what packet decoded"},
	{"dataplane/gateway", 2, "a gateway is chosen by a tuple of packet; what it is to whom is decided above"},
	{"conntrack", 2, "a connection is two tuples; it must not know NAT policy, rules or the wire"},
	{"nat", 2, "policy and tuple give a reply tuple; it must not know the table, which proves the tuple free"},

	{"rules/limit", 2, "counts of addresses; which rule counts where is plain data from rules"},
	{"rules/table", 2, "sets of addresses that change; which rule asks which is for rules to know"},

	{"conntrack/helper/...", 3, "application helpers ask the table for expectations, off the fast path"},
	{"conntrack/oracle", 3, "the tracker beside the kernel's: tests only"},
	{"conntrack/selector", 3, "selectors are matched against connections"},
	{"rules", 3, "a blueprint is compiled to a classifier over tuples, NAT policies and timeouts"},
	{"sync/wire", 3, "messages carry the exported state of a connection"},

	{"sync/saved", 4, "a file of the states that wire writes, kept over a restart"},
	{"sync/digest", 4, "sums over what wire would tell of each connection"},
	{"sync/journal", 4, "what changed leaves the workers as messages of wire, and remote states come in"},

	{"dataplane", 5, "the worker calls every stage, and no stage calls back up"},
	{"sync/reload", 5, "a policy on its way through the cluster: pure machines over wire, and the file of the kept one"},
	{"sync/repair", 5, "rounds, transfers and what is left over, over digest and journal"},
	{"sync/peer", 5, "the protocol with one peer is a pure machine over journal and wire"},

	{"dataplane/capture", 6, "logged packets, taken from the workers' rings, become lines and files"},
	{"sync/cluster", 6, "roles and transport drive one peer machine per peer"},
	{"cmd/internal/api", 5, "the API's objects are plain data that daemon, commands and demo share"},
	{"cmd/internal/explain", 6, "what the path would do, in the API's words: the daemon and the command both ask it"},
	{"cmd/internal/program", 5, "programs of the operator are run in bounded time, by hooks and checks"},
	{"cmd/internal/hook", 6, "events become programs that are run, and know nothing of the daemon"},
	{"cmd/internal/track", 6, "what is tracked, judged by gateway's monitors; who serves is for the election to say"},
	{"internal/lab", 6, "the test laboratory serves demo, bench and tests, and must not lean on what it tests"},

	{"sync/simulator", 7, "virtual time and network around the production machines"},
	{"sync/smallscope", 7, "every interleaving of a few steps of the production machines"},
	{"sync/smallscope/run", 8, "the command that searches small scopes and replays a sequence of steps"},
	{"sync/simulator/run", 8, "the command that runs, replays and shrinks schedules"},
	{"cmd/internal/...", 7, "what only the commands need"},
	{"bench/ruleset", 7, "filters and packets to measure the classifier with"},
	{"bench/tracker", 6, "the tracker alone, measured without sockets"},
	{"bench/replica", 7, "replication between two nodes of one process, measured"},
	{"bench/report", 7, "results, page and tables, which documents are held to"},
	{"bench/gen", 7, "load generators, which only the benchmarks need"},
	{"bench/peers", 7, "other firewalls to measure against, which only the benchmarks need"},

	{"cmd/holdfast", 8, "the binary puts the house together"},
	{"bench", 8, "the benchmark suite puts parts of the house together"},
}

// clockFloor is the lowest floor that may read the clock; below it, time is an argument.
const clockFloor = 4

// labUsers are the folders whose non-test files may import internal/lab.
var labUsers = []string{"cmd/internal", "bench"}

// dependency is a module that may be required directly.
type dependency struct {
	Module string
	Job    string
	// Within lists the folders whose non-test files may import it; empty means
	// anywhere, testsOnly means nowhere.
	Within []string
}

var testsOnly = []string{"(tests only)"}

// dependencies is the documented list; one more needs its reason in the commit that
// adds it. Those that reach the binary stay at a dozen.
var dependencies = []dependency{
	{"github.com/cilium/ebpf", "programs, maps, attachment, bpf2go", nil},
	{"github.com/vishvananda/netlink", "links, routes, neighbours, TAP, laboratory", nil},
	{"github.com/vishvananda/netns", "network namespaces of the laboratory", nil},
	{"golang.org/x/sys", "system calls and AF_XDP constants", nil},
	{"golang.org/x/crypto", "the AEAD of the record layer", nil},
	{"github.com/cespare/xxhash/v2", "digests and generation hashes, where nodes must agree", nil},
	{"github.com/pelletier/go-toml/v2", "configuration, with positions", nil},
	{"github.com/gaissmai/bart", "prefix tables and route lookup", nil},
	{"github.com/flynn/noise", "the handshake between nodes", nil},
	{"github.com/spf13/cobra", "command line and completion", nil},
	{"github.com/prometheus/client_golang", "metrics", nil},
	{"github.com/google/gopacket", "packets in generators, pcap files, an oracle for the decoder; never on the path",
		[]string{"cmd/internal", "bench", "internal/lab"}},
	{"github.com/asavie/xdp", "an independent AF_XDP sender and baseline", []string{"bench"}},
	{"github.com/google/go-cmp", "differences in tests", testsOnly},
	{"github.com/pion/stun/v3", "how a NAT behaves, told by somebody else's program", testsOnly},
	{"github.com/rogpeppe/go-internal", "scripts as tests", testsOnly},
	{"pgregory.net/rapid", "property tests", testsOnly},
}

// TestArchitecture holds the repository to the plan above.
func TestArchitecture(t *testing.T) {
	for _, breach := range inspect(t, os.DirFS(".")) {
		t.Error(breach)
	}
}

// inspect returns every breach of the plan in the tree, as "file:line: what is wrong:
// how to mend". Build tags are not looked at: every file counts.
func inspect(t *testing.T, tree fs.FS) []string {
	t.Helper()
	gomod, err := fs.ReadFile(tree, "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	h := &inspector{fset: token.NewFileSet(), required: requirements(string(gomod)), used: make(map[string]bool)}
	if err := walkGo(tree, h.file); err != nil {
		t.Fatal(err)
	}
	h.modules()
	return h.breaches
}

// requirement is one module of go.mod's require blocks.
type requirement struct {
	Module   string
	Line     int
	Indirect bool
}

func requirements(gomod string) []requirement {
	var all []requirement
	inBlock := false
	for n, line := range strings.Split(gomod, "\n") {
		code, comment, _ := strings.Cut(line, "//")
		words := strings.Fields(code)
		switch {
		case len(words) == 2 && words[0] == "require" && words[1] == "(":
			inBlock = true
			continue
		case len(words) == 1 && words[0] == ")":
			inBlock = false
			continue
		case len(words) == 3 && words[0] == "require":
			words = words[1:]
		case !inBlock:
			continue
		}
		if len(words) == 2 {
			all = append(all, requirement{words[0], n + 1, strings.TrimSpace(comment) == "indirect"})
		}
	}
	return all
}

// inspector gathers breaches over the files of a tree.
type inspector struct {
	fset     *token.FileSet
	required []requirement
	used     map[string]bool // modules that some file imports, tests included
	breaches []string
}

func (h *inspector) breach(at string, format string, args ...any) {
	h.breaches = append(h.breaches, at+": "+fmt.Sprintf(format, args...))
}

// source is one Go file under inspection. Test files are exempt from the floors; only
// their modules count, as used.
type source struct {
	*ast.File
	name   string // from the root
	folder string
	floor  floor
	unsafe bool // it may import unsafe
}

func (h *inspector) file(name string, text []byte) error {
	parsed, err := parser.ParseFile(h.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	f := source{File: parsed, name: name, folder: path.Dir(name), unsafe: strings.HasSuffix(name, "_unsafe.go")}
	if f.folder == "sync" {
		h.breach(name+":1", "a Go file directly in sync/: `import \"sync\"` must always mean the standard library; move it into a package below")
		return nil
	}
	if strings.HasSuffix(name, "_test.go") {
		for _, imp := range f.Imports {
			h.moduleOf(imp)
		}
		return nil
	}
	var stands bool
	if f.floor, stands = floorOf(f.folder); !stands {
		h.breach(name+":1", "package %s stands on no floor: add it to the table of arch_test.go with its reason", f.folder)
		return nil
	}
	for _, imp := range f.Imports {
		h.importOf(f, imp)
	}
	h.clock(f)
	h.linkname(f)
	return nil
}

// importOf judges one import of a file that is not a test.
func (h *inspector) importOf(f source, imp *ast.ImportSpec) {
	at := h.at(imp.Pos())
	target := importPath(imp)
	inner, ours := strings.CutPrefix(target, module+"/")
	switch {
	case target == "C":
		h.breach(at, "imports C: the project builds without a C compiler")
	case target == "unsafe":
		if !f.unsafe {
			h.breach(at, "imports unsafe: move the code into a file named *_unsafe.go that opens with why it is sound")
		}
	case ours:
		h.ourImport(f, at, inner)
	case thirdParty(target):
		if d, ok := h.moduleOf(imp); ok && !allowedIn(d, f.folder) {
			h.breach(at, "imports %s, which is for %s (%s)", target, strings.Join(d.Within, ", "), d.Job)
		}
	}
}

func (h *inspector) ourImport(f source, at, target string) {
	to, stands := floorOf(target)
	switch {
	case !stands:
		h.breach(at, "imports %s, which stands on no floor: add it to the table of arch_test.go with its reason", target)
	case f.folder == "internal/lab":
		h.breach(at, "internal/lab imports %s: the laboratory must not lean on what it tests", target)
	case target == "internal/lab" && !below(f.folder, labUsers):
		h.breach(at, "%s imports internal/lab: only tests, cmd/internal and bench may", f.folder)
	case to.Level >= f.floor.Level:
		h.breach(at, "%s (floor %d: %s) imports %s (floor %d: %s): only lower floors; let a floor above hand plain data to both",
			f.folder, f.floor.Level, f.floor.Reason, target, to.Level, to.Reason)
	}
}

// moduleOf marks the import's module as used and returns its row of the documented list.
func (h *inspector) moduleOf(imp *ast.ImportSpec) (dependency, bool) {
	target := importPath(imp)
	if !thirdParty(target) {
		return dependency{}, false
	}
	best := ""
	for _, r := range h.required {
		if (target == r.Module || strings.HasPrefix(target, r.Module+"/")) && len(r.Module) > len(best) {
			best = r.Module
		}
	}
	if best == "" {
		h.breach(h.at(imp.Pos()), "imports %s, which no module of go.mod provides", target)
		return dependency{}, false
	}
	h.used[best] = true
	for _, d := range dependencies {
		if d.Module == best {
			return d, true
		}
	}
	h.breach(h.at(imp.Pos()), "imports %s of module %s, which is not on the documented list of arch_test.go: do without it, or add it with its job", target, best)
	return dependency{}, false
}

// modules compares go.mod's direct requirements with the imports.
func (h *inspector) modules() {
	for _, r := range h.required {
		at := fmt.Sprintf("go.mod:%d", r.Line)
		if r.Indirect && h.used[r.Module] {
			h.breach(at, "%s is imported, yet marked indirect: run go mod tidy", r.Module)
		}
		if !r.Indirect && !h.used[r.Module] {
			h.breach(at, "%s is required, and nothing imports it: run go mod tidy", r.Module)
		}
	}
}

// clock finds readings of the wall clock on floors where time is an argument.
func (h *inspector) clock(f source) {
	if f.floor.Level >= clockFloor {
		return
	}
	local := ""
	for _, imp := range f.Imports {
		if importPath(imp) == "time" {
			local = "time"
			if imp.Name != nil {
				local = imp.Name.Name
			}
		}
	}
	if local == "" {
		return
	}
	ast.Inspect(f.File, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == local {
			switch sel.Sel.Name {
			case "Now", "Since", "Until":
				h.breach(h.at(sel.Pos()), "%s (floor %d) reads time.%s: below floor %d the time is an argument, in nanoseconds of CLOCK_BOOTTIME",
					f.folder, f.floor.Level, sel.Sel.Name, clockFloor)
			}
		}
		return true
	})
}

// linkname finds the back door that needs no unsafe of its own to be unsafe.
func (h *inspector) linkname(f source) {
	if f.unsafe {
		return
	}
	for _, g := range f.Comments {
		for _, c := range g.List {
			if strings.HasPrefix(c.Text, "//go:linkname ") {
				h.breach(h.at(c.Pos()), "go:linkname: move it into a file named *_unsafe.go that opens with why it is sound")
			}
		}
	}
}

func (h *inspector) at(pos token.Pos) string {
	p := h.fset.Position(pos)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// floorOf returns the floor of a folder; the longest row that matches decides.
func floorOf(folder string) (floor, bool) {
	var best floor
	found := false
	for _, f := range floors {
		prefix, wild := strings.CutSuffix(f.Path, "/...")
		if folder == f.Path {
			return f, true
		}
		if wild && strings.HasPrefix(folder, prefix+"/") && len(f.Path) > len(best.Path) {
			best, found = f, true
		}
	}
	return best, found
}

// thirdParty reports whether the import path belongs to a module that is neither ours
// nor the standard library: those have a dot in their first part.
func thirdParty(target string) bool {
	first, _, _ := strings.Cut(target, "/")
	return strings.Contains(first, ".")
}

func importPath(imp *ast.ImportSpec) string {
	target, err := strconv.Unquote(imp.Path.Value)
	if err != nil {
		panic("the parser let a malformed import through: " + imp.Path.Value)
	}
	return target
}

func allowedIn(d dependency, folder string) bool {
	return len(d.Within) == 0 || below(folder, d.Within)
}

// below reports whether folder is one of the parents or lies below one.
func below(folder string, parents []string) bool {
	for _, p := range parents {
		if folder == p || strings.HasPrefix(folder, p+"/") {
			return true
		}
	}
	return false
}

// TestArchitectureCatches proves that each kind of breach is found: a rule that no
// longer bites would pass in silence.
func TestArchitectureCatches(t *testing.T) {
	for _, row := range []struct{ name, file, body, want string }{
		{"a lower floor is fine", "conntrack/a.go", `import _ "holdfast/dataplane/packet"`, ""},
		{"upward", "dataplane/packet/a.go", `import _ "holdfast/conntrack"`, "only lower floors"},
		{"sideways", "nat/a.go", `import _ "holdfast/conntrack"`, "only lower floors"},
		{"no floor", "util/a.go", ``, "package util stands on no floor"},
		{"import of no floor", "nat/a.go", `import _ "holdfast/util"`, "which stands on no floor"},
		{"tests may look anywhere", "nat/a_test.go", `import _ "holdfast/conntrack"`, ""},
		{"unsafe", "dataplane/xsk/ring.go", `import _ "unsafe"`, "imports unsafe"},
		{"unsafe where it belongs", "dataplane/xsk/ring_unsafe.go", `import _ "unsafe"`, ""},
		{"linkname", "dataplane/xsk/ring.go", "//go:linkname nanotime runtime.nanotime\nfunc nanotime() int64", "go:linkname"},
		{"cgo", "dataplane/xsk/ring.go", `import "C"`, "imports C"},
		{"sync holds no Go file", "sync/a.go", ``, "directly in sync/"},
		{"clock", "conntrack/a.go", "import clock \"time\"\nvar _ = clock.Now", "reads time.Now"},
		{"clock in disguise", "rules/a.go", "import \"time\"\nvar _ = time.Since(time.Time{})", "reads time.Since"},
		{"clock where it is allowed", "sync/journal/a.go", "import \"time\"\nvar _ = time.Now", ""},
		{"durations are no clock", "conntrack/a.go", "import \"time\"\nconst tick = time.Second", ""},
		{"lab leans on nothing", "internal/lab/a.go", `import _ "holdfast/dataplane/packet"`, "must not lean"},
		{"lab in the product", "sync/simulator/a.go", `import _ "holdfast/internal/lab"`, "only tests, cmd/internal and bench"},
		{"lab in the demo", "cmd/internal/demo/a.go", `import _ "holdfast/internal/lab"`, ""},
		{"unknown module", "dataplane/a.go", `import _ "example.org/right/pad"`, "no module of go.mod provides"},
		{"unlisted module", "nat/a.go", `import _ "example.com/left/pad"`, "not on the documented list"},
		{"test module in the product", "nat/a.go", `import _ "pgregory.net/rapid"`, "tests only"},
		{"bench module in the product", "dataplane/a.go", `import _ "github.com/asavie/xdp"`, "which is for bench"},
		{"indirect", "nat/a.go", `import _ "golang.org/x/sys/unix"`, "marked indirect"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tree := fstest.MapFS{
				"go.mod": {Data: []byte("module holdfast\n\nrequire (\n\tpgregory.net/rapid v1.0.0\n\tgithub.com/asavie/xdp v1.0.0\n" +
					"\texample.com/left v1.0.0\n)\n\nrequire golang.org/x/sys v1.0.0 // indirect\n")},
				"use_test.go": {Data: []byte("package p\nimport (\n_ \"pgregory.net/rapid\"\n_ \"github.com/asavie/xdp\"\n)\n")},
				row.file:      {Data: []byte("package p\n" + row.body + "\n")},
			}
			var got []string
			for _, b := range inspect(t, tree) {
				if !strings.Contains(b, "example.com/left is required, and nothing imports it") {
					got = append(got, b)
				}
			}
			all := strings.Join(got, "\n")
			if row.want == "" && all != "" || !strings.Contains(all, row.want) {
				t.Errorf("breaches %q, want %q", all, row.want)
			}
		})
	}
}
