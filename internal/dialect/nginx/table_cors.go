package nginx

import "github.com/fairway-net/fairway/internal/dialect"

func corsTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "cors-allow-credentials", Default: "true", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Access-Control-Allow-Credentials"},
			func(s *Settings, v string) error { return set(&s.CORS.Credentials, v, parseBool) }},
		{dialect.Doc{Key: "cors-allow-headers", Default: Defaults().CORS.Headers, Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Access-Control-Allow-Headers"},
			func(s *Settings, v string) error { return set(&s.CORS.Headers, v, parseTokens) }},
		{dialect.Doc{Key: "cors-allow-methods", Default: Defaults().CORS.Methods, Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Access-Control-Allow-Methods"},
			func(s *Settings, v string) error { return set(&s.CORS.Methods, v, parseTokens) }},
		{dialect.Doc{Key: "cors-allow-origin", Default: "*", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Origins that may read responses, separated by commas; * may stand for all, or for the labels before a domain"},
			func(s *Settings, v string) error { return set(&s.CORS.Origins, v, parseOrigins) }},
		{dialect.Doc{Key: "cors-expose-headers", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Access-Control-Expose-Headers"},
			func(s *Settings, v string) error { return set(&s.CORS.Expose, v, parseTokens) }},
		{dialect.Doc{Key: "cors-max-age", Default: "1728000", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Access-Control-Max-Age, in seconds"},
			func(s *Settings, v string) error { return set(&s.CORS.MaxAge, v, parseCount) }},
		{dialect.Doc{Key: "enable-cors", Default: "false", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Answer preflight requests (204) and put CORS headers on every response to an origin that may read it"},
			func(s *Settings, v string) error { return set(&s.CORS.Enabled, v, parseBool) }},
	}
}
