package dialect

import (
	"fmt"
	"strings"
)

// ParseHost reads the value of an annotation that is the name of a host, perhaps with a
// port. The error is a *ValueError.
func ParseHost(v string) (string, error) {
	v = strings.TrimSpace(v)
	if v == "" || strings.ContainsFunc(v, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(".-_:", r))
	}) {
		return "", &ValueError{Problem: fmt.Sprintf("%q is not a host", v), Fix: `write a name like "shop.example.com"`}
	}
	return v, nil
}

// ParseToken reads a token of RFC 9110, section 5.6.2: no header that is made of it can
// end early. The error is a *ValueError.
func ParseToken(v string) (string, error) {
	v = strings.TrimSpace(v)
	if v == "" || strings.ContainsFunc(v, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	}) {
		return "", &ValueError{Problem: fmt.Sprintf("%q is not a token", v), Fix: "use letters, digits and -_."}
	}
	return v, nil
}
