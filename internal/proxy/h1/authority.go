package h1

import "bytes"

// authority reports whether b can be the value of a Host field: a name, an IPv4 address or
// an IPv6 address in brackets, and perhaps a port (RFC 9110, section 7.2; RFC 3986, section
// 3.2). Nothing at all can, too. What is read one way here and another way by a pod, which
// is what "a:b@c" and "a:80:81" are for, is refused.
func authority(b []byte) bool {
	name, port := b, []byte(nil)
	literal := len(b) > 0 && b[0] == '['
	switch i := bytes.IndexByte(b, ']'); {
	case literal && i < 0:
		return false
	case literal:
		name, port = b[1:i], b[i+1:]
		if len(name) == 0 || len(port) > 0 && port[0] != ':' {
			return false
		}
		port = bytes.TrimPrefix(port, []byte{':'})
	default:
		name, port, _ = bytes.Cut(b, []byte{':'})
	}
	for _, c := range name {
		if class[c]&host == 0 && !(literal && c == ':') {
			return false
		}
	}
	if len(port) == 0 {
		return true
	}
	n, ok := number(port)
	return ok && n < 1<<16
}
