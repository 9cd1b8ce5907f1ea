package nginx

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// ownOptions have no annotation.
func ownOptions() []Option {
	return append([]Option{
		{Doc: dialect.Doc{Key: "add-headers", Text: "ConfigMap, as namespace/name, with headers that are set on every response"},
			set: func(o *Options, v string) error { return set(&o.AddHeaders, v, parseObjectName) }},
		{Doc: dialect.Doc{Key: "allow-backend-server-header", Default: "false", Text: "Pass the pods' header Server on"},
			set: func(o *Options, v string) error { return set(&o.ServerHeader, v, parseBool) }},
		{Doc: dialect.Doc{Key: "allow-cross-namespace-resources", Default: "false", Text: "Annotations may name Secrets and ConfigMaps of other namespaces"},
			set: func(o *Options, v string) error { return set(&o.CrossNamespace, v, parseBool) }},
		{Doc: dialect.Doc{Key: "allow-external-names", Default: "false", Text: "Services of type ExternalName may be backends (Fairway's own option; ingress-nginx has the flag --disable-svc-external-name)"},
			set: func(o *Options, v string) error { return set(&o.ExternalNames, v, parseBool) }},
		{Doc: dialect.Doc{Key: "allow-snippet-annotations", Default: "false", Text: "Follow the directives of snippets that are on the list"},
			set: func(o *Options, v string) error { return set(&o.AllowSnippets, v, parseBool) }},
		{Doc: dialect.Doc{Key: "annotations-risk-level", Default: "High", Text: "Highest risk of annotations that are accepted: Low, Medium, High or Critical"},
			set: func(o *Options, v string) error { return set(&o.Risk, v, parseRisk) }},
		{Doc: dialect.Doc{Key: "block-cidrs", Text: "Client addresses that get 403 everywhere"},
			set: func(o *Options, v string) error { return set(&o.BlockCIDRs, v, parsePrefixes) }},
		{Doc: dialect.Doc{Key: "block-referers", Text: "Values of Referer that get 403 everywhere; ~ and ~* begin regular expressions"},
			set: func(o *Options, v string) error { return set(&o.BlockReferers, v, parsePatterns) }},
		{Doc: dialect.Doc{Key: "block-user-agents", Text: "Values of User-Agent that get 403 everywhere; ~ and ~* begin regular expressions"},
			set: func(o *Options, v string) error { return set(&o.BlockAgents, v, parsePatterns) }},
		{Doc: dialect.Doc{Key: "compute-full-forwarded-for", Default: "false", Text: "Append to X-Forwarded-For instead of replacing it"},
			set: func(o *Options, v string) error { return set(&o.FullForwardedFor, v, parseBool) }},
		{Doc: dialect.Doc{Key: DefaultBackendOption, Text: "Service, as namespace/name, that answers (on its first port) what no Ingress has a rule for, and makes the error pages of custom-http-errors where an Ingress names no default-backend (Fairway's own option; ingress-nginx has the flag --default-backend-service)"},
			set: func(o *Options, v string) error { return set(&o.DefaultBackend, v, parseObjectName) }},
		{Doc: dialect.Doc{Key: DefaultCertificateOption, Text: "Secret, as namespace/name, with the certificate for names that no Ingress has one for, and for spec.tls without secretName; without it that is one of our own, which no client trusts (Fairway's own option; ingress-nginx has the flag --default-ssl-certificate)"},
			set: func(o *Options, v string) error { return set(&o.DefaultCertificate, v, parseObjectName) }},
		{Doc: dialect.Doc{Key: "disable-access-log", Default: "false", Text: "No request is written to the access log"}, set: noAccessLog},
		{Doc: dialect.Doc{Key: "disable-http-access-log", Default: "false", Text: "The same"}, set: noAccessLog},
		{Doc: dialect.Doc{Key: "enable-access-log-for-default-backend", Default: "false", Text: "Requests for default-backend-service are written to the access log, too"},
			set: func(o *Options, v string) error { return set(&o.LogDefault, v, parseBool) }},
		{Doc: dialect.Doc{Key: "enable-underscores-in-headers", Default: "false", Text: "Pass headers with an underscore on"},
			set: func(o *Options, v string) error { return set(&o.Underscores, v, parseBool) }},
		{Doc: dialect.Doc{Key: "forwarded-for-header", Default: "X-Forwarded-For", Text: "Header with the client's address, where use-forwarded-headers is on"},
			set: func(o *Options, v string) error { return set(&o.ForwardedFor, v, dialect.ParseToken) }},
		{Doc: dialect.Doc{Key: "global-allowed-response-headers", Text: "Headers that custom-headers may set, separated by commas"},
			set: func(o *Options, v string) error {
				names, err := parseTokenList(strings.ToLower(v))
				o.AllowedHeader = names
				return err
			}},
		{Doc: dialect.Doc{Key: "hide-headers", Text: "Headers of pods that clients do not get"},
			set: func(o *Options, v string) error { return set(&o.Base.Response.Hide, v, parseTokenList) }},
		{Doc: dialect.Doc{Key: "hsts", Default: "true", Text: "Strict-Transport-Security on responses over TLS"},
			set: func(o *Options, v string) error { return set(&o.HSTS, v, parseBool) }},
		{Doc: dialect.Doc{Key: "hsts-include-subdomains", Default: "true", Text: "With includeSubDomains"},
			set: func(o *Options, v string) error { return set(&o.HSTSSub, v, parseBool) }},
		{Doc: dialect.Doc{Key: "hsts-max-age", Default: "31536000", Text: "With this max-age, in seconds"},
			set: func(o *Options, v string) error {
				n, err := parseCount(v)
				if err == nil {
					o.HSTSAge = strconv.Itoa(n)
				}
				return err
			}},
		{Doc: dialect.Doc{Key: "hsts-preload", Default: "false", Text: "With preload"},
			set: func(o *Options, v string) error { return set(&o.HSTSPreload, v, parseBool) }},
		{Doc: dialect.Doc{Key: "http-redirect-code", Default: "308", Text: "Status of redirects to HTTPS and between www and not"},
			set: func(o *Options, v string) error { return set(&o.RedirectCode, v, parseRedirectCode) }},
		{Doc: dialect.Doc{Key: "limit-conn-status-code", Default: "503", Text: "Status beyond limit-connections"},
			set: func(o *Options, v string) error { return set(&o.ConnStatus, v, parseStatus) }},
		{Doc: dialect.Doc{Key: "limit-req-status-code", Default: "503", Text: "Status beyond limit-rps and limit-rpm"},
			set: func(o *Options, v string) error { return set(&o.RateStatus, v, parseStatus) }},
		{Doc: dialect.Doc{Key: "no-auth-locations", Default: acme, Text: "Paths whose rules have no external authentication and no passwords"},
			set: func(o *Options, v string) error { o.NoAuth = list(v); return nil }},
		{Doc: dialect.Doc{Key: "no-tls-redirect-locations", Default: acme, Text: "Paths that are not redirected to HTTPS"},
			set: func(o *Options, v string) error { o.NoTLS = list(v); return nil }},
		{Doc: dialect.Doc{Key: "proxy-add-original-uri-header", Default: "false", Text: "X-Original-URI for pods"},
			set: func(o *Options, v string) error { return set(&o.OriginalURI, v, parseBool) }},
		{Doc: dialect.Doc{Key: "proxy-real-ip-cidr", Default: "0.0.0.0/0", Text: "Whose X-Forwarded-* are believed, where use-forwarded-headers is on"},
			set: func(o *Options, v string) (err error) {
				if o.Trusted, err = parsePrefixes(v); err != nil {
					o.Trusted = []netip.Prefix{} // nobody, for the default is everybody
				}
				return err
			}},
		{Doc: dialect.Doc{Key: "proxy-set-headers", Text: "ConfigMap, as namespace/name, with headers for pods"},
			set: func(o *Options, v string) error { return set(&o.SetHeaders, v, parseObjectName) }},
		{Doc: dialect.Doc{Key: "retry-non-idempotent", Default: "false", Text: "As proxy-next-upstream: non_idempotent"},
			set: func(o *Options, v string) error { return set(&o.Base.NextUpstream.NonIdempotent, v, parseBool) }},
		{Doc: dialect.Doc{Key: "skip-access-log-urls", Text: "URIs, as in /healthz, of requests that are not written to the access log; ~ and ~* begin regular expressions"},
			set: func(o *Options, v string) error { return set(&o.Unlogged, v, parsePatterns) }},
		{Doc: dialect.Doc{Key: "use-forwarded-headers", Default: "false", Text: "Believe X-Forwarded-For, -Proto, -Host and -Port of clients; only behind a load balancer that sets them"},
			set: func(o *Options, v string) error { return set(&o.ForwardedHeaders, v, parseBool) }},
		{Doc: dialect.Doc{Key: "use-proxy-protocol", Default: "false", Text: "Connections begin with the PROXY protocol; there is no HTTP/3 then"},
			set: func(o *Options, v string) error { return set(&o.ProxyProtocol, v, parseBool) }},
	}, globalAuthOptions()...)
}

