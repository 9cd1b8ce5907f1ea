package nginx

import (
	"fmt"
	"strconv"
	"strings"

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
	case HTTP, HTTPS, GRPC, GRPCS:
		return p, nil
	}
	return "", &dialect.ValueError{Problem: fmt.Sprintf("backend protocol %q is not supported", v), Fix: "write HTTP, HTTPS, GRPC or GRPCS"}
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
