package proxy

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/plan/route"
)

// This file writes records of the access log in a format of nginx's.

// attempt is one endpoint that the request was offered to. They are noted only where
// the format of the log may have them.
type attempt struct {
	addr             string
	status           int
	connected, began time.Duration // until there was a connection, and the head of a response
	took             time.Duration // until there was an end; 0: it is the exchange's
	bytes            int64
}

// tried notes an attempt that began then; err is why there was no response.
func (x *exchange) tried(e *endpoint, begun time.Time, err error) {
	a := attempt{addr: e.key.addr.String(), began: time.Since(begun)}
	switch {
	case err == nil:
		a.status = x.call.response.Status
	case err == errReadTimeout, err == errSendTimeout:
		a.status, a.took = 504, a.began
	default:
		a.status, a.took = 502, a.began
	}
	x.attempts = append(x.attempts, a)
}

// line adds the record of x.
func (x *exchange) line(b []byte, f *nginx.LogFormat) []byte {
	for _, p := range f.Line {
		if p.Text != "" {
			b = append(b, p.Text...)
			continue
		}
		value := x.logVariable(p.Var)
		switch {
		case f.Escape == nginx.EscapeJSON:
			quoted := appendQuoted(nil, value)
			b = append(b, quoted[1:len(quoted)-1]...)
		case f.Escape == nginx.EscapeNone:
			b = append(b, strings.NewReplacer("\r", "", "\n", "").Replace(value)...)
		case value == "" && !setAlways(p.Var):
			b = append(b, '-')
		default:
			b = appendEscaped(b, value)
		}
	}
	return append(b, '\n')
}

// setAlways says that ingress-nginx sets the variable, though perhaps to nothing.
func setAlways(v dialect.Var) bool {
	switch v {
	case "proxy_upstream_name", "proxy_alternative_upstream_name", dialect.Namespace, dialect.IngressName, dialect.ServiceName, dialect.ServicePort:
		return true
	}
	return false
}

// appendEscaped is nginx's escape=default.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf-1 || c == '"' || c == '\\' {
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

// logVariable is the value of a variable; "" for what there is not.
func (x *exchange) logVariable(v dialect.Var) string {
	now := time.Now()
	switch v {
	case "status":
		return fmt.Sprintf("%03d", x.writer.status)
	case "body_bytes_sent", "bytes_sent":
		return strconv.FormatInt(x.writer.bytes, 10)
	case "time_local":
		return now.Format("02/Jan/2006:15:04:05 -0700")
	case "time_iso8601":
		return now.Format("2006-01-02T15:04:05-07:00")
	case "msec":
		return seconds(time.Duration(now.UnixNano()))
	case "request_time":
		return seconds(now.Sub(x.start))
	case "request":
		return x.method + " " + x.askedURI() + " " + x.proto
	case "request_length":
		return strconv.FormatInt(x.requestLength(), 10)
	case "remote_port":
		return strconv.Itoa(int(x.peer.port))
	case "server_protocol":
		return x.proto
	case dialect.RequestURI:
		return x.askedURI()
	}
	if rest, ok := strings.CutPrefix(string(v), "upstream_"); ok {
		return x.upstreamVariable(rest)
	}
	if rest, ok := strings.CutPrefix(string(v), "ssl_"); ok && x.peer.tls != nil {
		switch rest {
		case "protocol":
			return strings.Replace(tls.VersionName(x.peer.tls.Version), "TLS ", "TLSv", 1)
		case "cipher":
			return tls.CipherSuiteName(x.peer.tls.CipherSuite)
		case "server_name":
			return x.peer.tls.ServerName
		}
	}
	switch v {
	case "proxy_upstream_name":
		if x.rule != nil && x.rule.Forward != nil {
			return upstreamName(x.rule.Forward.Targets[0].Backend)
		}
		return ""
	case "proxy_alternative_upstream_name":
		if x.rule != nil && x.rule.Forward != nil && x.rule.Forward.Canary != nil {
			return upstreamName(x.rule.Forward.Canary.Backend)
		}
		return ""
	case "ssl_protocol", "ssl_cipher", "ssl_server_name":
		return ""
	}
	if x.listener == nil || x.plan == nil { // a request that could not be read
		return ""
	}
	return x.variable(v)
}

func upstreamName(b route.BackendKey) string {
	return b.Service.Namespace + "-" + b.Service.Name + "-" + b.Port.String()
}

// upstreamVariable is one value for each endpoint that was tried.
func (x *exchange) upstreamVariable(name string) string {
	var all []string
	for i := range x.attempts {
		a := &x.attempts[i]
		took, bytes := a.took, a.bytes
		if took == 0 { // it is the one that has answered
			took, bytes = time.Since(x.start.Add(a.connected)), x.writer.bytes
		}
		value := ""
		switch name {
		case "addr":
			value = a.addr
		case "status":
			value = strconv.Itoa(a.status)
		case "response_time":
			value = seconds(took)
		case "header_time":
			value = seconds(a.began)
		case "connect_time":
			value = seconds(min(a.began, took))
		case "response_length":
			value = strconv.FormatInt(bytes, 10)
		}
		all = append(all, value)
	}
	return strings.Join(all, ", ")
}

// requestLength is that of the head in the form of HTTP/1, and of the body that has come.
func (x *exchange) requestLength() int64 {
	n := len(x.method) + len(x.askedURI()) + len(x.proto) + len("  \r\n\r\n")
	for i := range x.call.request.Fields {
		f := &x.call.request.Fields[i]
		n += len(f.Name) + len(f.Value) + len(": \r\n")
	}
	body := max(x.length, 0)
	if x.length < 0 && x.call.pump != nil {
		body = x.call.pump.sum
	}
	return int64(n) + body
}

// seconds has three digits behind the point.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }
