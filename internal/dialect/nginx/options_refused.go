package nginx

import (
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// refusedOptions are those of ingress-nginx that Fairway does not follow, with what does
// the same. harmless are values that ask for what is done anyway.
func refusedOptions() (out []Option) {
	add := func(keys, why, instead string, harmless ...string) {
		for _, key := range strings.Fields(keys) {
			out = append(out, Option{Doc: dialect.Doc{Key: key, Effect: dialect.Refused, Text: why + "; " + instead}, set: func(_ *Options, v string) error {
				v = strings.TrimSpace(v)
				if off, err := parseBool(v); v == "" || err == nil && !off {
					return nil
				}
				for _, h := range harmless {
					if v == h {
						return nil
					}
				}
				return &dialect.ValueError{Problem: why, Fix: instead}
			}})
		}
	}
	add("log-format-stream", "connections of TCP and UDP ports are not logged", "remove it: whoever they go to can log them")
	add("access-log-path http-access-log-path", "logs go to standard output and to nothing else", "let the cluster's collector take them from there", "/var/log/nginx/access.log", "/dev/stdout", "/proc/self/fd/1")
	add("enable-syslog syslog-host syslog-port", "logs go to standard output and to nothing else", "let the cluster's collector take them from there")
	add("enable-auth-access-log", "questions to auth-url are not logged", "look into the log of the service that answers them")
	add("opentelemetry-config", "there is no such file here", "say the same by otlp-collector-host, otel-service-name and otel-sampler", "/etc/ingress-controller/telemetry/opentelemetry.toml")
	add("enable-modsecurity enable-owasp-modsecurity-crs modsecurity-snippet", "Fairway has no ModSecurity, which is a library in C", "put a web application firewall behind it, as a Service of its own")
	add("main-snippet http-snippet stream-snippet", "it is nginx's configuration, and there is no nginx", "look for an option or an annotation that does the same")
	add("ssl-session-ticket-key", "keys of session tickets are made from a seed of your own, and change with time", "say --tls-ticket-seed FILE")
	add("ssl-early-data", "early data of TLS 1.3 can be sent again by others, and is not taken", "remove it")
	add("enable-ocsp", "no answers of OCSP are stapled; authorities have given it up", "remove it")
	add("use-geoip use-geoip2 geoip2-autoreload-in-minutes", "addresses are not looked up in a database", "let the pods do it: they get the client's address in X-Real-IP", "0")
	add("forwarded-for-proxy-protocol-header", "the address of the PROXY protocol is the client's, without any header", "remove it", "X-Forwarded-For")
	add("forwarded-host-header", "X-Forwarded-Host is the header with the host that a client asked for", "let what is in front of the gateway set that one", "X-Forwarded-Host")
	add("limit-conn-zone-variable", "limits count addresses of clients", "remove it; use-forwarded-headers and use-proxy-protocol say whose address counts", "$binary_remote_addr")
	add("use-http3", "HTTP/3 needs a port of the gateway's Service, too (ingress-nginx has no such option)", "set the chart's value gateway.http3, or the flag --http3 and the port")
	return out
}
