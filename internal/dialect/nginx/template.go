package nginx

import (
	"fmt"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// parseTemplate accepts an absolute http or https URL, or a path.
func parseTemplate(v string) (dialect.Template, error) {
	v = strings.TrimSpace(v)
	if !strings.HasPrefix(v, "http://") && !strings.HasPrefix(v, "https://") && !strings.HasPrefix(v, "/") && !strings.HasPrefix(v, "$scheme://") {
		return nil, &dialect.ValueError{Problem: fmt.Sprintf("redirect %q is no URL", v), Fix: "begin it with https://"}
	}
	return parseURLText("redirect", v)
}

// parseURL accepts an absolute http or https URL whose parts may be variables.
func parseURL(v string) (dialect.Template, error) {
	v = strings.TrimSpace(v)
	_, rest, ok := strings.Cut(v, "://")
	if !ok || rest == "" || strings.HasPrefix(rest, "/") || !strings.HasPrefix(v, "http://") && !strings.HasPrefix(v, "https://") && !strings.HasPrefix(v, "$scheme://") {
		return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q is no URL", v), Fix: `write one like "http://auth.default.svc.cluster.local/check"`}
	}
	return parseURLText("URL", v)
}

// parseURLText reads variables, and refuses what cannot stand in a URL.
func parseURLText(what, v string) (dialect.Template, error) {
	t, err := parseVariables(v)
	if err != nil {
		return nil, err
	}
	for _, p := range t {
		if i := strings.IndexFunc(p.Text, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'`;{}\\", r) }); i >= 0 {
			return nil, &dialect.ValueError{Problem: fmt.Sprintf("%s %q holds the character %q", what, v, p.Text[i]), Fix: "escape it with percent signs"}
		}
	}
	return t, nil
}

// parseText accepts what may stand in a header, with variables.
func parseText(v string) (dialect.Template, error) {
	v = strings.TrimSpace(v)
	if i := strings.IndexFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
		return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q holds the control character %q", v, v[i]), Fix: "remove it"}
	}
	return parseVariables(v)
}

// parseVariables reads $name and ${name}.
func parseVariables(v string) (dialect.Template, error) {
	return parseVariablesOf(v, dialect.LookUp, "variables that can be used are $scheme, $host, $http_host, $request_uri, $escaped_request_uri, $uri, $args, $request_method, $remote_addr, $request_id, $namespace, $ingress_name, $service_name, $http_NAME, $cookie_NAME and $arg_NAME")
}

// parseVariablesOf knows the variables that lookUp finds; known says which those are.
func parseVariablesOf(v string, lookUp func(string) (dialect.Var, bool), known string) (dialect.Template, error) {
	var t dialect.Template
	for whole := v; v != ""; {
		text, rest, found := strings.Cut(v, "$")
		if text != "" {
			t = append(t, dialect.Part{Text: text})
		}
		if !found {
			break
		}
		name := rest[:len(rest)-len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"))]
		v = rest[len(name):]
		if in, after, ok := strings.Cut(rest, "}"); ok && strings.HasPrefix(rest, "{") {
			name, v = in[1:], after
		}
		variable, ok := lookUp(name)
		if !ok {
			return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q holds the variable $%s", whole, name), Fix: known}
		}
		t = append(t, dialect.Part{Var: variable})
	}
	return t, nil
}
