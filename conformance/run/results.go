package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

const (
	passedState  = "passed"
	failedState  = "failed"
	skippedState = "skipped"
)

// result is what came of one spec.
type result struct {
	Name, Group string
	State       string // one of the above
	Reason      string // of a failure or a skip
	Seconds     float64
}

// results are by the specs' names.
type results map[string]result

// read takes the results out of ginkgo's report, and the number of specs that
// were to run and never began. Specs that the phase did not ask for are not in it.
func read(file string) (out results, missing int, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, 0, err
	}
	var reports []types.Report
	if err := json.Unmarshal(data, &reports); err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", file, err)
	}
	out = results{}
	var errs []error
	for _, report := range reports {
		missing += report.PreRunStats.SpecsThatWillRun
		for _, r := range report.SpecReports {
			if r.LeafNodeType != types.NodeTypeIt {
				if r.Failed() {
					errs = append(errs, fmt.Errorf("the suite's %s failed: %s", r.LeafNodeType, r.Failure.Message))
				}
				continue
			}
			if r.NumAttempts > 0 {
				missing--
			}
			if s, ok := resultOf(r); ok {
				out[s.Name] = s
			}
		}
	}
	return out, missing, errors.Join(errs...)
}

func resultOf(r types.SpecReport) (result, bool) {
	s := result{Name: strings.TrimPrefix(r.FullText(), "[sig-network] "), Seconds: r.RunTime.Seconds(), Reason: plain(firstLine(r.Failure.Message))}
	if len(r.ContainerHierarchyTexts) > 0 {
		s.Group = groupOf(r.ContainerHierarchyTexts[0])
	}
	switch {
	case !strings.Contains(r.FullText(), "[sig-network]"):
		return s, false
	case r.State == types.SpecStatePassed:
		s.State, s.Reason = passedState, ""
	case r.Failed():
		s.State = failedState
	case r.State == types.SpecStateSkipped && s.Reason != "":
		s.State = skippedState
	case r.State == types.SpecStatePending:
		s.State, s.Reason = skippedState, "pending upstream"
	default: // filtered out
		s.State, s.Reason = skippedState, reasonFor(r.FullText())
		return s, s.Reason != ""
	}
	return s, true
}

var (
	tag     = regexp.MustCompile(` ?\[[^]]*\]`)
	feature = regexp.MustCompile(`\[Feature:([^]]*)\]`)
)

// groupOf is the outermost Describe without its tags, or its feature where it
// has nothing else.
func groupOf(text string) string {
	if g := strings.TrimSpace(tag.ReplaceAllString(text, "")); g != "" {
		return g
	}
	if m := feature.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return text
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// plain says in fewer words what the suite says with names of this machine.
func plain(reason string) string {
	if strings.HasPrefix(reason, "No SSH Key") {
		return "needs SSH into the nodes"
	}
	return reason
}

// merge adds the results of another phase: what ran says more than what did
// not, and a failure more than a pass.
func (r *results) merge(other results) {
	if *r == nil {
		*r = results{}
	}
	rank := map[string]int{"": 0, skippedState: 1, passedState: 2, failedState: 3}
	for name, s := range other {
		if have := (*r)[name]; rank[s.State] > rank[have.State] {
			(*r)[name] = s
		}
	}
}

func (r results) sorted() []result {
	return slices.SortedFunc(maps.Values(r), func(a, b result) int {
		return strings.Compare(a.Group+"\x00"+a.Name, b.Group+"\x00"+b.Name)
	})
}

func (r results) count() (passed, failed, skipped int) {
	for _, s := range r {
		switch s.State {
		case passedState:
			passed++
		case failedState:
			failed++
		default:
			skipped++
		}
	}
	return passed, failed, skipped
}

// markdown is the table of groups, and below it each spec that was left out.
func (r results) markdown(start time.Time, took time.Duration, missing int) string {
	var b strings.Builder
	passed, failed, skipped := r.count()
	fmt.Fprintf(&b, "Run on %s, in %.0f minutes: %d specs passed, %d failed, %d could not run", start.UTC().Format("2006-01-02 15:04 UTC"), took.Minutes(), passed, failed, skipped)
	if missing > 0 {
		fmt.Fprintf(&b, ", and %d were not begun before the time was over", missing)
	}
	b.WriteString(".\n\n")
	b.WriteString("| group | passed | of | left out | time of all specs |\n|---|---|---|---|---|\n")
	groups := map[string]results{}
	for name, s := range r {
		if groups[s.Group] == nil {
			groups[s.Group] = results{}
		}
		groups[s.Group][name] = s
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		passed, failed, skipped := groups[name].count()
		seconds := 0.0
		for _, s := range groups[name] {
			seconds += s.Seconds
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %.0f s |\n", name, passed, passed+failed, skipped, seconds)
	}
	b.WriteString("\n| spec that was left out | reason |\n|---|---|\n")
	for _, s := range r.sorted() {
		if s.State == skippedState {
			fmt.Fprintf(&b, "| %s | %s |\n", strings.ReplaceAll(s.Name, "|", `\|`), strings.ReplaceAll(s.Reason, "|", `\|`))
		}
	}
	return b.String()
}

const begin, end = "<!-- results -->\n", "<!-- end of results -->\n"

// insert replaces what stands between the markers of file.
func insert(file, table string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(data), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no markers %q and %q", file, begin, end)
	}
	return os.WriteFile(file, []byte(head+begin+"\n"+table+"\n"+end+tail), 0o644)
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9]+`)

// slug is a folder's name for a spec; progress_test.go makes the same.
func slug(name string) string {
	s := strings.Trim(notInNames.ReplaceAllString(name, "-"), "-")
	return s[:min(len(s), 120)]
}
