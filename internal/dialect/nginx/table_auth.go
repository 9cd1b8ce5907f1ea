package nginx

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

func authTable() []Annotation {
	table := []Annotation{
		{dialect.Doc{Key: "auth-always-set-cookie", Default: "false", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Set the cookies of the answer on every response; by default only on 200, 201, 204, 206, 301, 302, 303, 304, 307 and 308"},
			func(s *Settings, v string) error { return set(&s.Auth.AlwaysSetCookie, v, parseBool) }},
		{dialect.Doc{Key: "auth-cache-duration", Default: "200 202 401 5m", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "How long answers are kept, by status, as in \"200 202 10m, 401 5m\""},
			func(s *Settings, v string) error { return set(&s.Auth.CacheTimes, v, parseCacheTimes) }},
		{dialect.Doc{Key: "auth-cache-key", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Keep answers for requests with the same text, as in $remote_user$http_authorization; hosts and paths do not share answers"},
			func(s *Settings, v string) error { return set(&s.Auth.CacheKey, v, parseText) }},
		{dialect.Doc{Key: "auth-method", Default: "GET", Scope: dialect.Location, Risk: dialect.Low, Text: "Method of the question"},
			func(s *Settings, v string) error { return set(&s.Auth.Method, v, parseMethod) }},
		{dialect.Doc{Key: "auth-proxy-set-headers", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "ConfigMap with headers for the question"},
			func(s *Settings, v string) error { return set(&s.Auth.SetHeaders, v, parseObjectName) }},
		{dialect.Doc{Key: "auth-request-redirect", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Value of X-Auth-Request-Redirect in the question; by default the URI of the request"},
			func(s *Settings, v string) error { return set(&s.Auth.Redirect, v, parseText) }},
		{dialect.Doc{Key: "auth-response-headers", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Headers of the answer that the pods get, separated by commas"},
			func(s *Settings, v string) error { return set(&s.Auth.ResponseHeaders, v, parseTokenList) }},
		{dialect.Doc{Key: "auth-signin", Scope: dialect.Location, Risk: dialect.High,
			Text: "Where to send (302) whoever gets 401, with the URL that was asked for in the parameter rd"},
			func(s *Settings, v string) error { return set(&s.Auth.SignIn, v, parseTemplate) }},
		{dialect.Doc{Key: "auth-signin-redirect-param", Default: "rd", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Name of that parameter"},
			func(s *Settings, v string) error { return set(&s.Auth.SignInParam, v, dialect.ParseToken) }},
		{dialect.Doc{Key: "auth-url", Scope: dialect.Location, Risk: dialect.High,
			Text: "Ask this URL about every request, without its body: 2xx lets it pass, 401 and 403 are the answer, all else is 500"},
			func(s *Settings, v string) error { return set(&s.Auth.URL, v, parseURL) }},
		{dialect.Doc{Key: "enable-global-auth", Default: "true", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Whether the option global-auth-url holds for the Ingress"},
			func(s *Settings, v string) error { return set(&s.Auth.Global, v, parseBool) }},
	}
	return append(table, silent("Connections to auth-url are kept, up to 64 of them, for 60 seconds",
		"auth-keepalive", "auth-keepalive-requests", "auth-keepalive-share-vars", "auth-keepalive-timeout")...)
}

func parseMethod(v string) (string, error) {
	return oneOf(v, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE")
}

func parseObjectName(v string) (model.Name, error) {
	text, err := parseObject(v)
	return model.ParseName(text), err
}

// parseTokenList accepts header names separated by commas.
func parseTokenList(v string) ([]string, error) {
	out := list(v)
	for _, f := range out {
		if _, err := dialect.ParseToken(f); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// parseCacheTimes reads proxy_cache_valid's arguments, several sets of them
// separated by commas.
func parseCacheTimes(v string) ([]CacheTime, error) {
	var out []CacheTime
	bad := func(text string) ([]CacheTime, error) {
		return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q is not a list of statuses and a time", text), Fix: `write one like "200 202 10m, 401 5m"`}
	}
	for _, part := range list(v) {
		words := strings.Fields(part)
		last, err := parseDuration(words[len(words)-1])
		if err != nil {
			return bad(part)
		}
		c := CacheTime{Time: last}
		for _, w := range words[:len(words)-1] {
			n, err := strconv.Atoi(w)
			if w == "any" {
				n, err = 0, nil
			}
			if err != nil || n != 0 && (n < 200 || n > 599) {
				return bad(part)
			}
			c.Statuses = append(c.Statuses, n)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return bad(v)
	}
	return out, nil
}

// parseDuration reads nginx's times: 30, 30s, 5m, 1h, 1d, 500ms.
func parseDuration(v string) (time.Duration, error) {
	v = strings.TrimSpace(v)
	digits := v[:len(v)-len(strings.TrimLeft(v, "0123456789"))]
	unit, ok := map[string]time.Duration{"": time.Second, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[v[len(digits):]]
	n, err := strconv.Atoi(digits)
	if err != nil || !ok || n > 365*24*3600 {
		return 0, &dialect.ValueError{Problem: fmt.Sprintf("%q is not a time", v), Fix: `write one like "30s" or "5m"`}
	}
	return time.Duration(n) * unit, nil
}
