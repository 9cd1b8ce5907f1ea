package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/proxy/fcgi"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// script is a connection to an endpoint that speaks FastCGI: the upstream of one call.
type script struct {
	conn   *h1.Conn
	read   fcgi.Reader
	call   *call
	waited time.Time
	rest   []byte // of the body, that came with the head
}

func newScript(c *h1.Conn) *script {
	s := &script{conn: c}
	s.read.Read = s.receive
	return s
}

// offer implements upstream.
func (s *script) offer(c *call) error {
	s.call = c
	within := c.exchange.rule.Forward.Timeouts.Send
	out := fcgi.AppendRecord(fcgi.AppendRecord(fcgi.AppendBegin(nil), fcgi.Params, c.params()), fcgi.Params, nil)
	pumped := false
	if c.request.HasBody() {
		body, ok := c.take()
		if pumped = !ok; ok {
			out = fcgi.AppendRecord(out, fcgi.Stdin, body)
		}
	}
	if !pumped {
		out = fcgi.AppendRecord(out, fcgi.Stdin, nil)
	}
	if err := s.conn.WriteWithin(out, within); err != nil {
		if h1.IsTimeout(err) {
			return errSendTimeout
		}
		return fmt.Errorf("write request: %w", err)
	}
	if pumped {
		if c.down.invite() != nil {
			return errClientGone
		}
		c.startPump(s)
	}
	return s.answer(c)
}

// answer reads the head of the response, which is CGI's (RFC 3875, section 6).
func (s *script) answer(c *call) error {
	s.waited = time.Now()
	var head []byte
	for {
		kind, content, err := s.read.Next()
		switch {
		case err == io.EOF:
			return fmt.Errorf("%w: the request ended without a head", errNoHead)
		case errors.Is(err, fcgi.ErrRecord):
			return fmt.Errorf("%w: %s", errNoHead, err)
		case err != nil:
			return fmt.Errorf("read response: %w", err)
		case kind != fcgi.Stdout:
			continue // what it writes to its log is not for clients
		}
		head = append(head, content...)
		if n, sep := headEnd(head); n > 0 {
			s.rest = head[n+sep:]
			return c.composeCGI(head[:n])
		}
		if len(head) > maxResponseHeader {
			return fmt.Errorf("%w: its head is too large", errNoHead)
		}
	}
}

// headEnd is where the empty line begins, and its length. Lines end with LF, or CR LF.
func headEnd(b []byte) (n, sep int) {
	lf, crlf := bytes.Index(b, []byte("\n\n")), bytes.Index(b, []byte("\n\r\n"))
	switch {
	case lf >= 0 && (crlf < 0 || lf < crlf):
		return lf + 1, 1
	case crlf >= 0:
		return crlf + 1, 2
	}
	return 0, 0
}

func (c *call) composeCGI(head []byte) error {
	r := &c.response
	r.Fields = r.Fields[:0]
	status, located := 0, false
	for line := range bytes.Lines(head) {
		name, value, ok := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte{':'})
		f, made := h1.Make(name, bytes.TrimSpace(value))
		switch {
		case !ok || !made:
			return fmt.Errorf("%w: its head has a line that is no field", errNoHead)
		case h1.Is(f.Name, "status"):
			text, _, _ := strings.Cut(string(f.Value), " ")
			if status, _ = strconv.Atoi(text); status < 200 || status > 999 {
				return fmt.Errorf("%w: its status is %q", errNoHead, text)
			}
			continue
		case h1.Is(f.Name, "location"):
			located = true
		}
		r.Fields = append(r.Fields, f)
	}
	switch {
	case status == 0 && located:
		status = http.StatusFound
	case status == 0:
		status = http.StatusOK
	}
	if !r.Compose(status) {
		return fmt.Errorf("%w: its length is no number", errNoHead)
	}
	r.Bodiless = r.Bodiless || c.exchange.method == http.MethodHead
	r.Chunked = r.Length < 0 && !r.Bodiless // as HTTP/1 would
	return nil
}

// carry implements upstream.
func (s *script) carry(c *call) error {
	r := &c.response
	if r.Bodiless {
		return c.down.shut(nil)
	}
	var sum int64
	pass := func(part []byte) error {
		if sum += int64(len(part)); r.Length >= 0 && sum > r.Length {
			return errors.New("read response: more than was announced")
		}
		if len(part) > 0 && c.down.write(part, false) != nil {
			return errClientGone
		}
		return nil
	}
	err := pass(s.rest)
	if err == nil && len(s.rest) == 0 {
		err = c.down.flush()
	}
	for err == nil {
		var kind fcgi.Kind
		var content []byte
		if kind, content, err = s.read.Next(); err == nil && kind == fcgi.Stdout {
			err = pass(content)
		}
	}
	switch {
	case err != io.EOF:
		return err
	case r.Length >= 0 && sum < r.Length:
		return io.ErrUnexpectedEOF
	}
	return c.down.shut(nil)
}

