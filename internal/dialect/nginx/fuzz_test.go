package nginx

import (
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/model"
)

// FuzzParse: no value of any annotation or option makes a parser fail, what is refused
// says why and what to do, and no control character gets into a text for a header.
func FuzzParse(f *testing.F) {
	for _, a := range Annotations() {
		f.Add(a.Key, a.Default)
		for _, v := range []string{"true", "x", "$request_uri", "/a$1", "200 5m", "https://a.example/$host?x=${args}", "a b", "10.0.0.0/8", "~^/(a|b)$ $1 ${host}, \"x; y\""} {
			f.Add(a.Key, v)
		}
	}
	f.Add("configuration-snippet", "more_set_headers \"A: $host\";\nif (x) { y {} }\n'")
	for _, o := range OptionTable() {
		f.Add(o.Key, o.Default)
	}
	ref := model.Ref{Kind: model.KindIngress, Name: model.Name{Namespace: "n", Name: "i"}}
	f.Fuzz(func(t *testing.T, key, value string) {
		o, _ := ParseOptions([]model.Ref{ref}, []map[string]string{{key: value}})
		o.AllowSnippets, o.Risk = true, dialect.Critical
		s, rejected := Parse(ref, map[string]string{Prefix + key: value}, o)
		for _, r := range rejected {
			if r.Message == "" || r.Reason == "" || r.Fix == "" || r.Field != Field(Prefix+key) {
				t.Errorf("%q: %q: %+v", key, value, r)
			}
		}
		for _, text := range []dialect.Template{s.Redirect, s.Temporal, s.UpstreamHost, s.Auth.URL, s.Auth.SignIn, s.Auth.Redirect, s.Auth.CacheKey, s.Balance.HashBy, s.Mirror.Target,
			s.Response.CookieDomain.To, s.Response.CookiePath.To, s.Response.Redirect.To} {
			if strings.ContainsAny(text.String(), "\r\n\x00") {
				t.Errorf("%q: %q: %q", key, value, text)
			}
		}
		for _, text := range []string{s.CORS.Methods, s.CORS.Headers, s.CORS.Expose, s.Affinity.Cookie, s.Affinity.Path, s.Affinity.Domain, s.ForwardedPrefix, s.Basic.Realm, s.RewriteTarget,
			s.AppRoot, s.Mirror.Host, s.ClientCert.ErrorPage} {
			if strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("%q: %q: %q", key, value, text)
			}
		}
		for _, r := range []Replace{s.Response.CookieDomain, s.Response.CookiePath} {
			if r.Check() != nil {
				t.Errorf("%q: %q: group without pattern: %v", key, value, r)
			}
		}
		for _, list := range [][]Header{s.SetHeader, s.Response.Set, s.Response.Add, s.Auth.Set} {
			for _, h := range list {
				if strings.ContainsAny(h.Name+h.Value.String(), "\r\n\x00") {
					t.Errorf("%q: %q: header %q", key, value, h)
				}
			}
		}
	})
}
