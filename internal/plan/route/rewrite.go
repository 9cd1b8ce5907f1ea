package route

import (
	"regexp"
	"strings"
)

// Rewrite replaces the path of a request, as nginx's "rewrite … break" does.
type Rewrite struct {
	Regex  *regexp.Regexp // whose groups Target may use; matched with the canonical path
	Target string         // path, perhaps with a query, with $1 to $9
}

// Apply returns the escaped path and the query to send for a request with the
// canonical path and the query given. As in nginx, a query in the target comes
// before that of the request, and a "?" at the very end drops the request's.
func (r *Rewrite) Apply(path, query string) (newPath, newQuery string) {
	target := r.expand(path)
	newPath, args, has := strings.Cut(target, "?")
	if !strings.HasPrefix(newPath, "/") {
		newPath = "/" + newPath
	}
	newPath = escapePath(newPath)
	switch {
	case !has:
		return newPath, query
	case args == "" || query == "":
		return newPath, escapeQuery(args)
	}
	return newPath, escapeQuery(args) + "&" + query
}

// expand puts the groups into the target. A group that did not take part is empty.
func (r *Rewrite) expand(path string) string {
	groups := r.Regex.FindStringSubmatchIndex(path)
	var b strings.Builder
	inQuery := false
	for i := 0; i < len(r.Target); i++ {
		c := r.Target[i]
		inQuery = inQuery || c == '?'
		if c != '$' || i+1 == len(r.Target) {
			b.WriteByte(c)
			continue
		}
		i++
		n := 2 * int(r.Target[i]-'0')
		if n+1 < len(groups) && groups[n] >= 0 {
			group := path[groups[n]:groups[n+1]]
			if inQuery {
				b.WriteString(escapeArgument(group))
				continue
			}
			// A "?" that was escaped in the request must not begin the query.
			b.WriteString(strings.ReplaceAll(group, "?", "%3F"))
		}
	}
	return b.String()
}

// escapePath escapes what may not stand in a path. Percent signs of a canonical
// path belong to escapes and stay; those of a target that do not are escaped.
func escapePath(s string) string { return escape(s, "/-._~!$&'()*+,;=:@") }

func escapeQuery(s string) string { return escape(s, "/-._~!$&'()*+,;=:@?") }

// escapeArgument escapes what would end an argument or mean something else in it: what
// nginx escapes of groups that a rewrite puts behind the question mark.
func escapeArgument(s string) string { return escape(s, "/-._~!$'()*,=:@") }

func escape(s, allowed string) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = isAlnum(s[i]) || strings.IndexByte(allowed, s[i]) >= 0
	}
	if clean {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case isAlnum(c) || strings.IndexByte(allowed, c) >= 0,
			c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
