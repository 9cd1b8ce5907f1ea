package nginx

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
)

// parseNextUpstream reads the arguments of proxy_next_upstream.
func parseNextUpstream(v string) (NextUpstream, error) {
	var n NextUpstream
	for _, word := range strings.Fields(v) {
		switch word {
		case "error":
			n.Error = true
		case "timeout":
			n.Timeout = true
		case "invalid_header":
			n.InvalidHeader = true
		case "non_idempotent":
			n.NonIdempotent = true
		case "off":
			return NextUpstream{}, nil
		case "http_500", "http_502", "http_503", "http_504", "http_403", "http_404", "http_429":
			code, _ := strconv.Atoi(word[len("http_"):])
			n.Statuses = append(n.Statuses, code)
		default:
			return n, &dialect.ValueError{Problem: fmt.Sprintf("%q is not known", word), Fix: `write words like "error timeout http_502"`}
		}
	}
	return n, nil
}

func parseSecondsOrNone(v string) (time.Duration, error) {
	if strings.TrimSpace(v) == "0" {
		return 0, nil
	}
	return parseSeconds(v)
}

// parseHostText accepts a host whose parts may be variables.
func parseHostText(v string) (dialect.Template, error) {
	t, err := parseVariables(strings.TrimSpace(v))
	if err != nil {
		return nil, err
	}
	for _, p := range t {
		if p.Text != "" {
			if _, err := dialect.ParseHost(p.Text); err != nil {
				return nil, err
			}
		}
	}
	if len(t) == 0 {
		return nil, &dialect.ValueError{Problem: "the host is empty", Fix: "remove the annotation, or write a name"}
	}
	return t, nil
}

// versions are nginx's names.
var versions = map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}

func parseProtocols(v string, least, most *uint16) error {
	lo, hi := uint16(0), uint16(0)
	for _, word := range strings.Fields(v) {
		n := versions[word]
		if n == 0 {
			if strings.HasPrefix(word, "SSL") {
				continue
			}
			return &dialect.ValueError{Problem: fmt.Sprintf("%q is not a version of TLS", word), Fix: `write words like "TLSv1.2 TLSv1.3"`}
		}
		if lo == 0 || n < lo {
			lo = n
		}
		hi = max(hi, n)
	}
	if lo == 0 {
		return &dialect.ValueError{Problem: fmt.Sprintf("%q has no version that can be spoken", v), Fix: `write "TLSv1.2 TLSv1.3"`}
	}
	*least, *most = lo, hi
	return nil
}

// openSSL maps OpenSSL's names to suites of TLS 1.2.
var openSSL = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

// parseCiphers reads a list of OpenSSL. Groups and exclusions (HIGH, !aNULL) stand
// for what Go chooses itself; a list without any suite that Go has is an error.
func parseCiphers(v string) ([]uint16, error) {
	var out []uint16
	group := false
	for _, word := range strings.FieldsFunc(v, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		if id, ok := openSSL[word]; ok {
			out = append(out, id)
		} else if strings.ContainsAny(word, "!+-@") || strings.ToUpper(word) == word && !strings.Contains(word, "-") {
			group = true
		}
	}
	if len(out) == 0 && !group {
		return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q has no suite that can be spoken", v), Fix: `write one like "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"`}
	}
	return out, nil
}
