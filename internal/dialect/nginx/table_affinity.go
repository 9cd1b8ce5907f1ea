package nginx

import (
	"fmt"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

func affinityTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "affinity", Scope: dialect.Location, Risk: dialect.Low,
			Text: "cookie: requests with the cookie of an earlier response go to the same pod, as long as it is ready"},
			func(s *Settings, v string) error { return set(&s.Affinity.Enabled, v, parseAffinity) }},
		{dialect.Doc{Key: "session-cookie-domain", Scope: dialect.Location, Risk: dialect.Medium, Text: "Domain of the cookie"},
			func(s *Settings, v string) error { return set(&s.Affinity.Domain, v, parseHost) }},
		{dialect.Doc{Key: "session-cookie-expires", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "As session-cookie-max-age; the cookie has Max-Age in any case"},
			func(s *Settings, v string) error { return set(&s.Affinity.MaxAge, v, parseCount) }},
		{dialect.Doc{Key: "session-cookie-max-age", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Max-Age of the cookie, in seconds; without it the cookie ends with the browser's session"},
			func(s *Settings, v string) error { return set(&s.Affinity.MaxAge, v, parseCount) }},
		{dialect.Doc{Key: "session-cookie-name", Default: "INGRESSCOOKIE", Scope: dialect.Location, Risk: dialect.Medium, Text: "Name of the cookie"},
			func(s *Settings, v string) error { return set(&s.Affinity.Cookie, v, parseToken) }},
		{dialect.Doc{Key: "session-cookie-path", Default: "the path of the rule", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Path of the cookie; / where the path of the rule is a regular expression"},
			func(s *Settings, v string) error { return set(&s.Affinity.Path, v, parsePath) }},
		{dialect.Doc{Key: "session-cookie-samesite", Scope: dialect.Location, Risk: dialect.Low, Text: "SameSite of the cookie: None, Lax or Strict"},
			func(s *Settings, v string) error { return set(&s.Affinity.SameSite, v, parseSameSite) }},
		{dialect.Doc{Key: "session-cookie-secure", Default: "for requests over TLS", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Whether the cookie has Secure"},
			func(s *Settings, v string) error { return set(&s.Affinity.Secure, v, parseBoolPointer) }},
	}
}

func parseAffinity(v string) (bool, error) {
	if strings.TrimSpace(v) == "cookie" {
		return true, nil
	}
	return false, &dialect.ValueError{Problem: fmt.Sprintf("affinity %q is not known", v), Fix: `write "cookie"`}
}

func parseSameSite(v string) (string, error) {
	for _, known := range []string{"None", "Lax", "Strict"} {
		if strings.EqualFold(strings.TrimSpace(v), known) {
			return known, nil
		}
	}
	return "", &dialect.ValueError{Problem: fmt.Sprintf("SameSite %q is not known", v), Fix: "write None, Lax or Strict"}
}

func parseBoolPointer(v string) (*bool, error) {
	b, err := parseBool(v)
	if err != nil {
		return nil, err
	}
	return &b, nil
}
