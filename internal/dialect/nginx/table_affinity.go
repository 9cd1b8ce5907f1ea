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
		{dialect.Doc{Key: "affinity-canary-behavior", Default: "sticky", Scope: dialect.Location, Risk: dialect.Low,
			Text: "sticky: a client that the canary (or not the canary) has served stays there; legacy: every request is decided anew"},
			func(s *Settings, v string) error { return set(&s.Affinity.LegacyCanary, v, choice("sticky", "legacy")) }},
		{dialect.Doc{Key: "affinity-mode", Default: "balanced", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "persistent: clients stay while their pod is ready. balanced: new pods take over their share of the clients"},
			func(s *Settings, v string) error {
				return set(&s.Affinity.Persistent, v, choice("balanced", "persistent"))
			}},
		{dialect.Doc{Key: "session-cookie-change-on-failure", Default: "false", Scope: dialect.Location, Risk: dialect.Low,
			Text: "After a failure of the cookie's pod: give the client another cookie, that of the pod that answered"},
			func(s *Settings, v string) error { return set(&s.Affinity.ChangeOnFailure, v, parseBool) }},
		{dialect.Doc{Key: "session-cookie-conditional-samesite-none", Default: "false", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Leave SameSite=None out for browsers that misunderstand it"},
			func(s *Settings, v string) error { return set(&s.Affinity.Conditional, v, parseBool) }},
		{dialect.Doc{Key: "session-cookie-domain", Scope: dialect.Location, Risk: dialect.Medium, Text: "Domain of the cookie"},
			func(s *Settings, v string) error { return set(&s.Affinity.Domain, v, dialect.ParseHost) }},
		{dialect.Doc{Key: "session-cookie-expires", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Expires of the cookie, in seconds from the response"},
			func(s *Settings, v string) error { return set(&s.Affinity.Expires, v, parseCount) }},
		{dialect.Doc{Key: "session-cookie-max-age", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Max-Age of the cookie, in seconds; without it the cookie ends with the browser's session"},
			func(s *Settings, v string) error { return set(&s.Affinity.MaxAge, v, parseCount) }},
		{dialect.Doc{Key: "session-cookie-name", Default: "INGRESSCOOKIE", Scope: dialect.Location, Risk: dialect.Medium, Text: "Name of the cookie"},
			func(s *Settings, v string) error { return set(&s.Affinity.Cookie, v, dialect.ParseToken) }},
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

func balanceTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "load-balance", Default: "round_robin", Scope: dialect.Location, Risk: dialect.Low,
			Text: "round_robin, or ewma: the pod with the lower load and response time of two"},
			func(s *Settings, v string) error { return set(&s.Balance.EWMA, v, choice("round_robin", "ewma")) }},
		{dialect.Doc{Key: "service-upstream", Default: "false", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Send requests to the ClusterIP of the Service instead of its pods"},
			func(s *Settings, v string) error { return set(&s.ServiceUpstream, v, parseBool) }},
		{dialect.Doc{Key: "upstream-hash-by", Scope: dialect.Location, Risk: dialect.High,
			Text: "Requests with the same text, as in $request_uri or ${host}-x, go to the same pod, by a consistent hash"},
			func(s *Settings, v string) error { return set(&s.Balance.HashBy, v, parseText) }},
		{dialect.Doc{Key: "upstream-hash-by-subset", Default: "false", Scope: dialect.Location, Risk: dialect.Low,
			Text: "They go to one of several pods"},
			func(s *Settings, v string) error { return set(&s.Balance.Subset, v, parseBool) }},
		{dialect.Doc{Key: "upstream-hash-by-subset-size", Default: "3", Scope: dialect.Location, Risk: dialect.Low, Text: "How many those are"},
			func(s *Settings, v string) error { return set(&s.Balance.SubsetSize, v, parseCount) }},
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
