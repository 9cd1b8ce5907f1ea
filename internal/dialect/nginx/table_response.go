package nginx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// responseTable has what is done to responses, and to requests on the way.
func responseTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "custom-headers", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "ConfigMap with headers that are set on every response; only those that the option global-allowed-response-headers names"},
			func(s *Settings, v string) error { return set(&s.Response.Headers, v, parseObjectName) }},
		{dialect.Doc{Key: "custom-http-errors", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Responses with these statuses, of pods and our own, are replaced by those of default-backend, which sees X-Code, X-Format, X-Original-URI, X-Namespace, X-Ingress-Name, X-Service-Name, X-Service-Port and X-Request-ID"},
			func(s *Settings, v string) error { return set(&s.Errors.Codes, v, parseCodes) }},
		{dialect.Doc{Key: "default-backend", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Service, of the same namespace, that answers (on its first port) where the rule's has no ready pod, and errors of custom-http-errors"},
			func(s *Settings, v string) error { return set(&s.Errors.Backend, v, parseServiceName) }},
		{dialect.Doc{Key: "disable-proxy-intercept-errors", Default: "false", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Replace only our own errors, not the pods'"},
			func(s *Settings, v string) error { return set(&s.Errors.Off, v, parseBool) }},
		{dialect.Doc{Key: "mirror-host", Scope: dialect.Location, Risk: dialect.High, Text: "Host header of mirrored requests; by default that of mirror-target"},
			func(s *Settings, v string) error { return set(&s.Mirror.Host, v, dialect.ParseHost) }},
		{dialect.Doc{Key: "mirror-request-body", Default: "on", Scope: dialect.Location, Risk: dialect.Low, Effect: dialect.Partly,
			Text: "off: mirror without the body. Requests with more than 1 MiB of it are not mirrored"},
			func(s *Settings, v string) error { return set(&s.Mirror.NoBody, v, choice("on", "off")) }},
		{dialect.Doc{Key: "mirror-target", Scope: dialect.Location, Risk: dialect.High,
			Text: "Send a copy of each request to this URL, as in https://test.example.com$request_uri, and forget the answer; a slow target slows nobody"},
			func(s *Settings, v string) error { return set(&s.Mirror.Target, v, parseURL) }},
		{dialect.Doc{Key: "proxy-cookie-domain", Default: "off", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Two words: this Domain in cookies of pods, or one that matches the regular expression (~ or ~* before it), is replaced by the second one, in which $1 is a group"},
			func(s *Settings, v string) error { return set(&s.Response.CookieDomain, v, parseReplaceDomain) }},
		{dialect.Doc{Key: "proxy-cookie-path", Default: "off", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Two words: a Path in cookies of pods that begins with the first begins with the second instead; one that matches a regular expression (~ or ~* before it) is replaced by it, and $1 is a group"},
			func(s *Settings, v string) error { return set(&s.Response.CookiePath, v, parseReplace) }},
		{dialect.Doc{Key: "proxy-redirect-from", Default: "off", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Location and Refresh of pods that begin with this text begin with proxy-redirect-to instead, and those that match a regular expression (~ or ~* before it) are replaced by it; off and default change nothing"},
			func(s *Settings, v string) error { return set(&s.Response.Redirect.From, v, parseFrom) }},
		{dialect.Doc{Key: "proxy-redirect-to", Default: "off", Scope: dialect.Location, Risk: dialect.Medium, Text: "See proxy-redirect-from"},
			func(s *Settings, v string) error { return set(&s.Response.Redirect.To, v, parseTo) }},
	}
}

// parseCodes accepts statuses from 300 on, as error_page does.
func parseCodes(v string) ([]int, error) {
	var out []int
	for _, f := range list(v) {
		n, err := strconv.Atoi(f)
		if err != nil || n < 300 || n > 599 || n == 499 {
			return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q is not the status of an error", f), Fix: `write a list like "404,503"`}
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func parseServiceName(v string) (string, error) {
	name, err := parseObject(v)
	if err == nil && strings.Contains(name, "/") {
		return "", &dialect.ValueError{Problem: fmt.Sprintf("%q names a namespace", v), Fix: "name a Service of the Ingress's namespace"}
	}
	return name, err
}
