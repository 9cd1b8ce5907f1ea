package proxy

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/fairway-net/fairway/internal/dialect"
)

// expand puts the values of this exchange into a template.
func (x *exchange) expand(t dialect.Template) string {
	if text, plain := t.Plain(); plain {
		return text
	}
	return t.Expand(x.variable)
}

// variable is the value of a variable, "" for what there is not. Values come from
// the client: whoever puts them into a header or a URL checks that they fit.
func (x *exchange) variable(v dialect.Var) string {
	switch v {
	case dialect.Scheme:
		return x.scheme()
	case dialect.HostName, dialect.ServerName:
		return x.hostName()
	case dialect.HTTPHost:
		return x.host
	case dialect.RequestURI:
		return x.requestURI()
	case dialect.EscapedURI:
		return url.QueryEscape(x.requestURI())
	case dialect.Path:
		return x.match.Path
	case dialect.Query:
		return x.query
	case dialect.IsArgs:
		if x.query != "" {
			return "?"
		}
		return ""
	case dialect.Method:
		return x.method
	case dialect.RemoteAddr:
		return x.client
	case dialect.RequestID:
		return x.id
	case dialect.ServerPort:
		return strconv.Itoa(int(x.listener.Port))
	case dialect.ClientSubject:
		return x.subject
	case dialect.ClientIssuer:
		return x.issuer
	case dialect.ClientVerify:
		return x.verify
	case dialect.RemoteUser:
		user, _, _ := basicAuth(x.fields.Get("Authorization"))
		return user
	}
	return x.parameter(v)
}

// parameter is the value of a variable of the rule, or of one with a parameter.
func (x *exchange) parameter(v dialect.Var) string {
	if name, ok := v.Header(dialect.HeaderVar); ok {
		return strings.Join(x.fields.Values(name), ", ")
	}
	if name, ok := strings.CutPrefix(string(v), dialect.CookieVar); ok {
		return x.cookie(name)
	}
	if name, ok := strings.CutPrefix(string(v), dialect.ArgumentVar); ok {
		return argument(x.query, name)
	}
	if x.rule == nil {
		return ""
	}
	switch v {
	case dialect.Namespace:
		return x.rule.Source.Ref.Namespace
	case dialect.IngressName:
		return x.rule.Source.Ref.Name.Name
	}
	if f := x.rule.Forward; f != nil {
		switch v {
		case dialect.ServiceName:
			return f.Targets[0].Backend.Service.Name
		case dialect.ServicePort:
			return f.Targets[0].Backend.Port.String()
		}
	}
	return ""
}

// argument is the value of the first argument of a query with a name, as it is:
// nginx does not decode $arg_NAME, and does not care for case.
func argument(query, name string) string {
	for pair := range strings.SplitSeq(query, "&") {
		if key, value, _ := strings.Cut(pair, "="); strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}
