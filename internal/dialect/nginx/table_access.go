package nginx

import "github.com/fairway-net/fairway/internal/dialect"

func accessTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "allowlist-source-range", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Client addresses that may ask, as CIDRs separated by commas; all others get 403"},
			func(s *Settings, v string) error { return set(&s.Allow, v, parsePrefixes) }},
		{dialect.Doc{Key: "denylist-source-range", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Client addresses that get 403, as CIDRs separated by commas"},
			func(s *Settings, v string) error { return set(&s.Deny, v, parsePrefixes) }},
		{dialect.Doc{Key: "whitelist-source-range", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "The older name of allowlist-source-range"},
			func(s *Settings, v string) error { return set(&s.Allow, v, parsePrefixes) }},
	}
}
