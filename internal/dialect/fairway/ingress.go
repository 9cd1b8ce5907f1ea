package fairway

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

// IngressSettings is what the annotations of one Ingress say.
type IngressSettings struct {
	// What requests must have for the rules of the Ingress to match, beside host and path.
	Methods        []string // any of these; nil: any at all
	Headers, Query []dialect.Condition

	Connect bool // CONNECT opens a tunnel to a pod of the backend

	// Unmatched says that one of these could not be read: without it the rules would
	// match what they are not for.
	Unmatched bool
}

func ingressTable() []annotation[IngressSettings] {
	row := row[IngressSettings]
	const rest = ". The same path may be in several Ingresses whose conditions differ: one with match-methods comes first, then the one with more headers, then with more arguments, then the older; what has no condition takes the rest"
	return []annotation[IngressSettings]{
		row("connect", "false", "CONNECT to a host of the Ingress opens a tunnel to a pod of the backend that its path / has, after all that the Ingress asks of clients; else it is answered with 405. The client says neither which pod nor which port",
			func(s *IngressSettings, v string) (err error) { s.Connect, err = parseConnect(v); return err }),
		row("match-methods", "", "The rules of the Ingress are for requests with one of these methods, separated by commas. GET is not HEAD"+rest,
			func(s *IngressSettings, v string) (err error) { s.Methods, err = parseMethods(v); return err }),
		row("match-headers", "", "The rules of the Ingress are for requests with all of these headers, separated by commas: `X-Env=canary` has this value, `X-Env~^can` matches the regular expression, `X-Env` is there. Several lines of a header are one, joined by commas",
			func(s *IngressSettings, v string) (err error) { s.Headers, err = parseConditions(v, true); return err }),
		row("match-query", "", "The same for arguments of the query: `version=2,debug`. Of an argument that comes twice the first counts",
			func(s *IngressSettings, v string) (err error) { s.Query, err = parseConditions(v, false); return err }),
	}
}

// ParseIngress reads the annotations of an Ingress. What cannot be used is rejected.
func ParseIngress(ing *model.Ingress) (IngressSettings, []model.Rejected) {
	var s IngressSettings
	if len(ing.Annotations) == 0 {
		return s, nil
	}
	ref := model.Ref{Kind: model.KindIngress, Name: ing.Name, UID: ing.UID}
	rejected := read(&s, ref, ing.Annotations, ingressTable(), nil)
	for i := range rejected {
		if r := &rejected[i]; strings.HasPrefix(r.Field, annotationsField+Prefix+"match-") {
			s.Unmatched = true
			r.Message += "; until it is mended the rules of the Ingress match nothing, or refuse all with 503 where they have guards"
		}
	}
	return s, rejected
}

func parseConnect(v string) (bool, error) {
	switch v {
	case "true", "false":
		return v == "true", nil
	}
	return false, &dialect.ValueError{Problem: fmt.Sprintf("%q is neither true nor false", v), Fix: `write "true" to allow CONNECT`}
}

func parseMethods(v string) (out []string, err error) {
	for _, m := range strings.Split(v, ",") {
		m, err := dialect.ParseToken(m)
		if err != nil || m != strings.ToUpper(m) {
			return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q is no list of methods", v), Fix: `write them like "GET,HEAD"; capitals count`}
		}
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	slices.Sort(out)
	return out, nil
}

// parseConditions reads "name=value,name~regex,name". The names of headers do not
// distinguish capitals, those of arguments do.
func parseConditions(v string, header bool) (out []dialect.Condition, err error) {
	for _, text := range strings.Split(v, ",") {
		c, err := parseCondition(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		same := func(o dialect.Condition) bool { return o.Name == c.Name || header && strings.EqualFold(o.Name, c.Name) }
		if slices.ContainsFunc(out, same) {
			return nil, &dialect.ValueError{Problem: fmt.Sprintf("%q is there twice", c.Name), Fix: "write one condition, with a regular expression if several values will do"}
		}
		out = append(out, c)
	}
	return out, nil
}

func parseCondition(text string) (c dialect.Condition, err error) {
	name, value := text, ""
	i := strings.IndexAny(text, "=~")
	if i >= 0 {
		name, value = text[:i], text[i+1:]
	}
	if c.Name, err = dialect.ParseToken(name); err != nil || i >= 0 && strings.TrimSpace(value) == "" {
		return c, &dialect.ValueError{Problem: fmt.Sprintf("%q is no condition", text), Fix: `write "name=value", "name~regex" or "name", separated by commas`}
	}
	if i < 0 || text[i] == '=' {
		c.Value = strings.TrimSpace(value)
		return c, nil
	}
	if c.Pattern, err = regexp.Compile(value); err != nil {
		return c, &dialect.ValueError{Problem: fmt.Sprintf("%q is no regular expression", value), Fix: "the syntax is RE2; write \\x2c for a comma"}
	}
	return c, nil
}
