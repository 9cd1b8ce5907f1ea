// Package fairway has no code. Its test holds the house rules: what a reader
// may rely on everywhere in this repository. A rule that must bend says so in
// a table here, with the reason.
package fairway

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fairway-net/fairway"

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath  string
	Dir         string
	Standard    bool
	GoFiles     []string
	TestGoFiles []string
	Imports     []string
}

// short is the import path inside the module.
func (p pkg) short() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

// under reports whether path is dir or below it.
func under(path string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") })
}

func isStd(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// exceptions to TestLayers: "importer imported" and the reason.
var exceptions = map[string]string{
	"internal/agent k8s.io/client-go/rest":  "the wiring hands one connection to source and status",
	"internal/plan/address internal/config": "takes the pools as they were configured; values only",
}

// TestLayers: sources → state → plan → apply, and nobody looks back.
func TestLayers(t *testing.T) {
	// Who may use a dependency that others must not see, and why.
	reserved := []struct {
		dep string
		by  []string
		why string
	}{
		{"k8s.io", []string{"internal/source/kube", "internal/source/file", "internal/apply/status"}, "Kubernetes types end where the model begins"},
		{"github.com/cilium/ebpf", []string{"internal/apply/bpf", "internal/sys"}, "one applier owns the kernel's maps and programs"},
	}
	used := map[string]bool{}
	for _, p := range packages(t) {
		path := p.short()
		for _, imp := range p.Imports {
			ours, own := strings.CutPrefix(imp, module+"/")
			if exception := path + " " + ours; exceptions[exception] != "" {
				used[exception] = true
				continue
			}
			switch {
			case path == "internal/model" && own:
				t.Errorf("%s imports %s: the vocabulary depends on nothing", path, ours)
			case under(path, "internal/state") && own && ours != "internal/model":
				t.Errorf("%s imports %s: the state knows the vocabulary only", path, ours)
			case under(path, "internal/plan") && own && !under(ours, "internal/model", "internal/state", "internal/diff", "internal/dialect", path):
				t.Errorf("%s imports %s: a planner sees model, state, diff and dialects only", path, ours)
			case under(path, "internal/plan", "internal/model") && !own && !isStd(imp):
				t.Errorf("%s imports %s: planners need nothing but the standard library", path, imp)
			case under(path, "internal/plan", "internal/model") && slices.Contains([]string{"os", "net/http", "log", "log/slog", "math/rand", "math/rand/v2"}, imp):
				t.Errorf("%s imports %s: a planner is a pure function", path, imp)
			}
			for _, r := range reserved {
				if under(imp, r.dep) && !under(path, r.by...) {
					t.Errorf("%s imports %s, which is for %s: %s", path, imp, strings.Join(r.by, ", "), r.why)
				}
			}
		}
	}
	for exception := range exceptions {
		if !used[exception] {
			t.Errorf("exception %q is not needed any more", exception)
		}
	}
}

// TestPlannersHaveNoClock: what a planner says depends on its input only.
func TestPlannersHaveNoClock(t *testing.T) {
	for _, p := range packages(t) {
		if !under(p.short(), "internal/plan", "internal/model") {
			continue
		}
		for _, name := range p.GoFiles {
			f := parse(t, filepath.Join(p.Dir, name))
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "Sleep", "NewTimer", "Tick"}, sel.Sel.Name) {
					t.Errorf("%s/%s calls time.%s", p.short(), name, sel.Sel.Name)
				}
				return true
			})
		}
	}
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestPackageDocs: every package says once what it is.
func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		files := p.GoFiles
		if len(files) == 0 {
			files = p.TestGoFiles
		}
		docs := 0
		for _, name := range files {
			if f := parse(t, filepath.Join(p.Dir, name)); f.Doc != nil && !ast.IsGenerated(f) {
				docs++
				if f.Name.Name != "main" && !strings.HasPrefix(f.Doc.Text(), "Package "+f.Name.Name) {
					t.Errorf("%s/%s: the package comment must begin with \"Package %s\"", p.short(), name, f.Name.Name)
				}
			}
		}
		if docs != 1 {
			t.Errorf("%s has %d package comments, want one", p.ImportPath, docs)
		}
	}
}

