package nginx

import "github.com/fairway-net/fairway/internal/dialect"

func limitTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "limit-allowlist", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Client addresses that no limit applies to, as CIDRs separated by commas"},
			func(s *Settings, v string) error { return set(&s.Limits.Exempt, v, parsePrefixes) }},
		{dialect.Doc{Key: "limit-burst-multiplier", Default: "5", Scope: dialect.Location, Risk: dialect.Low,
			Text: "How many times the rate a client may ask at once"},
			func(s *Settings, v string) error { return set(&s.Limits.Burst, v, parseCount) }},
		{dialect.Doc{Key: "limit-connections", Default: "0", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Requests that one client address may have under way at a time; beyond it 503; 0 is no limit"},
			func(s *Settings, v string) error { return set(&s.Limits.Connections, v, parseCount) }},
		{dialect.Doc{Key: "limit-rate", Default: "0", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Kilobytes of a response per second; 0 is no limit"},
			func(s *Settings, v string) error { return set(&s.Limits.Rate, v, parseKilobytes) }},
		{dialect.Doc{Key: "limit-rate-after", Default: "0", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Kilobytes of a response that go before limit-rate begins to hold"},
			func(s *Settings, v string) error { return set(&s.Limits.RateAfter, v, parseKilobytes) }},
		{dialect.Doc{Key: "limit-rpm", Default: "0", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Requests per minute of one client address; beyond it, and the burst, 503; 0 is no limit"},
			func(s *Settings, v string) error { return set(&s.Limits.PerMinute, v, parseCount) }},
		{dialect.Doc{Key: "limit-rps", Default: "0", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Requests per second of one client address; beyond it, and the burst, 503; 0 is no limit"},
			func(s *Settings, v string) error { return set(&s.Limits.PerSecond, v, parseCount) }},
		{dialect.Doc{Key: "limit-whitelist", Scope: dialect.Location, Risk: dialect.Low,
			Text: "The older name of limit-allowlist"},
			func(s *Settings, v string) error { return set(&s.Limits.Exempt, v, parsePrefixes) }},
	}
}

func parseKilobytes(v string) (int64, error) {
	n, err := parseCount(v)
	return int64(n) << 10, err
}
