package nginx

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// ownOptions have no annotation.
func ownOptions() []Option {
	return append([]Option{
		{dialect.Doc{Key: "add-headers", Text: "ConfigMap, as namespace/name, with headers that are set on every response"},
			func(o *Options, v string) error { return set(&o.AddHeaders, v, parseObjectName) }},
		{dialect.Doc{Key: "allow-backend-server-header", Default: "false", Text: "Pass the pods' header Server on"},
			func(o *Options, v string) error { return set(&o.ServerHeader, v, parseBool) }},
		{dialect.Doc{Key: "allow-cross-namespace-resources", Default: "false", Text: "Annotations may name Secrets and ConfigMaps of other namespaces"},
			func(o *Options, v string) error { return set(&o.CrossNamespace, v, parseBool) }},
		{dialect.Doc{Key: "allow-external-names", Default: "false", Text: "Services of type ExternalName may be backends (Fairway's own option; ingress-nginx has the flag --disable-svc-external-name)"},
			func(o *Options, v string) error { return set(&o.ExternalNames, v, parseBool) }},
		{dialect.Doc{Key: "allow-snippet-annotations", Default: "false", Text: "Follow the directives of snippets that are on the list"},
			func(o *Options, v string) error { return set(&o.AllowSnippets, v, parseBool) }},
		{dialect.Doc{Key: "annotations-risk-level", Default: "High", Text: "Highest risk of annotations that are accepted: Low, Medium, High or Critical"},
			func(o *Options, v string) error { return set(&o.Risk, v, parseRisk) }},
		{dialect.Doc{Key: "block-cidrs", Text: "Client addresses that get 403 everywhere"},
			func(o *Options, v string) error { return set(&o.BlockCIDRs, v, parsePrefixes) }},
		{dialect.Doc{Key: "block-referers", Text: "Values of Referer that get 403 everywhere; ~ and ~* begin regular expressions"},
			func(o *Options, v string) error { return set(&o.BlockReferers, v, parsePatterns) }},
		{dialect.Doc{Key: "block-user-agents", Text: "Values of User-Agent that get 403 everywhere; ~ and ~* begin regular expressions"},
			func(o *Options, v string) error { return set(&o.BlockAgents, v, parsePatterns) }},
		{dialect.Doc{Key: "compute-full-forwarded-for", Default: "false", Text: "Append to X-Forwarded-For instead of replacing it"},
			func(o *Options, v string) error { return set(&o.FullForwardedFor, v, parseBool) }},
		{dialect.Doc{Key: DefaultBackendOption, Text: "Service, as namespace/name, that answers (on its first port) what no Ingress has a rule for, and makes the error pages of custom-http-errors where an Ingress names no default-backend (Fairway's own option; ingress-nginx has the flag --default-backend-service)"},
			func(o *Options, v string) error { return set(&o.DefaultBackend, v, parseObjectName) }},
		{dialect.Doc{Key: "disable-access-log", Default: "false", Text: "No request is written to the access log"},
			func(o *Options, v string) error {
				off, err := parseBool(v)
				o.Base.AccessLog = o.Base.AccessLog && !off
				return err
			}},
		{dialect.Doc{Key: "enable-underscores-in-headers", Default: "false", Text: "Pass headers with an underscore on"},
			func(o *Options, v string) error { return set(&o.Underscores, v, parseBool) }},
		{dialect.Doc{Key: "forwarded-for-header", Default: "X-Forwarded-For", Text: "Header with the client's address, where use-forwarded-headers is on"},
			func(o *Options, v string) error { return set(&o.ForwardedFor, v, parseToken) }},
		{dialect.Doc{Key: "global-allowed-response-headers", Text: "Headers that custom-headers may set, separated by commas"},
			func(o *Options, v string) error {
				names, err := parseTokenList(strings.ToLower(v))
				o.AllowedHeader = names
				return err
			}},
		{dialect.Doc{Key: "hide-headers", Text: "Headers of pods that clients do not get"},
			func(o *Options, v string) error { return set(&o.Base.Response.Hide, v, parseTokenList) }},
		{dialect.Doc{Key: "hsts", Default: "true", Text: "Strict-Transport-Security on responses over TLS"},
			func(o *Options, v string) error { return set(&o.HSTS, v, parseBool) }},
		{dialect.Doc{Key: "hsts-include-subdomains", Default: "true", Text: "With includeSubDomains"},
			func(o *Options, v string) error { return set(&o.HSTSSub, v, parseBool) }},
		{dialect.Doc{Key: "hsts-max-age", Default: "31536000", Text: "With this max-age, in seconds"},
			func(o *Options, v string) error {
				n, err := parseCount(v)
				if err == nil {
					o.HSTSAge = strconv.Itoa(n)
				}
				return err
			}},
		{dialect.Doc{Key: "hsts-preload", Default: "false", Text: "With preload"},
			func(o *Options, v string) error { return set(&o.HSTSPreload, v, parseBool) }},
		{dialect.Doc{Key: "http-redirect-code", Default: "308", Text: "Status of redirects to HTTPS and between www and not"},
			func(o *Options, v string) error { return set(&o.RedirectCode, v, parseRedirectCode) }},
		{dialect.Doc{Key: "limit-conn-status-code", Default: "503", Text: "Status beyond limit-connections"},
			func(o *Options, v string) error { return set(&o.ConnStatus, v, parseStatus) }},
		{dialect.Doc{Key: "limit-req-status-code", Default: "503", Text: "Status beyond limit-rps and limit-rpm"},
			func(o *Options, v string) error { return set(&o.RateStatus, v, parseStatus) }},
		{dialect.Doc{Key: "no-auth-locations", Default: acme, Text: "Paths whose rules have no external authentication and no passwords"},
			func(o *Options, v string) error { o.NoAuth = list(v); return nil }},
		{dialect.Doc{Key: "no-tls-redirect-locations", Default: acme, Text: "Paths that are not redirected to HTTPS"},
			func(o *Options, v string) error { o.NoTLS = list(v); return nil }},
		{dialect.Doc{Key: "proxy-add-original-uri-header", Default: "false", Text: "X-Original-URI for pods"},
			func(o *Options, v string) error { return set(&o.OriginalURI, v, parseBool) }},
		{dialect.Doc{Key: "proxy-real-ip-cidr", Default: "0.0.0.0/0", Text: "Whose X-Forwarded-* are believed, where use-forwarded-headers is on"},
			func(o *Options, v string) error { return set(&o.Trusted, v, parsePrefixes) }},
		{dialect.Doc{Key: "proxy-set-headers", Text: "ConfigMap, as namespace/name, with headers for pods"},
			func(o *Options, v string) error { return set(&o.SetHeaders, v, parseObjectName) }},
		{dialect.Doc{Key: "retry-non-idempotent", Default: "false", Text: "As proxy-next-upstream: non_idempotent"},
			func(o *Options, v string) error { return set(&o.Base.NextUpstream.NonIdempotent, v, parseBool) }},
		{dialect.Doc{Key: "use-forwarded-headers", Default: "false", Text: "Believe X-Forwarded-For, -Proto, -Host and -Port of clients; only behind a load balancer that sets them"},
			func(o *Options, v string) error { return set(&o.ForwardedHeaders, v, parseBool) }},
		{dialect.Doc{Key: "use-proxy-protocol", Default: "false", Text: "Connections begin with the PROXY protocol"},
			func(o *Options, v string) error { return set(&o.ProxyProtocol, v, parseBool) }},
	}, globalAuthOptions()...)
}

