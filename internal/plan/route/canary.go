package route

import (
	"fmt"
	"regexp"

	"github.com/fairway-net/fairway/internal/model"
)

// Canary takes some of a rule's requests to another backend. What decides, in
// this order: the header, the cookie, the weight.
type Canary struct {
	Source  Source
	Backend BackendKey
	Header  string         // "": not looked at
	Value   string         // what the header must be; "": "always", and "never" decides against
	Pattern *regexp.Regexp // for the header, if Value is ""
	Cookie  string         // "": not looked at
	Weight  int            // of Total
	Total   int
}

// Takes decides for one request. header and cookie return "" for what is not
// there; chance is a random number in [0, Total).
func (c *Canary) Takes(header, cookie func(name string) string, chance int) bool {
	if c.Header != "" {
		switch v := header(c.Header); {
		case c.Value != "":
			if v == c.Value {
				return true
			}
		case c.Pattern != nil:
			if v != "" && c.Pattern.MatchString(v) {
				return true
			}
		case v == "always":
			return true
		case v == "never":
			return false
		}
	}
	if c.Cookie != "" {
		switch cookie(c.Cookie) {
		case "always":
			return true
		case "never":
			return false
		}
	}
	return chance < c.Weight
}

// addCanary makes a draft of a canary Ingress part of the rule for the same path,
// whose annotations hold for both, as in ingress-nginx.
func (m *merger) addCanary(f *fragment, d *draft) {
	reject := func(reason, message, fix string) {
		m.rejected = append(m.rejected, model.Rejected{Ref: d.rule.Source.Ref, Field: d.rule.Source.Field, Reason: reason, Message: message, Fix: fix})
	}
	key, err := m.key(d)
	main := m.taken[key]
	switch {
	case err != nil || main == nil:
		reject("CanaryWithoutMain", fmt.Sprintf("no other Ingress has path %s of the same type%v for host %q", d.path, d.rule.Match.When, m.host.Pattern),
			"give the canary the host, path, pathType and conditions of the Ingress that it belongs to")
	case d.rule.Forward == nil || main.Forward == nil:
		reject("CanaryUnused", fmt.Sprintf("requests of %s do not reach a Service, or those of the canary do not", main.Source), "remove redirects from both")
	case main.Forward.Canary != nil:
		reject("CanaryConflict", fmt.Sprintf("%s is the canary of this path already", main.Forward.Canary.Source), "the older one wins; a path has one canary")
	default:
		s := &f.settings.Canary
		c := &Canary{Source: d.rule.Source, Backend: d.rule.Forward.Targets[0].Backend, Header: s.Header, Value: s.HeaderValue,
			Cookie: s.Cookie, Weight: s.Weight, Total: max(s.Total, 100)} // ingress-nginx does not look at less
		if s.HeaderValue == "" {
			c.Pattern = s.HeaderPattern
		}
		main.Forward.Canary = c
	}
}

// isCanary says that f has no rules of its own.
func (f *fragment) isCanary() bool { return f.settings.Canary.Enabled }
