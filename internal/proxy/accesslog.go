package proxy

import (
	"log/slog"
	"time"
)

// log writes the access log record of a finished exchange.
func (x *exchange) log(l *slog.Logger) {
	r := x.request
	attrs := []slog.Attr{
		slog.String("client", x.client()),
		slog.String("method", r.Method),
		slog.String("host", r.Host),
		slog.String("path", r.URL.RequestURI()),
		slog.String("proto", r.Proto),
		slog.Int("status", x.writer.status),
		slog.Int64("bytes", x.writer.bytes),
		slog.Float64("seconds", time.Since(x.start).Seconds()),
		slog.String("request_id", x.id),
		slog.String("user_agent", r.UserAgent()),
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
	l.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs...)
}
