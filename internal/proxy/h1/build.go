package h1

import "strconv"

// AppendField adds one line of a head.
func AppendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// AppendCopy adds a field as it was received.
func AppendCopy(b []byte, f *Field) []byte {
	b = append(b, f.Name...)
	b = append(b, ": "...)
	b = append(b, f.Value...)
	return append(b, "\r\n"...)
}

// AppendLength adds a Content-Length.
func AppendLength(b []byte, n int64) []byte {
	return AppendNumber(b, "Content-Length", n)
}

// AppendNumber adds a field whose value is a number.
func AppendNumber(b []byte, name string, n int64) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, "\r\n"...)
}

// AppendChunked adds the Transfer-Encoding that we know.
func AppendChunked(b []byte) []byte { return append(b, "Transfer-Encoding: chunked\r\n"...) }

// AppendStatus adds a status line. The reason may be empty, the space before it may not.
func AppendStatus(b []byte, status int, reason []byte) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, reason...)
	return append(b, "\r\n"...)
}

// AppendChunk adds a chunk. An empty one would be the last, so that it adds nothing.
func AppendChunk(b, part []byte) []byte {
	if len(part) == 0 {
		return b
	}
	b = strconv.AppendInt(b, int64(len(part)), 16)
	b = append(b, "\r\n"...)
	b = append(b, part...)
	return append(b, "\r\n"...)
}

// AppendLast adds the end of a chunked body with its trailer, without the fields
// that may not stand there (RFC 9110, section 6.5.1).
func AppendLast(b []byte, trailer []Field) []byte {
	b = append(b, "0\r\n"...)
	for i := range trailer {
		if f := &trailer[i]; !f.Known.Hop() && f.Known != Host {
			b = AppendCopy(b, f)
		}
	}
	return append(b, "\r\n"...)
}

// Cleartext reports whether value may stand in a field: our own additions come
// from annotations, and from URLs.
func Cleartext(value string) bool {
	for i := range len(value) {
		if class[value[i]]&text == 0 {
			return false
		}
	}
	return true
}
