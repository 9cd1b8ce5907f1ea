package nginx

import "github.com/fairway-net/fairway/internal/dialect"

func rewriteTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "app-root", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Answer requests for / with a redirect (302) to this path"},
			func(s *Settings, v string) error { return set(&s.AppRoot, v, parsePath) }},
		{dialect.Doc{Key: "force-ssl-redirect", Default: "false", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Answer plain HTTP with a redirect to HTTPS (308) even where no certificate covers the host"},
			func(s *Settings, v string) error { return set(&s.ForceSSLRedirect, v, parseBool) }},
		{dialect.Doc{Key: "permanent-redirect", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Answer all requests with a redirect (301) to this URL; $scheme, $host and $request_uri may be used"},
			func(s *Settings, v string) error { return set(&s.Redirect, v, parseTemplate) }},
		{dialect.Doc{Key: "permanent-redirect-code", Default: "301", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Status of permanent-redirect"},
			func(s *Settings, v string) error { return set(&s.RedirectCode, v, parseRedirectCode) }},
		{dialect.Doc{Key: "rewrite-target", Scope: dialect.Host, Risk: dialect.Medium,
			Text: "Path sent to the pods instead of the request's; $1 to $9 are the groups of the path, which becomes a regular expression"},
			func(s *Settings, v string) error { return set(&s.RewriteTarget, v, parseTarget) }},
		{dialect.Doc{Key: "server-alias", Scope: dialect.Location, Risk: dialect.High,
			Text: "More hosts, separated by commas, for the rules of the Ingress; a host that has rules of its own is left to them"},
			func(s *Settings, v string) error { return set(&s.Aliases, v, parseHosts) }},
		{dialect.Doc{Key: "ssl-redirect", Default: "true", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Answer plain HTTP with a redirect to HTTPS (308) where a certificate covers the host"},
			func(s *Settings, v string) error { return set(&s.SSLRedirect, v, parseBool) }},
		{dialect.Doc{Key: "temporal-redirect", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "As permanent-redirect, but 302; it beats the other"},
			func(s *Settings, v string) error { return set(&s.Temporal, v, parseTemplate) }},
		{dialect.Doc{Key: "temporal-redirect-code", Default: "302", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Status of temporal-redirect"},
			func(s *Settings, v string) error { return set(&s.TemporalCode, v, parseRedirectCode) }},
		{dialect.Doc{Key: "use-regex", Default: "false", Scope: dialect.Host, Risk: dialect.Low,
			Text: "The paths of the host, of all its Ingresses, are regular expressions: not case-sensitive, anchored at the start"},
			func(s *Settings, v string) error { return set(&s.UseRegex, v, parseBool) }},
	}
}