// receive reads from the endpoint, and waits for as long as that makes sense.
func (s *script) receive(into []byte) (int, error) {
	for {
		n, err := s.conn.ReadWithin(into, lookAround(s.waited))
		if n > 0 {
			s.waited = time.Now()
		}
		if n > 0 || !h1.IsTimeout(err) {
			return n, err
		}
		if err := s.call.patient(&s.waited); err != nil {
			return 0, err
		}
	}
}

// send implements sink.
func (s *script) send(part []byte, d time.Duration) error {
	return s.conn.WriteWithin(fcgi.AppendRecord(nil, fcgi.Stdin, part), d)
}

// finish implements sink.
func (s *script) finish(_ []h1.Field, d time.Duration) error {
	return s.conn.WriteWithin(fcgi.AppendRecord(nil, fcgi.Stdin, nil), d)
}

// spoil implements sink.
func (s *script) spoil() { _ = s.conn.Close() }

// end implements upstream.
func (s *script) end(*call, bool) { _ = s.conn.Close() }

// stale implements upstream.
func (s *script) stale() bool { return false }

// pipe implements upstream: no head that was read asks for it.
func (s *script) pipe() (io.ReadWriteCloser, []byte) { return s.conn.Conn, nil }

// params are what the application gets to know of the request: what nginx's file
// fastcgi_params has, what the rule adds, and the header.
func (c *call) params() (b []byte) {
	x := &c.exchange
	path, query := x.outPath()
	name, err := url.PathUnescape(path)
	if err != nil {
		name = path
	}
	f, uri := x.rule.Forward.Script, name
	if strings.HasSuffix(name, "/") {
		name += f.Index
	}
	set := map[string]bool{}
	add := func(key, value string) {
		if set[key] || strings.IndexByte(value, 0) >= 0 {
			return
		}
		set[key] = true
		b = fcgi.AppendParam(b, key, value)
	}
	for _, p := range f.Params {
		add(p.Name, p.Value.Expand(func(v dialect.Var) string { return x.scriptVariable(v, name) }))
	}
	length := ""
	if c.request.Length > 0 {
		length = strconv.FormatInt(c.request.Length, 10)
	}
	for _, p := range [][2]string{
		{"QUERY_STRING", query}, {"REQUEST_METHOD", x.method}, {"CONTENT_TYPE", x.fields.Get("Content-Type")}, {"CONTENT_LENGTH", length},
		{"SCRIPT_NAME", name}, {"REQUEST_URI", x.askedURI()}, {"DOCUMENT_URI", uri}, {"DOCUMENT_ROOT", documentRoot}, {"SERVER_PROTOCOL", x.proto},
		{"REQUEST_SCHEME", x.scheme()}, {"GATEWAY_INTERFACE", "CGI/1.1"}, {"SERVER_SOFTWARE", serverName},
		{"REMOTE_ADDR", x.client}, {"REMOTE_PORT", strconv.Itoa(int(x.peer.port))}, {"SERVER_ADDR", x.peer.at.Addr().String()},
		{"SERVER_PORT", strconv.Itoa(int(x.listener.Port))}, {"SERVER_NAME", x.hostName()}, {"REDIRECT_STATUS", "200"}, {"HTTP_HOST", x.outHost()},
	} {
		add(p[0], p[1])
	}
	if x.scheme() == "https" {
		add("HTTPS", "on")
	}
	var names []string
	values := map[string][]string{}
	header := func(name, value string) {
		key := "HTTP_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if !slices.Contains(names, key) {
			names = append(names, key)
		}
		values[key] = append(values[key], value)
	}
	c.head(func(f *h1.Field) { header(string(f.Name), string(f.Value)) }, header)
	for _, key := range names {
		add(key, strings.Join(values[key], map[bool]string{true: "; ", false: ", "}[key == "HTTP_COOKIE"]))
	}
	return b
}

// documentRoot is what nginx says in the controller's image.
const documentRoot = "/usr/local/nginx/html"

func (x *exchange) scriptVariable(v dialect.Var, name string) string {
	switch v {
	case "fastcgi_script_name":
		return name
	case "document_root":
		return documentRoot
	case "fastcgi_path_info":
		return ""
	}
	return x.variable(v)
}
