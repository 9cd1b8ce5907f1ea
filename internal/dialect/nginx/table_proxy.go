package nginx

import (
	"slices"

	"github.com/fairway-net/fairway/internal/dialect"
)

func proxyTable() []Annotation {
	return []Annotation{
		{dialect.Doc{Key: "backend-protocol", Default: "HTTP", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Protocol spoken with the pods: HTTP, HTTPS (certificate not verified), AUTO_HTTP (that of the client), GRPC, GRPCS or FCGI (FastCGI)"},
			func(s *Settings, v string) error { return set(&s.BackendProtocol, v, parseProtocol) }},
		{dialect.Doc{Key: "client-body-buffer-size", Default: "8k", Scope: dialect.Location, Risk: dialect.Low, Effect: dialect.Partly,
			Text: "How much of a body that is not passed on yet stays in memory; the rest of it goes to a file. Less than 16k is 16k"},
			func(s *Settings, v string) error { return set(&s.BodyMemory, v, parseMemory) }},
		{dialect.Doc{Key: "connection-proxy-header", Scope: dialect.Location, Risk: dialect.Low, Effect: dialect.Silent,
			Text: "Accepted without effect: connections to pods are kept, or upgraded, as the messages need it"},
			func(s *Settings, v string) error { return set(&s.Connection, v, dialect.ParseToken) }},
		{dialect.Doc{Key: "enable-access-log", Default: "true", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Whether requests are written to the access log, where the gateway has one"},
			func(s *Settings, v string) error { return set(&s.AccessLog, v, parseBool) }},
		{dialect.Doc{Key: "proxy-body-size", Default: "1m", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Largest body of a request, as in 8m; beyond it 413; 0 is no limit"},
			func(s *Settings, v string) error { return set(&s.BodySize, v, parseSize) }},
		{dialect.Doc{Key: "proxy-buffer-size", Default: "4k", Scope: dialect.Location, Risk: dialect.Low, Effect: dialect.Partly,
			Text: "With proxy-buffers-number: how much of a response waits in memory for a slow client, with proxy-buffering. The head of a response may have 256k in any case"},
			func(s *Settings, v string) error { return set(&s.BufferSize, v, parseMemory) }},
		{dialect.Doc{Key: "proxy-buffering", Default: "off", Scope: dialect.Location, Risk: dialect.Low,
			Text: "on: a response is taken as fast as the pod gives it, so that a slow client does not occupy the pod; a pod may say X-Accel-Buffering: yes or no"},
			func(s *Settings, v string) error { return set(&s.Buffering, v, choice("off", "on")) }},
		{dialect.Doc{Key: "proxy-buffers-number", Default: "4", Scope: dialect.Location, Risk: dialect.Low, Text: "See proxy-buffer-size; 1024 at most"},
			func(s *Settings, v string) error { return set(&s.Buffers, v, parseBuffers) }},
		{dialect.Doc{Key: "proxy-max-temp-file-size", Default: "1024m", Scope: dialect.Location, Risk: dialect.Low,
			Text: "How much more of a response waits in a file, with proxy-buffering; beyond it the pod waits, too; 0 is no file"},
			func(s *Settings, v string) error { return set(&s.TempFile, v, parseSize) }},
		{dialect.Doc{Key: "proxy-connect-timeout", Default: "5", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Seconds to have a connection to a pod"},
			func(s *Settings, v string) error { return set(&s.ConnectTimeout, v, parseSeconds) }},
		{dialect.Doc{Key: "proxy-next-upstream", Default: "error timeout", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "After what a request goes to another pod: error, timeout, invalid_header, http_500 to http_504, http_403, http_404, http_429, non_idempotent, off. A connection that does not come about counts always; a pod is never asked twice"},
			func(s *Settings, v string) error { return set(&s.NextUpstream, v, parseNextUpstream) }},
		{dialect.Doc{Key: "proxy-next-upstream-timeout", Default: "0", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Seconds after which no other pod is tried; 0 is no limit"},
			func(s *Settings, v string) error { return set(&s.NextUpstream.Time, v, parseSecondsOrNone) }},
		{dialect.Doc{Key: "proxy-next-upstream-tries", Default: "3", Scope: dialect.Location, Risk: dialect.Low,
			Text: "How many pods one request may be offered to; 0 is all of them"},
			func(s *Settings, v string) error { return set(&s.Tries, v, parseCount) }},
		{dialect.Doc{Key: "proxy-read-timeout", Default: "60", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Seconds between two reads of a response, not for the whole of it. A WebSocket, or what else was upgraded, may be silent for longer: it ends when one side does"},
			func(s *Settings, v string) error { return set(&s.ReadTimeout, v, parseSeconds) }},
		{dialect.Doc{Key: "proxy-request-buffering", Default: "on", Scope: dialect.Location, Risk: dialect.Low,
			Text: "on: a pod gets a request when all of its body has come, so that a slow client does not occupy it, and another pod can get it. A gateway holds 2g in all; what is beyond is passed on as it comes, as with off, and as to pods that speak HTTP/2"},
			func(s *Settings, v string) error { return set(&s.HoldBody, v, choice("off", "on")) }},
		{dialect.Doc{Key: "proxy-send-timeout", Default: "60", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Seconds between two writes of a request, not for the whole of it"},
			func(s *Settings, v string) error { return set(&s.SendTimeout, v, parseSeconds) }},
		{dialect.Doc{Key: "proxy-ssl-ciphers", Scope: dialect.Location, Risk: dialect.Medium, Effect: dialect.Partly,
			Text: "Suites of TLS 1.2 towards pods, by OpenSSL's names; those of TLS 1.3 cannot be chosen"},
			func(s *Settings, v string) error { return set(&s.BackendTLS.Ciphers, v, parseCiphers) }},
		{dialect.Doc{Key: "proxy-ssl-name", Scope: dialect.Location, Risk: dialect.High,
			Text: "Name that the pods' certificate must be for, and that is sent as SNI"},
			func(s *Settings, v string) error { return set(&s.BackendTLS.Name, v, dialect.ParseHost) }},
		{dialect.Doc{Key: "proxy-ssl-protocols", Scope: dialect.Location, Risk: dialect.Low, Effect: dialect.Partly,
			Text: "Versions of TLS towards pods, TLSv1 to TLSv1.3; SSL is too old to be spoken"},
			func(s *Settings, v string) error { return parseProtocols(v, &s.BackendTLS.Min, &s.BackendTLS.Max) }},
		{dialect.Doc{Key: "proxy-ssl-secret", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Secret with tls.crt and tls.key to show to pods, and ca.crt to verify theirs"},
			func(s *Settings, v string) error { return set(&s.BackendTLS.Secret, v, parseObject) }},
		{dialect.Doc{Key: "proxy-ssl-server-name", Default: "off", Scope: dialect.Location, Risk: dialect.Low, Text: "on: send the name as SNI"},
			func(s *Settings, v string) error { return set(&s.BackendTLS.SNI, v, choice("off", "on")) }},
		{dialect.Doc{Key: "proxy-ssl-verify", Default: "off", Scope: dialect.Location, Risk: dialect.Low,
			Text: "on: the pods' certificate must come from an authority of proxy-ssl-secret"},
			func(s *Settings, v string) error { return set(&s.BackendTLS.Verify, v, choice("off", "on")) }},
		{dialect.Doc{Key: "proxy-ssl-verify-depth", Default: "1", Scope: dialect.Location, Risk: dialect.Low,
			Text: "How many authorities there may be between the certificate and one of the Secret"},
			func(s *Settings, v string) error { return set(&s.BackendTLS.Depth, v, parseCount) }},
		{dialect.Doc{Key: "ssl-ciphers", Scope: dialect.Host, Risk: dialect.Low, Effect: dialect.Partly,
			Text: "Suites of TLS 1.2 towards clients, by OpenSSL's names; those of TLS 1.3 cannot be chosen"},
			func(s *Settings, v string) error { return set(&s.Ciphers, v, parseCiphers) }},
		{dialect.Doc{Key: "upstream-vhost", Scope: dialect.Location, Risk: dialect.Low,
			Text: "Host header that the pods get instead of the client's; variables may be used"},
			func(s *Settings, v string) error { return set(&s.UpstreamHost, v, parseHostText) }},
		{dialect.Doc{Key: "x-forwarded-prefix", Scope: dialect.Location, Risk: dialect.Medium,
			Text: "Value of the header X-Forwarded-Prefix for the pods, where rewrite-target is used"},
			func(s *Settings, v string) error { return set(&s.ForwardedPrefix, v, parsePath) }},
	}
}

// silentTable has annotations that ask for what is done anyway, or tune how
// nginx does something that needs no tuning here.
func silentTable() []Annotation {
	return slices.Concat(
		silent("Accepted without effect: what has come is passed on at once", "proxy-busy-buffers-size"),
		silent("Accepted without effect: pods are spoken to by HTTP/1.1, or by what backend-protocol says", "proxy-http-version"),
		silent("Accepted without effect: browsers do not take pushes any more", "http2-push-preload"),
		silent("Accepted without effect: `GET /routes` of the gateway shows what each rule does", "enable-rewrite-log"),
		silent("Accepted without effect: the order of suites is Go's, which knows the machine", "ssl-prefer-server-ciphers"),
	)
}

func silent(text string, keys ...string) []Annotation {
	var table []Annotation
	for _, key := range keys {
		table = append(table, Annotation{Doc: dialect.Doc{Key: key, Scope: dialect.Location, Risk: dialect.Low, Effect: dialect.Silent, Text: text},
			set: func(*Settings, string) error { return nil }})
	}
	return table
}
