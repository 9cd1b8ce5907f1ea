package route

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/fairway"
)

// When is what a request must have, all of it, for a rule to match, beside its host and
// path. Where several rules of one path match: those with Methods first, then those with
// more Headers, then with more Query (Gateway API, HTTPRouteRule.matches), then the older.
type When struct {
	// Unknown says that the rest could not be read, so that any request may be meant: the rule
	// comes before all others of its path, and refuses.
	Unknown bool

	Methods        []string // any of these; nil: any at all
	Headers, Query []dialect.Condition
}

func newWhen(s *fairway.IngressSettings) *When {
	if len(s.Methods)+len(s.Headers)+len(s.Query) == 0 {
		return nil
	}
	return &When{Methods: s.Methods, Headers: s.Headers, Query: s.Query}
}

// holds reports whether req has what w asks for.
func (w *When) holds(req *Request) bool {
	if w == nil {
		return true
	}
	if w.Methods != nil && !slices.Contains(w.Methods, req.Method) {
		return false
	}
	for i := range w.Headers {
		c := &w.Headers[i]
		lines := req.Header.Values(c.Name)
		if len(lines) == 0 || !c.Accepts(strings.Join(lines, ", ")) { // RFC 9110, section 5.3
			return false
		}
	}
	for i := range w.Query {
		c := &w.Query[i]
		if value, ok := argument(req.Query, c.Name); !ok || !c.Accepts(value) {
			return false
		}
	}
	return true
}

// argument returns the first value of an argument of a query, decoded. One that cannot be
// decoded is taken as it is.
func argument(query, name string) (value string, ok bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if unescape(key) == name && pair != "" {
			return unescape(value), true
		}
	}
	return "", false
}

func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if d, err := url.QueryUnescape(s); err == nil {
		return d
	}
	return s
}

// compareWhen puts the one first that wins.
func compareWhen(a, b *When) int { return slices.Compare(b.weight(), a.weight()) }

// weight is what counts where several match, the most important first.
func (w *When) weight() []int {
	if w == nil { // what asks for nothing is last
		return []int{0, 0, 0, 0}
	}
	weight := []int{0, 0, len(w.Headers), len(w.Query)}
	if w.Unknown {
		weight[0] = 1
	}
	if w.Methods != nil {
		weight[1] = 1
	}
	return weight
}

// String is "" for nil; equal conditions are written the same way.
func (w *When) String() string {
	if w == nil {
		return ""
	}
	var b strings.Builder
	if w.Unknown {
		b.WriteString(" unknown")
	}
	if w.Methods != nil {
		fmt.Fprintf(&b, " method %s", strings.Join(w.Methods, ","))
	}
	for _, c := range sorted(w.Headers, strings.ToLower) {
		fmt.Fprintf(&b, " header %s", c)
	}
	for _, c := range sorted(w.Query, strings.Clone) {
		fmt.Fprintf(&b, " query %s", c)
	}
	return b.String()
}

// sorted writes conditions in the order of their names, of which capitals do not count
// where fold says so.
func sorted(conditions []dialect.Condition, fold func(string) string) (out []string) {
	for _, c := range conditions {
		c.Name = fold(c.Name)
		out = append(out, c.String())
	}
	slices.Sort(out)
	return out
}
