package nginx

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// parseReplace accepts "off", or what to replace and its replacement, either of which
// may be in quotes.
func parseReplace(v string) (Replace, error) {
	words, ok := splitWords(v)
	switch {
	case len(words) == 1 && words[0] == "off":
		return Replace{}, nil
	case len(words) != 2 || !ok:
		return Replace{}, &dialect.ValueError{Problem: fmt.Sprintf("%q is not two words", v), Fix: `write "off", or what to replace and its replacement`}
	}
	from, err := parsePattern(words[0])
	if err != nil {
		return Replace{}, err
	}
	to, err := parseGroups(words[1], from)
	return Replace{from, to}, err
}

// parseReplaceDomain is parseReplace for names, whose case does not count.
func parseReplaceDomain(v string) (Replace, error) {
	r, err := parseReplace(v)
	if re := r.From.Regex; err == nil && re != nil && !strings.HasPrefix(re.String(), "(?i)") {
		r.From.Regex, err = parseRegex("(?i)" + re.String())
	}
	return r, err
}

// splitWords splits at spaces, but not between quotes.
func splitWords(v string) (words []string, ok bool) {
	for v = strings.TrimSpace(v); v != ""; v = strings.TrimSpace(v) {
		if q := v[0]; q == '"' || q == '\'' {
			end := strings.IndexByte(v[1:], q)
			if end < 0 {
				return words, false
			}
			words, v = append(words, v[1:1+end]), v[2+end:]
			continue
		}
		end := strings.IndexAny(v, " \t")
		if end < 0 {
			end = len(v)
		}
		words, v = append(words, v[:end]), v[end:]
	}
	return words, true
}

// parsePattern reads a text with variables, or a regular expression behind ~, or behind ~*
// if it is to ignore case.
func parsePattern(w string) (Pattern, error) {
	text, ok := strings.CutPrefix(w, "~")
	if !ok {
		t, err := parseText(w)
		if err == nil && len(t) == 0 {
			err = &dialect.ValueError{Problem: "what to replace is empty", Fix: "write a text"}
		}
		return Pattern{Text: t}, err
	}
	if rest, ok := strings.CutPrefix(text, "*"); ok {
		text = "(?i)" + rest
	}
	re, err := parseRegex(text)
	return Pattern{Regex: re}, err
}

// parseGroups reads a text with variables, among them the groups of the pattern.
func parseGroups(w string, of Pattern) (dialect.Template, error) {
	t, err := parseTo(w)
	if err != nil {
		return nil, err
	}
	return t, checkGroups(t, of)
}

// checkGroups refuses groups that the pattern has not got.
func checkGroups(t dialect.Template, of Pattern) error {
	for _, p := range t {
		if n, ok := p.Var.Group(); ok && (of.Regex == nil || n > of.Regex.NumSubexp()) {
			return &dialect.ValueError{Problem: fmt.Sprintf("%q has $%d, and %q no such group", t, n, of), Fix: "write one that is there"}
		}
	}
	return nil
}

// Check refuses groups that the pattern has not got.
func (r Replace) Check() *dialect.ValueError {
	v := (*dialect.ValueError)(nil)
	errors.As(checkGroups(r.To, r.From), &v)
	return v
}

var groupVar = regexp.MustCompile(`\$([1-9])|\$\{([1-9])\}`)

// parseTo reads a text with variables and groups.
func parseTo(w string) (dialect.Template, error) {
	var out dialect.Template
	for {
		at := groupVar.FindStringIndex(w)
		if at == nil {
			t, err := parseText(w)
			return append(out, t...), err
		}
		t, err := parsePlaced(w[:at[0]])
		if err != nil {
			return nil, err
		}
		out = append(append(out, t...), dialect.Part{Var: dialect.Var(strings.Trim(w[at[0]:at[1]], "${}"))})
		w = w[at[1]:]
	}
}

// parsePlaced is parseText for a part of a text, whose spaces count.
func parsePlaced(w string) (dialect.Template, error) {
	if _, err := parseText(w); err != nil {
		return nil, err
	}
	return parseVariables(w)
}

// parseFrom reads proxy-redirect-from.
func parseFrom(v string) (Pattern, error) {
	v = strings.TrimSpace(v)
	if v == "off" || v == "default" {
		return Pattern{}, nil
	}
	if words, ok := splitWords(v); !ok || len(words) != 1 {
		return Pattern{}, &dialect.ValueError{Problem: fmt.Sprintf("%q is not one word", v), Fix: "put quotes around it, or escape spaces"}
	} else {
		v = words[0]
	}
	return parsePattern(v)
}
