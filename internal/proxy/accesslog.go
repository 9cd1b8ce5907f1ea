package proxy

import (
	"context"
	"log/slog"
	"time"
)

// log writes the access log record of a finished exchange.
func (x *exchange) log(l *slog.Logger) {
	path := x.path
	if x.query != "" {
		path += "?" + x.query
	}
	attrs := []slog.Attr{
		slog.String("client", x.client),
		slog.String("method", x.method),
		slog.String("host", x.host),
		slog.String("path", path),
		slog.String("proto", x.proto),
		slog.Int("status", x.writer.status),
		slog.Int64("bytes", x.writer.bytes),
		slog.Float64("seconds", time.Since(x.start).Seconds()),
		slog.String("request_id", x.id),
		slog.String("user_agent", x.fields.Get("User-Agent")),
	}
	if x.rule != nil {
		attrs = append(attrs, slog.String("rule", x.rule.Source.String()))
	}
	if x.endpoint != nil {
		attrs = append(attrs, slog.String("endpoint", x.endpoint.key.addr.String()), slog.Int("tries", x.tries))
	}
	if x.err != nil {
		attrs = append(attrs, slog.String("error", x.err.Error()))
	}
	l.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
}
