package h1

import "bytes"

// Error is why a message is refused, and the status that says so to a client.
type Error struct {
	Status int
	Text   string
}

func (e *Error) Error() string { return e.Text }

func bad(text string) error { return &Error{Status: 400, Text: text} }

// Field is one line of a head or trailer, as received but for white space around the value.
type Field struct {
	Name, Value []byte
	Known       Known
}

// Known says which of the names that a proxy has to know a field has.
type Known uint8

// The names. Those from Connection to Upgrade are about one connection and never
// passed on as they are (RFC 9110, section 7.6.1).
const (
	Other Known = iota
	Connection
	ContentLength
	Expect
	KeepAlive
	ProxyAuthenticate
	ProxyAuthorization
	ProxyConnection
	TE
	Trailer
	TransferEncoding
	Upgrade
	Host
	Date
	Server
	Forwarded
	Proxy
	OriginalForwardedFor
	OriginalForwardedHost
	ForwardedFor
	ForwardedHost
	ForwardedPort
	ForwardedProto
	ForwardedScheme
	RealIP
	RequestID
	Scheme
	AccessControl // all that begin with Access-Control- and are for responses
	Accel         // X-Accel-Redirect and its kin: what a response says to nginx
)

// Hop reports whether the field ends with the connection that it came over.
func (k Known) Hop() bool { return Connection <= k && k <= Upgrade }

// know finds a name, whose length decides most.
func know(name []byte) Known {
	is := func(lower string) bool { return Is(name, lower) }
	switch len(name) {
	case 2:
		return when(is("te"), TE)
	case 4:
		if is("host") {
			return Host
		}
		return when(is("date"), Date)
	case 5:
		return when(is("proxy"), Proxy)
	case 6:
		if is("expect") {
			return Expect
		}
		return when(is("server"), Server)
	case 7:
		if is("upgrade") {
			return Upgrade
		}
		return when(is("trailer"), Trailer)
	case 8:
		return when(is("x-scheme"), Scheme)
	case 9:
		if is("forwarded") {
			return Forwarded
		}
		return when(is("x-real-ip"), RealIP)
	case 10:
		if is("connection") {
			return Connection
		}
		return when(is("keep-alive"), KeepAlive)
	case 12:
		return when(is("x-request-id"), RequestID)
	case 14:
		return when(is("content-length"), ContentLength)
	case 15:
		if is("x-forwarded-for") {
			return ForwardedFor
		}
		return when(Is(name[:8], "x-accel-"), Accel)
	case 16:
		switch {
		case is("x-forwarded-host"):
			return ForwardedHost
		case is("x-forwarded-port"):
			return ForwardedPort
		case is("proxy-connection"):
			return ProxyConnection
		}
		return when(Is(name[:8], "x-accel-"), Accel)
	case 17:
		switch {
		case is("transfer-encoding"):
			return TransferEncoding
		case is("x-forwarded-proto"):
			return ForwardedProto
		}
		return when(Is(name[:8], "x-accel-"), Accel)
	case 18:
		switch {
		case is("x-forwarded-scheme"):
			return ForwardedScheme
		case is("proxy-authenticate"):
			return ProxyAuthenticate
		}
		return when(Is(name[:8], "x-accel-"), Accel)
	case 19:
		return when(is("proxy-authorization"), ProxyAuthorization)
	case 24:
		if is("x-original-forwarded-for") {
			return OriginalForwardedFor
		}
	case 25:
		return when(is("x-original-forwarded-host"), OriginalForwardedHost)
	}
	if len(name) >= 22 && Is(name[:15], "access-control-") && !Is(name[:min(len(name), 23)], "access-control-request-") {
		return AccessControl
	}
	return Other
}

func when(is bool, k Known) Known {
	if is {
		return k
	}
	return Other
}

// Is compares b with a text in lower case, without regard to the case of b.
func Is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := 0; i < len(b); i++ {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// SameName compares names without regard to case.
func SameName(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x |= 0x20
		}
		if 'A' <= y && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}

// MaxFields is how many fields a head may have.
const MaxFields = 200

// fields parses the lines of b, which ends with the CR LF of the last of them.
func fields(b []byte, into []Field) ([]Field, error) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 1 || b[end-1] != '\r' {
			return into, bad("line without CR LF")
		}
		f, err := field(b[:end-1])
		if err != nil {
			return into, err
		}
		if len(into) == MaxFields {
			return into, &Error{431, "too many fields"}
		}
		into = append(into, f)
		b = b[end+1:]
	}
	return into, nil
}

// field parses one line. A line that begins with white space (obs-fold, RFC 9112,
// section 5.2) has no name, and white space before the colon is no part of one.
func field(line []byte) (Field, error) {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 {
		return Field{}, bad("field without a name")
	}
	name, value := line[:colon], line[colon+1:]
	for _, c := range name {
		if class[c]&token == 0 {
			return Field{}, bad("field with a malformed name")
		}
	}
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	for n := len(value); n > 0 && (value[n-1] == ' ' || value[n-1] == '\t'); n-- {
		value = value[:n-1]
	}
	for _, c := range value {
		if class[c]&text == 0 {
			return Field{}, bad("field with a control character in its value")
		}
	}
	return Field{Name: name, Value: value, Known: know(name)}, nil
}

// What an octet may be part of.
const (
	token  = 1 << iota // RFC 9110, section 5.6.2
	text               // of field values: RFC 9110, section 5.5
	host               // of a name in a Host field: RFC 3986, section 3.2.2
	path               // of a path that needs no escape: RFC 3986, section 3.3
	target             // of a request target at all, escaped or not
)

// class is a table and not a variable: nobody writes it.
var class = classes()

func classes() (t [256]uint8) {
	set := func(s string, as uint8) {
		for i := range len(s) {
			t[s[i]] |= as
		}
	}
	for c := range 256 {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			t[c] = token | host | path
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= text
		}
		if c > ' ' && c != 0x7f && c != '#' {
			t[c] |= target
		}
	}
	set("!#$%&'*+-.^_`|~", token)
	set("!$%&()*+,-.;='_~", host)
	set("/-._~!$&'()*+,;=:@%", path)
	return t
}

// each calls f with the elements of a comma-separated list.
func each(list []byte, f func([]byte)) {
	for len(list) > 0 {
		var item []byte
		item, list, _ = bytes.Cut(list, []byte{','})
		if item = bytes.Trim(item, " \t"); len(item) > 0 {
			f(item)
		}
	}
}
