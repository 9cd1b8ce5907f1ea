package nginx

import (
	"fmt"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// parseTemplate accepts an absolute http or https URL, or a path.
func parseTemplate(v string) (dialect.Template, error) {
	v = strings.TrimSpace(v)
	bad := func(problem, fix string) (dialect.Template, error) {
		return nil, &dialect.ValueError{Problem: fmt.Sprintf("redirect %q %s", v, problem), Fix: fix}
	}
	if !strings.HasPrefix(v, "http://") && !strings.HasPrefix(v, "https://") && !strings.HasPrefix(v, "/") && !strings.HasPrefix(v, "$scheme://") {
		return bad("is no URL", "begin it with https://")
	}
	var t dialect.Template
	for v != "" {
		text, rest, found := strings.Cut(v, "$")
		if i := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'`;{}\\", r) }); i >= 0 {
			return bad(fmt.Sprintf("holds the character %q", text[i]), "escape it with percent signs")
		}
		if text != "" {
			t = append(t, dialect.Part{Text: text})
		}
		if !found {
			break
		}
		name := dialect.Var(rest[:len(rest)-len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz_"))])
		if name != dialect.Scheme && name != dialect.HostName && name != dialect.RequestURI {
			return bad(fmt.Sprintf("holds the variable $%s", name), "$scheme, $host and $request_uri can be used")
		}
		t = append(t, dialect.Part{Var: name})
		v = rest[len(name):]
	}
	return t, nil
}
