package nginx

import "github.com/fairway-net/fairway/internal/dialect"

func proxyTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "backend-protocol", Default: "HTTP", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Protocol spoken with the pods: HTTP, HTTPS (certificate not verified), GRPC or GRPCS"},
			func(s *Settings, v string) error { return set(&s.BackendProtocol, v, parseProtocol) }},
		{dialect.Doc{Key: "enable-access-log", Default: "true", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Whether requests are written to the access log, where the gateway has one"},
			func(s *Settings, v string) error { return set(&s.AccessLog, v, parseBool) }},
		{dialect.Doc{Key: "proxy-body-size", Default: "0", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Largest body of a request, as in 8m; beyond it 413; 0 is no limit (the default of ingress-nginx is 1m)"},
			func(s *Settings, v string) error { return set(&s.BodySize, v, parseSize) }},
		{dialect.Doc{Key: "proxy-connect-timeout", Default: "5", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Seconds to have a connection to a pod"},
			func(s *Settings, v string) error { return set(&s.ConnectTimeout, v, parseSeconds) }},
		{dialect.Doc{Key: "proxy-next-upstream-tries", Default: "3", Scope: dialect.Location, Risk: dialect.Low,
			Text: "How many pods one request may be offered to; 0 is all of them"},
			func(s *Settings, v string) error { return set(&s.Tries, v, parseCount) }},
		{dialect.Doc{Key: "proxy-read-timeout", Default: "60", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Seconds between two reads of a response, not for the whole of it"},
			func(s *Settings, v string) error { return set(&s.ReadTimeout, v, parseSeconds) }},
		{dialect.Doc{Key: "proxy-send-timeout", Default: "60", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Seconds between two writes of a request, not for the whole of it"},
			func(s *Settings, v string) error { return set(&s.SendTimeout, v, parseSeconds) }},
		{dialect.Doc{Key: "upstream-vhost", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Host header that the pods get instead of the client's"},
			func(s *Settings, v string) error { return set(&s.UpstreamHost, v, parseHost) }},
		{dialect.Doc{Key: "x-forwarded-prefix", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Value of the header X-Forwarded-Prefix for the pods, where rewrite-target is used"},
			func(s *Settings, v string) error { return set(&s.ForwardedPrefix, v, parsePath) }},
	}
}

// silentTable has annotations that ask for what is done anyway, or tune how
// nginx does something that needs no tuning here: bodies are streamed both ways.
func silentTable() []Annotation {
	return silent(
		"client-body-buffer-size", "proxy-buffer-size", "proxy-buffering", "proxy-buffers-number", "proxy-busy-buffers-size",
		"proxy-http-version", "proxy-max-temp-file-size", "proxy-request-buffering",
	)
}

func silent(keys ...string) []Annotation {
	var table []Annotation
	for _, key := range keys {
		table = append(table, Annotation{dialect.Doc{Key: key, Scope: dialect.Location, Risk: dialect.Low,
			Text: "Accepted without effect: bodies are streamed, in both directions, with buffers of fixed size"},
			func(*Settings, string) error { return nil }})
	}
	return table
}