// globalAuthOptions have the names of annotations behind "global-".
func globalAuthOptions() (out []Option) {
	for _, key := range []string{"auth-url", "auth-method", "auth-signin", "auth-signin-redirect-param", "auth-response-headers", "auth-request-redirect",
		"auth-cache-key", "auth-cache-duration", "auth-always-set-cookie"} {
		row := lookUp(key)
		out = append(out, Option{Doc: dialect.Doc{Key: "global-" + key, Default: row.Default, Text: "As the annotation " + key + ", for all Ingresses that have no auth-url"},
			set: func(o *Options, v string) error {
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

func noAccessLog(o *Options, v string) error {
	off, err := parseBool(v)
	o.Base.AccessLog = o.Base.AccessLog && !off
	return err
}

// snippetOptions hold for all Ingresses.
func snippetOptions() []Option {
	const text = "Directives of the list that the annotation configuration-snippet has, for all Ingresses; each other one is refused by an Event that quotes it"
	location := func(o *Options, d directive) error { return o.Base.locationDirective(d) }
	return []Option{
		{Doc: dialect.Doc{Key: "location-snippet", Effect: dialect.Partly, Text: text}, snippet: location},
		{Doc: dialect.Doc{Key: "server-snippet", Effect: dialect.Partly, Text: text}, snippet: location},
		{Doc: dialect.Doc{Key: "global-auth-snippet", Effect: dialect.Partly, Text: "As the annotation auth-snippet, for global-auth-url"}, snippet: func(o *Options, d directive) error {
			s := Settings{Auth: o.GlobalAuth}
			err := s.authDirective(d)
			o.GlobalAuth = s.Auth
			return err
		}},
	}
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
