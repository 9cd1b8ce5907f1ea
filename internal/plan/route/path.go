package route

import (
	"errors"
	"strings"
)

// ErrPath says that a path could mean different things to different servers;
// such a request is answered with 400.
var ErrPath = errors.New("ambiguous path")

// CanonicalPath brings the path of a request (as received: escaped, without the
// query) into the form that rules are matched with, and into the form that is
// sent to a backend if no rule rewrites it. The decisions, made once for all
// dialects:
//
//   - match: escapes are decoded, but for %2F, %5C and %25, which would change
//     meaning; runs of slashes are one slash, as nginx merges them; after that the segments
//     "." and ".." are resolved (RFC 3986, section 5.2.4).
//   - forward: the bytes of the client, with dot segments resolved. A backend may
//     merge slashes and decode escapes itself or not: both readings match
//     the same rule.
//   - refused: a path that does not begin with a slash, climbs above the root,
//     has a malformed escape or a NUL, or hides a dot segment behind an escape
//     ("%2e%2e", "..%2f", "..\\", "..;x"), which some servers see and others do not.
func CanonicalPath(raw string) (match, forward string, err error) {
	if raw == "" || raw[0] != '/' {
		return "", "", ErrPath
	}
	if plain(raw) {
		return raw, raw, nil
	}
	var m, f strings.Builder
	var marks []mark // where each segment that may be climbed out of begins
	for raw != "" {
		segment, rest, more := strings.Cut(raw[1:], "/")
		switch segment {
		case "..":
			if len(marks) == 0 {
				return "", "", ErrPath
			}
			last := marks[len(marks)-1]
			marks = marks[:len(marks)-1]
			truncate(&m, last.match)
			truncate(&f, last.forward)
			fallthrough
		case ".":
			if !more { // "/a/.." and "/a/." end in a slash
				slash(&m)
				f.WriteByte('/')
			}
		default:
			if segment != "" { // slashes are merged first, as in nginx: "/a//.." is "/"
				marks = append(marks, mark{m.Len(), f.Len()})
			}
			if err := appendSegment(&m, segment); err != nil {
				return "", "", err
			}
			f.WriteByte('/')
			f.WriteString(segment)
		}
		if !more {
			break
		}
		raw = "/" + rest
	}
	return m.String(), f.String(), nil
}

type mark struct{ match, forward int }

// plain says that there is nothing to resolve: no escape, no empty segment and
// none that begins with a dot.
func plain(raw string) bool {
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '%' || c == '\\' || c == 0:
			return false
		case c == '/' && i+1 < len(raw) && (raw[i+1] == '/' || raw[i+1] == '.'):
			return false
		}
	}
	return true
}

// appendSegment writes a slash and the decoded segment; nothing more than the
// slash if it is empty, and only where there is none yet.
func appendSegment(b *strings.Builder, segment string) error {
	slash(b)
	if !strings.ContainsAny(segment, "%\\\x00") && !strings.HasPrefix(segment, ".") {
		b.WriteString(segment)
		return nil
	}
	start := b.Len()
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if c == 0 {
			return ErrPath
		}
		if c != '%' {
			b.WriteByte(c)
			continue
		}
		if i+2 >= len(segment) || !isHex(segment[i+1]) || !isHex(segment[i+2]) {
			return ErrPath
		}
		switch d := unhex(segment[i+1])<<4 | unhex(segment[i+2]); d {
		case 0:
			return ErrPath
		case '/':
			b.WriteString("%2F")
		case '\\':
			b.WriteString("%5C")
		case '%':
			b.WriteString("%25")
		default:
			b.WriteByte(d)
		}
		i += 2
	}
	if hidesDots(b.String()[start:]) {
		return ErrPath
	}
	return nil
}

// hidesDots reports whether segment has a dot segment for a server that takes
// %2F, %5C or a backslash for a slash, or cuts what follows a semicolon.
func hidesDots(segment string) bool {
	for _, part := range strings.Split(strings.NewReplacer("%2F", "/", "%5C", "/", `\`, "/").Replace(segment), "/") {
		part, _, _ = strings.Cut(part, ";")
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

// slash writes a slash unless there is one at the end.
func slash(b *strings.Builder) {
	if s := b.String(); s == "" || s[len(s)-1] != '/' {
		b.WriteByte('/')
	}
}

func truncate(b *strings.Builder, n int) {
	s := b.String()[:n]
	b.Reset()
	b.WriteString(s)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