// TestNames: a package is called by what it holds.
func TestNames(t *testing.T) {
	for _, p := range packages(t) {
		switch name := filepath.Base(p.ImportPath); name {
		case "util", "utils", "common", "helpers", "helper", "misc", "shared", "manager", "base", "lib":
			t.Errorf("%s: %q says nothing of what is inside", p.short(), name)
		}
	}
}

// dependencies are the direct requirements of the root module, with the
// reason why each is worth having.
var dependencies = map[string]string{
	"github.com/cilium/ebpf":         "loads and updates the datapath",
	"github.com/tidwall/btree":       "the trees under the snapshots, which share what did not change",
	"github.com/andybalholm/brotli":  "the content coding br, for the option enable-brotli: the one port of Google's encoder to Go",
	"github.com/quic-go/quic-go":     "QUIC and HTTP/3, a transport protocol of its own",
	"github.com/miekg/dns":           "odd record types, forwarding, and the oracle of the codec's fuzz test",
	"github.com/vishvananda/netlink": "links, addresses and routes",
	"github.com/vishvananda/netns":   "comes with netlink",
	"go.yaml.in/yaml/v3":             "lines of manifests, for those who must mend them",
	"golang.org/x/crypto":            "bcrypt, for passwords of auth-secret",
	"golang.org/x/net":               "HTTP/2 and DNS messages",
	"golang.org/x/sys":               "system calls",
	"k8s.io/api":                     "source and status of Kubernetes",
	"k8s.io/apimachinery":            "source and status of Kubernetes",
	"k8s.io/client-go":               "source and status of Kubernetes",
	"sigs.k8s.io/yaml":               "YAML as Kubernetes reads it",
}

// TestDependencies: few, each with a reason, none replaced, and never all of
// Kubernetes.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []any
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Replace) > 0 {
		t.Error("go.mod replaces modules: then `go install` of a release does not work")
	}
	direct := map[string]bool{}
	for _, r := range mod.Require {
		direct[r.Path] = direct[r.Path] || !r.Indirect
		if r.Path == "k8s.io/kubernetes" {
			t.Error("go.mod requires k8s.io/kubernetes: it belongs into the module kube/")
		}
		if !r.Indirect && dependencies[r.Path] == "" {
			t.Errorf("go.mod requires %s: say in the table here why it is worth it", r.Path)
		}
	}
	for path := range dependencies {
		if !direct[path] {
			t.Errorf("the table here gives a reason for %s, which go.mod does not require directly", path)
		}
	}
}

// TestManifestIsFresh: deploy/fairway.yaml is what the chart renders to.
func TestManifestIsFresh(t *testing.T) {
	cmd := exec.Command("go", "run", "./chart", "-check")
	cmd.Dir = "tools"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// longFiles are files over maxLines, with the reason.
var longFiles = map[string]string{}

const maxLines = 500

// TestFileSizes: a file that one cannot keep in mind wants to be two.
func TestFileSizes(t *testing.T) {
	for _, file := range sources(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text[:min(len(text), 400)], []byte("DO NOT EDIT")) {
			continue
		}
		limit := maxLines
		if strings.HasSuffix(file, "_test.go") {
			limit *= 2 // a table of cases is easily long
		}
		lines := bytes.Count(text, []byte("\n"))
		if lines > limit && longFiles[file] == "" {
			t.Errorf("%s has %d lines, the limit is %d: split it by noun, or give the reason in the table here", file, lines, limit)
		}
	}
}

// TestDatapathSize: the datapath can be read in an evening.
func TestDatapathSize(t *testing.T) {
	const most, few = 3000, 1000
	lines := 0
	for _, text := range contents(t, "bpf/*.c", "bpf/*/*.h") {
		lines += bytes.Count(text, []byte("\n"))
	}
	if lines < few || lines >= most {
		t.Errorf("bpf/ has %d lines of C, want less than %d (and more than %d: are these all files?)", lines, most, few)
	}
}

// contents returns what is in the files that match one of the patterns.
func contents(t *testing.T, patterns ...string) (texts [][]byte) {
	t.Helper()
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
	}
	return texts
}

