package nginx

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// snippetTable has the annotations whose value is text of nginx's configuration.
// It is never handed to anything that interprets it: directives of a short list
// become settings, all others are refused, one by one.
func snippetTable() []Annotation {
	const text = "Off unless the option allow-snippet-annotations is on. Then directives of a list are followed (" + allowed + "), and each other one is refused by an Event that quotes it"
	row := func(key, more string, scope dialect.Scope) Annotation {
		return Annotation{Doc: dialect.Doc{Key: key, Scope: scope, Risk: dialect.Critical, Effect: dialect.Partly, Text: text + more}}
	}
	return []Annotation{
		row("auth-snippet", ". Here only proxy_set_header, for the question to auth-url", dialect.Location),
		row("configuration-snippet", "", dialect.Location),
		row("server-snippet", ". They hold for the paths of the Ingress only", dialect.Location),
	}
}

// directiveOf returns what reads the statements of a snippet.
func directiveOf(key string) func(*Settings, directive) error {
	if key == "auth-snippet" {
		return (*Settings).authDirective
	}
	return (*Settings).locationDirective
}

const allowed = "more_set_headers, more_clear_headers, more_set_input_headers, add_header, proxy_set_header, proxy_hide_header, allow, deny, satisfy, return, " +
	"client_max_body_size, proxy_read_timeout, proxy_send_timeout, proxy_connect_timeout, proxy_next_upstream, proxy_next_upstream_tries, proxy_buffering, proxy_request_buffering, limit_rate, limit_rate_after, access_log off, and sizes of buffers"

// directive is one statement of a snippet.
type directive struct {
	name string
	args []string
	line int
	text string // as written, on one line
}

// parseDirectives splits a snippet into statements. A block is one statement
// whose name is that of its head: no block is on the list.
func parseDirectives(v string) (out []directive) {
	var words []string
	var word strings.Builder
	inWord, line, first, depth, begin := false, 1, 1, 0, 0
	flush := func() {
		if inWord {
			words = append(words, word.String())
			word.Reset()
			inWord = false
		}
	}
	emit := func(end int) {
		flush()
		if len(words) > 0 {
			out = append(out, directive{words[0], words[1:], first, strings.Join(strings.Fields(v[begin:end]), " ")})
		}
		words, begin = nil, end
	}
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case c == '\n' || c == ' ' || c == '\t' || c == '\r':
			flush()
			if c == '\n' {
				line++
			}
			continue
		case c == '#' && !inWord:
			for i+1 < len(v) && v[i+1] != '\n' {
				i++
			}
			if len(words) == 0 && depth == 0 {
				begin = i + 1
			}
			continue
		}
		if len(words) == 0 && !inWord && depth == 0 {
			first, begin = line, i
		}
		switch {
		case c == ';' && depth == 0:
			emit(i + 1)
		case c == '{' && !(i > 0 && v[i-1] == '$'):
			flush()
			depth++
		case c == '}' && depth > 0 && !(inWord && strings.Contains(word.String(), "${")):
			flush()
			if depth--; depth == 0 {
				emit(i + 1)
			}
		case (c == '"' || c == '\'') && (!inWord || depth > 0): // inside of a block it may be another language's
			inWord = true
			for i++; i < len(v) && v[i] != c; i++ {
				if v[i] == '\\' && i+1 < len(v) {
					i++
				}
				if v[i] == '\n' {
					line++
				}
				word.WriteByte(v[i])
			}
			if depth == 0 {
				flush()
			}
		default:
			inWord = true
			word.WriteByte(c)
		}
	}
	emit(len(v))
	return out
}

// errDirective says that a directive is not on the list.
var errDirective = &dialect.ValueError{Problem: "the directive is not supported", Fix: "supported are " + allowed}

func (s *Settings) authDirective(d directive) error {
	if d.name != "proxy_set_header" {
		return &dialect.ValueError{Problem: "the directive is not supported here", Fix: "supported is proxy_set_header"}
	}
	h, err := d.header()
	if err == nil {
		s.Auth.Set = append(s.Auth.Set, h)
	}
	return err
}

// locationDirective does what a directive says.
func (s *Settings) locationDirective(d directive) error {
	switch d.name {
	case "add_header", "proxy_set_header":
		return s.headerDirective(d)
	case "more_set_headers", "more_set_input_headers", "more_clear_headers", "more_clear_input_headers", "proxy_hide_header":
		return s.moreHeaders(d)
	case "return":
		return s.returnDirective(d)
	case "allow", "deny":
		return s.accessDirective(d)
	case "proxy_buffers":
		if len(d.args) != 2 {
			return &dialect.ValueError{Problem: "it has a number and a size", Fix: "write proxy_buffers 8 4k"}
		}
		if err := set(&s.Buffers, d.args[0], parseBuffers); err != nil {
			return err
		}
		return set(&s.BufferSize, d.args[1], parseMemory)
	case "limit_rate", "limit_rate_after": // in octets, and not in kilobytes as the annotations
		to := &s.Limits.Rate
		if d.name == "limit_rate_after" {
			to = &s.Limits.RateAfter
		}
		return set(to, strings.Join(d.args, " "), parseSize)
	case "access_log":
		if len(d.args) != 1 || d.args[0] != "off" {
			return &dialect.ValueError{Problem: "there is one access log", Fix: "write access_log off, or nothing"}
		}
		s.AccessLog = false
		return nil
	}
	row, ok := map[string]string{
		"client_max_body_size": "proxy-body-size", "proxy_read_timeout": "proxy-read-timeout", "proxy_send_timeout": "proxy-send-timeout",
		"proxy_connect_timeout": "proxy-connect-timeout", "proxy_next_upstream": "proxy-next-upstream", "proxy_next_upstream_tries": "proxy-next-upstream-tries",
		"satisfy": "satisfy", "proxy_buffering": "proxy-buffering", "proxy_buffer_size": "proxy-buffer-size",
		"proxy_busy_buffers_size": "proxy-busy-buffers-size", "proxy_request_buffering": "proxy-request-buffering", "client_body_buffer_size": "client-body-buffer-size",
		"proxy_http_version": "proxy-http-version", "proxy_max_temp_file_size": "proxy-max-temp-file-size",
	}[d.name]
	if !ok {
		return errDirective
	}
	return lookUp(row).set(s, strings.Join(d.args, " "))
}

