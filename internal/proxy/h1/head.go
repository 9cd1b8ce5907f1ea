package h1

import "bytes"

// Head is what requests and responses have in common. Its fields are valid until
// the buffer that it was parsed from is used again.
type Head struct {
	Minor   int // of the version: HTTP/1.Minor
	Fields  []Field
	Length  int64 // of Content-Length; -1: none
	Chunked bool
	Both    bool // has a Content-Length beside Chunked; requests that have both are refused, responses are read by their chunks
	Close   bool // the sender closes, or wants it
	Keep    bool // says keep-alive
	Upgrade bool // Connection says upgrade
	Accel   bool // has a field of that kind
	named   bool // Connection names other fields
	lines   int  // of Content-Length, Transfer-Encoding, for duplicates
	codings int
}

func (h *Head) reset() {
	*h = Head{Fields: h.Fields[:0], Length: -1}
}

// Get returns the first value of a field, "" if there is none.
func (h *Head) Get(name string) string {
	for i := range h.Fields {
		if SameName(h.Fields[i].Name, name) {
			return string(h.Fields[i].Value)
		}
	}
	return ""
}

// Values returns all values of a field.
func (h *Head) Values(name string) (all []string) {
	for i := range h.Fields {
		if SameName(h.Fields[i].Name, name) {
			all = append(all, string(h.Fields[i].Value))
		}
	}
	return all
}

// Hop reports whether a field is for this connection only: by its name, or
// because Connection names it.
func (h *Head) Hop(f *Field) bool {
	return f.Known.Hop() || h.named && h.listed(Connection, f.Name)
}

// Has reports whether a list field has an element, given in lower case.
func (h *Head) Has(k Known, element string) bool { return h.listed(k, []byte(element)) }

func (h *Head) listed(k Known, element []byte) (found bool) {
	for i := range h.Fields {
		if h.Fields[i].Known == k {
			each(h.Fields[i].Value, func(item []byte) { found = found || bytes.EqualFold(item, element) })
		}
	}
	return found
}

// end returns the length of a head including its empty line, or 0 if b does not
// hold all of it. What can never become one is an error at once, so that nobody waits.
func end(b []byte) (int, error) {
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return i + 4, nil
	}
	for i := 0; ; i++ {
		lf := bytes.IndexByte(b[i:], '\n')
		if lf < 0 {
			return 0, nil
		}
		if i += lf; i == 0 || b[i-1] != '\r' {
			return 0, bad("line without CR LF")
		}
	}
}

// frame takes note of one field that says how the message is delimited or what
// becomes of the connection.
func (h *Head) frame(f *Field) error {
	switch f.Known {
	case ContentLength:
		n, ok := number(f.Value)
		if h.lines++; h.lines > 1 || !ok {
			return bad("Content-Length that is not one number")
		}
		h.Length = n
	case TransferEncoding:
		if h.codings++; h.codings > 1 {
			return bad("more than one Transfer-Encoding")
		}
		if !Is(f.Value, "chunked") {
			if bytes.Contains(bytes.ToLower(f.Value), []byte("chunked")) {
				return bad("Transfer-Encoding beside chunked")
			}
			return &Error{501, "Transfer-Encoding that is not implemented"}
		}
		h.Chunked = true
	case Accel:
		h.Accel = true
	case Connection:
		each(f.Value, func(item []byte) {
			switch {
			case Is(item, "close"):
				h.Close = true
			case Is(item, "keep-alive"):
				h.Keep = true
			case Is(item, "upgrade"):
				h.Upgrade = true
			default:
				h.named = true
			}
		})
	}
	return nil
}

// settle ends the reading of a head.
func (h *Head) settle() {
	if h.Chunked && h.Length >= 0 {
		// Chunks win, and the connection ends with the message: RFC 9112, section 6.3.
		h.Both, h.Length, h.Close = true, -1, true
	}
	if h.Minor == 0 && !h.Keep {
		h.Close = true
	}
}

// number reads 1*DIGIT that fits.
func number(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
