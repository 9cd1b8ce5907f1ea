package h1

// Make makes a field of a head that came in another form than HTTP/1's. It is false
// if HTTP/1 could not say it.
func Make(name, value []byte) (Field, bool) {
	if len(name) == 0 {
		return Field{}, false
	}
	for _, c := range name {
		if class[c]&token == 0 {
			return Field{}, false
		}
	}
	for _, c := range value {
		if class[c]&text == 0 {
			return Field{}, false
		}
	}
	if n := len(value); n > 0 && (blank(value[0]) || blank(value[n-1])) {
		return Field{}, false
	}
	return Field{Name: name, Value: value, Known: know(name)}, true
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// Compose makes r a request whose head came in another form; its Fields are there
// already. body says that something follows, which Content-Length may announce. It
// is false if HTTP/1 could not say it, or if it says it in two ways.
func (r *Request) Compose(method, authority, path string, body bool) bool {
	all := r.Fields
	r.reset()
	r.Fields, r.Minor, r.Expects = all, 1, false
	if len(method) == 0 || len(method) > 32 || len(path) == 0 || path[0] != '/' && path != "*" && method != "CONNECT" {
		return false
	}
	for i := range len(method) {
		if class[method[i]]&token == 0 {
			return false
		}
	}
	for i := range len(path) {
		if class[path[i]]&target == 0 {
			return false
		}
	}
	r.Method, r.Target = method, path
	hosts := 0
	for i := range r.Fields {
		switch f := &r.Fields[i]; f.Known {
		case Host:
			if hosts++; hosts > 1 || authority != "" && string(f.Value) != authority {
				return false
			}
			authority = string(f.Value)
		case ContentLength:
			if r.frame(f) != nil {
				return false
			}
		case Expect:
			r.Expects = Is(f.Value, "100-continue")
		}
	}
	if authority == "" || r.host([]byte(authority)) != nil {
		return false
	}
	r.Chunked = body && r.Length < 0
	return true
}

// Compose makes r a response whose head came in another form; its Fields are there
// already.
func (r *Response) Compose(status int) bool {
	all := r.Fields
	r.reset()
	r.Fields, r.Minor, r.Status, r.Reason = all, 1, status, nil
	for i := range r.Fields {
		if f := &r.Fields[i]; (f.Known == ContentLength || f.Known == Accel) && r.frame(f) != nil {
			return false
		}
	}
	r.Bodiless = status < 200 || status == 204 || status == 304
	return true
}