// sources returns the Go and C files of all modules.
func sources(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == ".git" || path == "bin" || path == ".cache" || path == "bpf/include") {
			return filepath.SkipDir
		}
		if ext := filepath.Ext(path); ext == ".go" || ext == ".c" || ext == ".h" {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestCodeMap: ARCHITECTURE.md names every directory that holds a program or a
// part of one.
func TestCodeMap(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"cmd/*", "internal/*", "*/go.mod"} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			dir = strings.TrimSuffix(dir, "/go.mod")
			if !strings.Contains(string(text), "`"+dir+"`") {
				t.Errorf("ARCHITECTURE.md does not say what %s is", dir)
			}
		}
	}
}

var (
	link      = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	makeUse   = regexp.MustCompile("(?m)(?:^\\$ |`)make ([a-z-]+)")
	makeRule  = regexp.MustCompile(`(?m)^([a-z-]+):[^=]`)
	pathInDoc = regexp.MustCompile("`((?:cmd|internal|bpf|charts|deploy|docs|examples|kube|bench|test|tools)/[A-Za-z0-9_./-]*[A-Za-z0-9_/-])`")
)

// TestDocs: pages point at what exists, name targets that the Makefile has,
// and a page with console blocks is run by a test.
func TestDocs(t *testing.T) {
	rules, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range makeRule.FindAllSubmatch(rules, -1) {
		targets[string(m[1])] = true
	}
	tests, err := os.ReadFile("test/tutorial/tutorial_test.go")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	whole := ""
	for _, page := range append(pages, more...) {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		whole += text
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, m[1])
			}
		}
		for _, m := range pathInDoc.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
		for _, m := range makeUse.FindAllStringSubmatch(text, -1) {
			if !targets[m[1]] {
				t.Errorf("%s names `make %s`, which the Makefile does not have", page, m[1])
			}
		}
		if strings.Contains(text, "```console") && !strings.Contains(string(tests), `"`+page+`"`) {
			t.Errorf("%s has console blocks that no test in test/tutorial runs", page)
		}
	}
	examples, err := filepath.Glob("examples/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range examples {
		if !strings.Contains(whole, file) {
			t.Errorf("no page uses %s", file)
		}
	}
}

// TestSemanticsAreTested: the tests that the tables of what Services, names and Ingresses
// do name are there, and so are the scenarios, questions and cases in brackets.
func TestSemanticsAreTested(t *testing.T) {
	tests := map[string]bool{}
	for _, text := range contents(t, "internal/*/*_test.go", "internal/*/*/*_test.go", "conformance/own/*/*_test.go", "test/*/*_test.go") {
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
	}
	scenario := func(name string) bool {
		_, err := os.Stat("internal/plan/service/testdata/" + name + ".txtar")
		return err == nil
	}
	questions, err := os.ReadFile("internal/dns/testdata/answers.txt")
	if err != nil {
		t.Fatal(err)
	}
	question := func(asked string) bool { return strings.Contains(string(questions), "\n? "+asked+"\n") }
	cases := string(bytes.Join(contents(t, "test/tutorial/annotationtable_test.go", "internal/proxy/nginx*_test.go"), nil))
	asked := func(name string) bool { // a scenario of routes, or what a gateway is asked
		_, err := os.Stat("internal/plan/route/testdata/" + name + ".txtar")
		return err == nil || strings.Contains(cases, `"`+name+`"`)
	}
	for page, is := range map[string]struct {
		rows int
		what func(string) bool // what stands in brackets
	}{
		"docs/services-semantics.md": {25, scenario},
		"docs/dns-semantics.md":      {25, question},
		"docs/ingress-semantics.md":  {40, asked},
	} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		for line := range strings.Lines(string(text)) {
			cells := strings.Split(strings.Trim(line, "| \n"), " | ")
			if len(cells) != 3 || cells[2] == "tests" {
				continue
			}
			rows++
			named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`(?: \\(`([^`]+)`\\))?").FindAllStringSubmatch(cells[2], -1)
			if len(named) == 0 {
				t.Errorf("%s: %q has no test", page, cells[0])
			}
			for _, m := range named {
				if !tests[m[1]] {
					t.Errorf("%s: %q: there is no test %s", page, cells[0], m[1])
				}
				if m[2] != "" && !is.what(m[2]) {
					t.Errorf("%s: %q: there is no %s", page, cells[0], m[2])
				}
			}
		}
		if rows < is.rows {
			t.Errorf("%s: %d rows were found", page, rows)
		}
	}
}
