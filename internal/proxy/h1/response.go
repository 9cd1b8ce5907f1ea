package h1

import "bytes"

// Response is the head of a response.
type Response struct {
	Head
	Status int
	Reason []byte
	// Bodiless says that nothing follows the head whatever it says: RFC 9112,
	// section 6.3. Length is then what a GET would have had, or -1.
	Bodiless bool
}

// Parse reads a head from the start of b and returns its length; 0 if b does not
// hold all of it yet. method is that of the request.
func (r *Response) Parse(b []byte, method string) (int, error) {
	n, err := end(b)
	if n == 0 || err != nil {
		return 0, err
	}
	r.reset()
	line := bytes.IndexByte(b, '\n')
	if line < 1 || b[line-1] != '\r' || !r.line(b[:line-1]) {
		return 0, bad("malformed status line")
	}
	if r.Fields, err = fields(b[line+1:n-2], r.Fields); err != nil {
		return 0, err
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; f.Known != Other {
			if err := r.frame(f); err != nil {
				return 0, err
			}
		}
	}
	if r.Chunked && r.Minor == 0 {
		return 0, bad("Transfer-Encoding in HTTP/1.0")
	}
	r.settle()
	r.Bodiless = method == "HEAD" || r.Status < 200 || r.Status == 204 || r.Status == 304
	return n, nil
}

// UntilClose reports whether the body ends with the connection.
func (r *Response) UntilClose() bool { return !r.Bodiless && !r.Chunked && r.Length < 0 }

// line reads "HTTP/1.1 200 OK"; some servers leave out the reason with its space.
func (r *Response) line(b []byte) bool {
	if len(b) < 12 || string(b[:7]) != "HTTP/1." || b[7] != '0' && b[7] != '1' || b[8] != ' ' || len(b) > 12 && b[12] != ' ' {
		return false
	}
	r.Minor = int(b[7] - '0')
	status, ok := number(b[9:12])
	if !ok || status < 100 {
		return false
	}
	r.Status, r.Reason = int(status), nil
	if len(b) > 13 {
		r.Reason = b[13:]
	}
	for _, c := range r.Reason {
		if class[c]&text == 0 {
			return false
		}
	}
	return true
}
