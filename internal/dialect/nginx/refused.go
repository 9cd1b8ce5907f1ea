package nginx

import "github.com/fairway-net/fairway/internal/dialect"

// refusedTable has what ingress-nginx knows and Fairway does not do, so that a
// missing feature is told from a spelling mistake.
func refusedTable() []Annotation {
	const waf = "Fairway has no ModSecurity, which is a library in C"
	return []Annotation{
		refused("enable-modsecurity", dialect.Low, waf, "put a web application firewall behind it, as a Service of its own"),
		refused("enable-owasp-core-rules", dialect.Low, waf, "put a web application firewall behind it, as a Service of its own"),
		refused("modsecurity-snippet", dialect.Critical, waf, "put a web application firewall behind it, as a Service of its own"),
		refused("modsecurity-transaction-id", dialect.High, waf, "put a web application firewall behind it, as a Service of its own"),
		refused("stream-snippet", dialect.Critical, "it is nginx's configuration for connections that are not HTTP", "use a Service of type LoadBalancer"),
	}
}

func refused(key string, risk dialect.Risk, why, instead string) Annotation {
	return Annotation{Doc: dialect.Doc{Key: key, Scope: dialect.Location, Risk: risk, Effect: dialect.Refused, Text: "Refused: " + why + "; " + instead},
		set: func(_ *Settings, v string) error {
			if off, err := parseBool(v); err == nil && !off { // "false" asks for what is
				return nil
			}
			return &dialect.ValueError{Problem: why, Fix: instead}
		}}
}
