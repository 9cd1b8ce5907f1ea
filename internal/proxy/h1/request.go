package h1

import (
	"bytes"
	"strings"
)

// Request is the head of a request. A Request that is parsed into again keeps
// its memory, and strings that come again.
type Request struct {
	Head
	Method string
	Target string // as received
	Host   string // of an absolute target, else of the Host field
	// Path and Query are parts of Target. Plain says that Path has no octet that
	// ought to have been escaped; Asterisk that there is neither.
	Path, Query string
	Plain       bool
	EmptyQuery  bool // there is a question mark, and nothing behind it
	Expects     bool // 100-continue
}

// Parse reads a head from the start of b and returns its length; 0 if b does not
// hold all of it yet. Errors are *Error. A head with both Content-Length and
// Transfer-Encoding is refused, as RFC 9112, section 6.1 allows: whoever sends it
// hopes that two readers see two ends.
func (r *Request) Parse(b []byte) (int, error) {
	n, err := end(b)
	if n == 0 || err != nil {
		return 0, err
	}
	r.reset()
	r.Expects = false
	line := bytes.IndexByte(b, '\n')
	if line < 1 || b[line-1] != '\r' {
		return 0, bad("line without CR LF")
	}
	if err := r.line(b[:line-1]); err != nil {
		return 0, err
	}
	if r.Fields, err = fields(b[line+1:n-2], r.Fields); err != nil {
		return 0, err
	}
	hosts := 0
	for i := range r.Fields {
		f := &r.Fields[i]
		switch f.Known {
		case Other:
			continue
		case Host:
			if hosts++; hosts > 1 {
				return 0, bad("more than one Host")
			}
			if err := r.host(f.Value); err != nil {
				return 0, err
			}
		case Expect:
			if !Is(f.Value, "100-continue") {
				return 0, &Error{417, "Expect that is not known"}
			}
			r.Expects = r.Minor == 1
		default:
			if err := r.frame(f); err != nil {
				return 0, err
			}
		}
	}
	switch {
	case hosts == 0 && r.Minor == 1:
		return 0, bad("no Host")
	case hosts == 0:
		if err := r.host(nil); err != nil {
			return 0, err
		}
	}
	if r.Chunked && r.Minor == 0 {
		return 0, bad("Transfer-Encoding in HTTP/1.0")
	}
	if r.settle(); r.Both {
		return 0, bad("both Content-Length and Transfer-Encoding")
	}
	return n, nil
}

// HasBody reports whether anything follows the head.
func (r *Request) HasBody() bool { return r.Chunked || r.Length > 0 }

// line reads the request line: exactly one space on each side of the target.
func (r *Request) line(b []byte) error {
	method, rest, ok := bytes.Cut(b, []byte{' '})
	goal, version, ok2 := bytes.Cut(rest, []byte{' '})
	if !ok || !ok2 || len(method) == 0 || len(method) > 32 || len(goal) == 0 {
		return bad("malformed request line")
	}
	for _, c := range method {
		if class[c]&token == 0 {
			return bad("malformed method")
		}
	}
	switch {
	case string(version) == "HTTP/1.1":
		r.Minor = 1
	case string(version) == "HTTP/1.0":
		r.Minor = 0
	case len(version) == 8 && string(version[:5]) == "HTTP/" && version[6] == '.':
		return &Error{505, "version that is not supported"}
	default:
		return bad("malformed version")
	}
	for _, c := range goal {
		if class[c]&target == 0 {
			return bad("malformed request target")
		}
	}
	r.Method = again(r.Method, method)
	r.Target = again(r.Target, goal)
	return nil
}

// host settles what Host, Path and Query are.
func (r *Request) host(value []byte) error {
	if !authority(value) {
		return bad("malformed Host")
	}
	rest := r.Target
	switch {
	case rest[0] == '/':
		r.Host = again(r.Host, value)
	case rest == "*", r.Method == "CONNECT":
		r.Host, r.Path, r.Query, r.Plain = again(r.Host, value), rest, "", true
		r.EmptyQuery = false
		return nil
	default:
		// The absolute form, RFC 9112, section 3.2.2: the Host field is ignored.
		colon := bytes.IndexByte([]byte(rest), ':')
		if colon < 0 || !Is([]byte(rest[:colon]), "http") && !Is([]byte(rest[:colon]), "https") || len(rest) < colon+3 || rest[colon:colon+3] != "://" {
			return bad("malformed request target")
		}
		rest = rest[colon+3:]
		i := 0
		for i < len(rest) && rest[i] != '/' && rest[i] != '?' {
			i++
		}
		if i == 0 {
			return bad("target without a host")
		}
		r.Host, rest = rest[:i], rest[i:]
		if !authority([]byte(r.Host)) || strings.Contains(r.Host, "%") {
			return bad("malformed host of the target")
		}
	}
	if r.split(rest); r.Path == "" {
		r.Path = "/" // the same as none, RFC 9110, section 4.2.3
	}
	return nil
}

func (r *Request) split(s string) {
	r.Path, r.Query, r.Plain, r.EmptyQuery = s, "", true, false
	for i := range len(s) {
		if s[i] == '?' {
			r.Path, r.Query = s[:i], s[i+1:]
			r.EmptyQuery = r.Query == ""
			return
		}
		if class[s[i]]&path == 0 {
			r.Plain = false
		}
	}
}

// again returns b as a string, the one before if it is the same: clients repeat
// themselves.
func again(before string, b []byte) string {
	if before == string(b) {
		return before
	}
	switch string(b) {
	case "GET":
		return "GET"
	case "HEAD":
		return "HEAD"
	case "POST":
		return "POST"
	}
	return string(b)
}
