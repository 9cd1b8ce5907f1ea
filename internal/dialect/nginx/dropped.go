package nginx

// dropped are annotations that older releases of ingress-nginx had, which are no spelling
// mistakes, and what to do now. They stay in manifests for years, as they do no harm.
var dropped = map[string]string{
	"add-base-url":                    "remove it; the program must know its own URL",
	"base-url-scheme":                 "remove it; the program must know its own URL",
	"enable-dynamic-tls-records":      "remove it: it has no effect",
	"enable-influxdb":                 "remove it; the metrics of the gateway are Prometheus'",
	"enable-opentracing":              "write enable-opentelemetry",
	"global-rate-limit":               "write limit-rps, which each gateway counts for itself",
	"global-rate-limit-ignored-cidrs": "write limit-allowlist",
	"global-rate-limit-key":           "write limit-rps, which counts by the client's address",
	"global-rate-limit-window":        "write limit-rps or limit-rpm",
	"grpc-backend":                    `write backend-protocol: "GRPC"`,
	"influxdb-host":                   "remove it; the metrics of the gateway are Prometheus'",
	"influxdb-measurement":            "remove it; the metrics of the gateway are Prometheus'",
	"influxdb-port":                   "remove it; the metrics of the gateway are Prometheus'",
	"influxdb-server-name":            "remove it; the metrics of the gateway are Prometheus'",
	"lua-resty-waf":                   "put a web application firewall behind it, as a Service of its own",
	"opentracing-trust-incoming-span": "write opentelemetry-trust-incoming-span",
	"secure-backends":                 `write backend-protocol: "HTTPS"`,
	"secure-verify-ca-secret":         "write proxy-ssl-secret, with proxy-ssl-verify: \"on\"",
	"session-cookie-hash":             "remove it: it has no effect",
	"upstream-fail-timeout":           "remove it; pods that fail are left alone for a time of themselves",
	"upstream-max-fails":              "remove it; pods that fail are left alone for a time of themselves",
}
