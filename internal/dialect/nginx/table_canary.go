package nginx

import (
	"fmt"
	"regexp"

	"github.com/fairway-net/fairway/internal/dialect"
)

func canaryTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "canary", Default: "false", Scope: dialect.Location, Risk: dialect.Low,
			Text: "The Ingress has no rules of its own: it takes a share of the requests of the Ingress with the same host and path"},
			func(s *Settings, v string) error { return set(&s.Canary.Enabled, v, parseBool) }},
		{dialect.Doc{Key: "canary-by-cookie", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Cookie whose value always or never decides, after the header"},
			func(s *Settings, v string) error { return set(&s.Canary.Cookie, v, dialect.ParseToken) }},
		{dialect.Doc{Key: "canary-by-header", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Header whose value always or never decides, before all else"},
			func(s *Settings, v string) error { return set(&s.Canary.Header, v, dialect.ParseToken) }},
		{dialect.Doc{Key: "canary-by-header-pattern", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Regular expression for the header's value, where canary-by-header-value is not set"},
			func(s *Settings, v string) error { return set(&s.Canary.HeaderPattern, v, parseRegex) }},
		{dialect.Doc{Key: "canary-by-header-value", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Value of the header that stands for always; other values do not decide"},
			func(s *Settings, v string) error { s.Canary.HeaderValue = v; return nil }},
		{dialect.Doc{Key: "canary-weight", Default: "0", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Share of the requests that neither header nor cookie decides"},
			func(s *Settings, v string) error { return set(&s.Canary.Weight, v, parseCount) }},
		{dialect.Doc{Key: "canary-weight-total", Default: "100", Scope: dialect.Location, Risk: dialect.Low,
			Text: "What canary-weight is a share of; less than 100 counts as 100"},
			func(s *Settings, v string) error { return set(&s.Canary.Total, v, parseCount) }},
	}
}

func parseRegex(v string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(v)
	if err != nil {
		return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q is no regular expression", v), Fix: "the syntax is RE2, which has no lookaround and no backreferences"}
	}
	return re, nil
}