// globalAuthOptions have the names of annotations behind "global-".
func globalAuthOptions() (out []Option) {
	for _, key := range []string{"auth-url", "auth-method", "auth-signin", "auth-signin-redirect-param", "auth-response-headers", "auth-request-redirect",
		"auth-cache-key", "auth-cache-duration", "auth-always-set-cookie"} {
		row := lookUp(key)
		out = append(out, Option{dialect.Doc{Key: "global-" + key, Default: row.Default, Text: "As the annotation " + key + ", for all Ingresses that have no auth-url"},
			func(o *Options, v string) error {
				if strings.TrimSpace(v) == "" {
					return nil
				}
				s := Settings{Auth: o.GlobalAuth}
				err := row.set(&s, v)
				o.GlobalAuth = s.Auth
				return err
			}})
	}
	return out
}

func parseRisk(v string) (dialect.Risk, error) {
	for _, r := range []dialect.Risk{dialect.Low, dialect.Medium, dialect.High, dialect.Critical} {
		if strings.EqualFold(strings.TrimSpace(v), string(r)) {
			return r, nil
		}
	}
	return "", &dialect.ValueError{Problem: fmt.Sprintf("%q is not a risk", v), Fix: "write Low, Medium, High or Critical"}
}

func parseStatus(v string) (int, error) {
	n, err := parseCount(v)
	if err != nil || n < 400 || n > 599 {
		return 0, &dialect.ValueError{Problem: fmt.Sprintf("%q is not the status of an error", v), Fix: "write one from 400 to 599"}
	}
	return n, nil
}

// parsePatterns reads values of nginx's map: text, ~regex, ~*regex.
func parsePatterns(v string) ([]*regexp.Regexp, error) {
	var out []*regexp.Regexp
	for _, f := range list(v) {
		text := "(?i)^" + regexp.QuoteMeta(f) + "$"
		if re, ok := strings.CutPrefix(f, "~*"); ok {
			text = "(?i)" + re
		} else if re, ok := strings.CutPrefix(f, "~"); ok {
			text = re
		}
		re, err := parseRegex(text)
		if err != nil {
			return nil, err
		}
		out = append(out, re)
	}
	return out, nil
}
