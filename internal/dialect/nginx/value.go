package nginx

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
)

// parseBool accepts what ingress-nginx accepts.
func parseBool(v string) (bool, error) {
	b, err := strconv.ParseBool(strings.TrimSpace(v))
	if err != nil {
		return false, &dialect.ValueError{Problem: fmt.Sprintf("%q is not a boolean", v), Fix: `write "true" or "false"`}
	}
	return b, nil
}

func parseProtocol(v string) (Protocol, error) {
	switch p := Protocol(strings.ToUpper(strings.TrimSpace(v))); p {
	case HTTP, HTTPS, GRPC, GRPCS, FCGI, AutoHTTP:
		return p, nil
	}
	return "", &dialect.ValueError{Problem: fmt.Sprintf("backend protocol %q is not supported", v), Fix: "write HTTP, HTTPS, AUTO_HTTP, GRPC, GRPCS or FCGI"}
}

// parseTarget accepts a path, with an optional query, whose only variables are
// $1 to $9. Like nginx it takes a target without the leading slash.
func parseTarget(v string) (string, error) {
	v = strings.TrimSpace(v)
	bad := func(problem, fix string) (string, error) {
		return "", &dialect.ValueError{Problem: fmt.Sprintf("rewrite target %q %s", v, problem), Fix: fix}
	}
	if strings.HasPrefix(v, "http://") || strings.HasPrefix(v, "https://") {
		return bad("is a URL, not a path", "write the path only; to send clients elsewhere, use a redirect")
	}
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c <= ' ' || c == 0x7f || strings.IndexByte("\"'`;{}\\#", c) >= 0:
			return bad(fmt.Sprintf("holds the character %q", c), "a target is a path with $1 to $9 for the groups of the path")
		case c == '$' && (i+1 == len(v) || v[i+1] < '1' || v[i+1] > '9'):
			return bad("holds a variable other than $1 to $9", "use the groups of the path: path \"/api(/|$)(.*)\" with target \"/$2\"")
		}
	}
	return v, nil
}

func parseRedirectCode(v string) (int, error) {
	if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && n >= 300 && n <= 308 && n != 304 {
		return n, nil
	}
	return 0, &dialect.ValueError{Problem: fmt.Sprintf("%q is not the status of a redirect", v), Fix: "write 301, 302, 303, 307 or 308"}
}

func parseCount(v string) (int, error) {
	if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && n >= 0 {
		return n, nil
	}
	return 0, &dialect.ValueError{Problem: fmt.Sprintf("%q is not a number", v), Fix: "write a number that is not negative"}
}

// parseSeconds accepts a number, and also "30s", which ingress-nginx refuses but
// people mean.
func parseSeconds(v string) (time.Duration, error) {
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), "s"))
	if err != nil || n <= 0 || n > 365*24*3600 {
		return 0, &dialect.ValueError{Problem: fmt.Sprintf("%q is not a number of seconds", v), Fix: `write a number without unit, as in "60"`}
	}
	return time.Duration(n) * time.Second, nil
}

// parseSize accepts nginx's sizes: 1024, 16k, 8m, 1g.
func parseSize(v string) (int64, error) {
	digits := strings.ToLower(strings.TrimSpace(v))
	shift := 0
	for i, unit := range "kmg" {
		if short, ok := strings.CutSuffix(digits, string(unit)); ok {
			digits, shift = short, 10*(i+1)
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return 0, &dialect.ValueError{Problem: fmt.Sprintf("%q is not a size", v), Fix: `write a number with k, m or g, as in "8m"`}
	}
	return n << shift, nil
}

// parsePrefixes accepts CIDRs and addresses.
func parsePrefixes(v string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, f := range list(v) {
		p, err := netip.ParsePrefix(f)
		if err != nil {
			a, err := netip.ParseAddr(f)
			if err != nil {
				return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q is neither a CIDR nor an address", f), Fix: `write a list like "10.0.0.0/8, 192.0.2.7"`}
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	if len(out) == 0 {
		return nil, &dialect.ValueError{Problem: "the list is empty", Fix: "remove the annotation, or write CIDRs"}
	}
	return out, nil
}

func parsePath(v string) (string, error) {
	v = strings.TrimSpace(v)
	if !strings.HasPrefix(v, "/") || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'`;{}\\$", r) }) {
		return "", &dialect.ValueError{Problem: fmt.Sprintf("%q is not a path", v), Fix: "begin it with a slash, and escape special characters with percent signs"}
	}
	return v, nil
}

func parseHosts(v string) ([]string, error) {
	var out []string
	for _, f := range list(v) {
		if text, ok := strings.CutPrefix(f, "~"); ok { // nginx ignores the case of names
			if _, err := parseRegex(text); err != nil {
				return nil, err
			}
			out = append(out, f)
			continue
		}
		host, err := dialect.ParseHost(strings.TrimPrefix(f, "*."))
		if err != nil || strings.Contains(host, ":") {
			return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q is not a host", f), Fix: "write names separated by commas, or regular expressions behind ~"}
		}
		out = append(out, strings.ToLower(f))
	}
	return out, nil
}

// parseTokens accepts a list of tokens and keeps its spelling.
func parseTokens(v string) (string, error) {
	for _, f := range list(v) {
		if _, err := dialect.ParseToken(f); err != nil {
			return "", err
		}
	}
	return strings.TrimSpace(v), nil
}

// parseOrigins accepts *, and origins (RFC 6454) in which "*." may stand for
// the labels before a domain.
func parseOrigins(v string) ([]string, error) {
	out := list(v)
	for _, o := range out {
		scheme, host, ok := strings.Cut(o, "://")
		_, err := dialect.ParseHost(strings.TrimPrefix(host, "*."))
		_, schemeErr := dialect.ParseToken(scheme)
		if o != "*" && (!ok || err != nil || schemeErr != nil) {
			return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q is not an origin", o), Fix: `write "*" or origins like "https://example.com", "https://*.example.com:8443"`}
		}
	}
	if len(out) == 0 {
		return nil, &dialect.ValueError{Problem: "the list is empty", Fix: `write "*" or origins like "https://example.com"`}
	}
	return out, nil
}

// list splits at commas and drops what is empty.
func list(v string) []string {
	var out []string
	for _, f := range strings.Split(v, ",") {
		if f = strings.TrimSpace(f); f != "" {
			out = append(out, f)
		}
	}
	return out
}

// parseMemory is parseSize for what is to be kept in memory.
func parseMemory(v string) (int64, error) {
	n, err := parseSize(v)
	if err == nil && n > 16<<20 {
		return 0, &dialect.ValueError{Problem: fmt.Sprintf("%q is too much memory for one request", v), Fix: "write 16m at most"}
	}
	return n, err
}

func parseBuffers(v string) (int, error) {
	n, err := parseCount(v)
	if err == nil && (n < 1 || n > 1024) {
		return 0, &dialect.ValueError{Problem: fmt.Sprintf("%d is no number of buffers", n), Fix: "write one from 1 to 1024"}
	}
	return n, err
}
