package route

import (
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Hosts are the virtual hosts of a listener.
type Hosts struct {
	exact    Table[string, *Host]
	wildcard Table[string, *Host] // by what follows "*": ".example.com"
	regex    []*Host              // whose patterns are regular expressions, sorted by them
	any      *Host                // for hosts that have no entry, never nil
	fallback *Rule                // for what no host has a rule for; nil: 404
}

// Host is one virtual host. Requests for it never fall through to another one,
// as in ingress-nginx: a path that no rule matches goes to Fallback.
type Host struct {
	tree     *node       // over Rules, unless Regex
	Rules    []*Rule     // of equal precedence none; in the order in which they win
	Fallback *Rule       // nil: that of Hosts
	Client   *ClientCert // nil: none is asked for
	Regex    bool        // all paths are regular expressions; see rewrite-target
	Pattern  string      // "shop.example.com", "*.example.com", "~REGEX" or "" for all others
	Ciphers  []uint16    // of TLS 1.2; nil: Go's

	name *regexp.Regexp // that Pattern is, if it begins with ~
}

// Match returns the virtual host of a request and the rule for it; a nil rule is
// a 404.
func (h *Hosts) Match(req *Request) (*Host, *Rule) {
	host := h.Lookup(req.Host)
	if r := host.Find(req); r != nil {
		return host, r
	}
	return host, h.fallback
}

// Lookup returns the virtual host for a canonical host name. A wildcard stands
// for exactly one label (networking/v1 IngressRule.host).
func (h *Hosts) Lookup(host string) *Host {
	if found := h.exact.Get(host); found != nil {
		return found
	}
	if i := strings.IndexByte(host, '.'); i > 0 && h.wildcard.Len() > 0 {
		if found := h.wildcard.Get(host[i:]); found != nil {
			return found
		}
	}
	for _, r := range h.regex {
		if r.name.MatchString(host) {
			return r
		}
	}
	return h.any
}

// Of returns the virtual host of a pattern, or nil.
func (h *Hosts) Of(pattern string) *Host {
	switch {
	case pattern == "":
		return h.any
	case pattern[0] == '*':
		return h.wildcard.Get(pattern[1:])
	case pattern[0] == '~':
		if i := slices.IndexFunc(h.regex, func(h *Host) bool { return h.Pattern == pattern }); i >= 0 {
			return h.regex[i]
		}
		return nil
	}
	return h.exact.Get(pattern)
}

// All yields the hosts: exact and wildcard ones, and last the one for all others.
func (h *Hosts) All(yield func(*Host) bool) {
	for _, m := range []Table[string, *Host]{h.exact, h.wildcard} {
		for _, v := range m.All() {
			if !yield(v) {
				return
			}
		}
	}
	for _, v := range h.regex {
		if !yield(v) {
			return
		}
	}
	yield(h.any)
}

// Len is the number of hosts that some Ingress has named.
func (h *Hosts) Len() int {
	n := h.exact.Len() + h.wildcard.Len() + len(h.regex)
	if len(h.any.Rules) > 0 || h.any.Fallback != nil {
		n++
	}
	return n
}

// with returns what h is with other hosts under some patterns; a nil one is no more.
func (h *Hosts) with(changed map[string]*Host, fallback *Rule) *Hosts {
	next := &Hosts{any: &Host{}, fallback: fallback}
	if h != nil {
		*next = *h
		next.fallback = fallback
	}
	exact, wildcard := next.exact.Edit(), next.wildcard.Edit()
	for pattern, v := range changed {
		edit, key := exact, pattern
		switch {
		case pattern == "":
			if next.any = v; v == nil {
				next.any = &Host{}
			}
			continue
		case pattern[0] == '~':
			next.regex = slices.DeleteFunc(slices.Clone(next.regex), func(h *Host) bool { return h.Pattern == pattern })
			if v != nil {
				i, _ := slices.BinarySearchFunc(next.regex, pattern, func(h *Host, p string) int { return strings.Compare(h.Pattern, p) })
				next.regex = slices.Insert(next.regex, i, v)
			}
			continue
		case pattern[0] == '*':
			edit, key = wildcard, pattern[1:]
		}
		if v == nil {
			edit.Delete(key)
		} else {
			edit.Set(key, v)
		}
	}
	next.exact, next.wildcard = exact.Table(), wildcard.Table()
	return next
}

// Equal reports whether requests for h and o are treated the same way.
func (h *Host) Equal(o *Host) bool {
	if h == nil || o == nil {
		return h == o
	}
	return h.Pattern == o.Pattern && h.Regex == o.Regex && reflect.DeepEqual(h.Client, o.Client) && slices.Equal(h.Ciphers, o.Ciphers) && reflect.DeepEqual(h.Fallback, o.Fallback) && reflect.DeepEqual(h.Rules, o.Rules)
}

// CanonicalHost brings a Host header or an SNI name into the form of Lookup:
// lower case, without port and trailing dot. It returns "" for what names no
// host that a rule could have: nothing, or an IP address.
func CanonicalHost(s string) string {
	if i := strings.LastIndexByte(s, ':'); i >= 0 && strings.IndexByte(s[i:], ']') < 0 {
		s = s[:i]
	}
	s = strings.TrimSuffix(s, ".")
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			s = strings.ToLower(s)
			break
		}
	}
	if s == "" || s[0] == '[' || s[len(s)-1] <= '9' && isAddr(s) {
		return ""
	}
	return s
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