func (d directive) header() (Header, error) {
	if len(d.args) < 1 {
		return Header{}, &dialect.ValueError{Problem: "the header is missing", Fix: "write NAME VALUE"}
	}
	name, err := dialect.ParseToken(d.args[0])
	if err != nil {
		return Header{}, err
	}
	value := dialect.Template(nil)
	if len(d.args) > 1 {
		value, err = parseText(d.args[1])
	}
	return Header{name, value}, err
}

// framing are headers that say where a message ends, or what becomes of the
// connection: they are ours.
func framing(name string) bool {
	for _, own := range []string{"Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Host", "Te", "Trailer", "Keep-Alive"} {
		if strings.EqualFold(own, name) {
			return true
		}
	}
	return false
}

// ValidHeader says that a header can be set.
func ValidHeader(name, value string) bool {
	_, err := dialect.ParseToken(name)
	return err == nil && !framing(name) && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func (s *Settings) headerDirective(d directive) error {
	h, err := d.header()
	switch {
	case err != nil:
		return err
	case d.name == "proxy_set_header" && strings.EqualFold(h.Name, "Host"):
		s.UpstreamHost = h.Value
	case framing(h.Name):
		return &dialect.ValueError{Problem: "the header " + h.Name + " cannot be set", Fix: "remove the line: it is set as the message needs it"}
	case d.name == "proxy_set_header":
		s.SetHeader = append(s.SetHeader, h)
	case len(d.args) > 2 && d.args[2] == "always":
		s.Response.Set = append(s.Response.Set, h)
	default:
		s.Response.Add = append(s.Response.Add, h)
	}
	return nil
}

// moreHeaders reads the directives of headers-more, whose arguments are whole fields.
func (s *Settings) moreHeaders(d directive) error {
	for _, arg := range d.args {
		if strings.HasPrefix(arg, "-") {
			return &dialect.ValueError{Problem: "the option " + arg + " is not supported", Fix: "name headers only"}
		}
		name, value, _ := strings.Cut(arg, ":")
		if _, err := dialect.ParseToken(name); err != nil {
			return err
		}
		if framing(name) {
			return &dialect.ValueError{Problem: "the header " + name + " cannot be set", Fix: "remove it: it is set as the message needs it"}
		}
		text, err := parseText(value)
		if err != nil {
			return err
		}
		h := Header{strings.TrimSpace(name), text}
		switch d.name {
		case "more_set_headers":
			s.Response.Set = append(s.Response.Set, h)
		case "more_set_input_headers":
			s.SetHeader = append(s.SetHeader, h)
		case "more_clear_input_headers":
			s.SetHeader = append(s.SetHeader, Header{Name: h.Name})
		default:
			s.Response.Hide = append(s.Response.Hide, h.Name)
		}
	}
	return nil
}

func (s *Settings) returnDirective(d directive) error {
	if len(d.args) == 0 {
		return &dialect.ValueError{Problem: "the status is missing", Fix: "write return CODE or return CODE TEXT"}
	}
	code, err := strconv.Atoi(d.args[0])
	if err != nil { // "return URL" is a redirect with 302
		code, d.args = 302, append([]string{""}, d.args...)
	}
	if code < 200 || code > 599 {
		return &dialect.ValueError{Problem: fmt.Sprintf("%d is not the status of an answer", code), Fix: "write one from 200 to 599"}
	}
	r := Return{Status: code}
	if len(d.args) > 1 {
		if code == 301 || code == 302 || code == 303 || code == 307 || code == 308 {
			r.Target, err = parseTemplate(d.args[1])
		} else {
			r.Text, err = parseVariables(d.args[1])
		}
	}
	if err == nil && s.Return.Status == 0 { // the first one is met first
		s.Return = r
	}
	return err
}

func (s *Settings) accessDirective(d directive) error {
	if len(d.args) != 1 {
		return &dialect.ValueError{Problem: "one address is wanted", Fix: "write allow CIDR or deny CIDR"}
	}
	if d.args[0] == "all" {
		if d.name == "deny" && s.Allow == nil {
			all, _ := parsePrefixes("0.0.0.0/0,::/0")
			s.Deny = append(s.Deny, all...)
		}
		return nil // after addresses that are allowed, all others are denied in any case
	}
	p, err := parsePrefixes(d.args[0])
	if err != nil {
		return err
	}
	if d.name == "deny" {
		s.Deny = append(s.Deny, p...)
	} else {
		s.Allow = append(s.Allow, p...)
	}
	return nil
}
