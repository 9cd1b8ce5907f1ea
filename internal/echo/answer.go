package echo

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sort"
	"strings"
)

// PodHeader is set on every HTTP answer, whatever its body: the name of the
// pod that gave it.
const PodHeader = "X-Echo-Pod"

// maxBody is how much of a request's body is echoed.
const maxBody = 64 << 10

// Identity says who answers. Kubernetes fills it through the downward API.
type Identity struct {
	Pod   string `json:"pod"`
	PodIP string `json:"podIP"`
	Node  string `json:"node"`
}

// Answer is what the server saw of one request.
type Answer struct {
	Identity
	Port    string              `json:"port"`   // the port it was received on
	Client  string              `json:"client"` // source address and port
	Proto   string              `json:"proto"`
	Method  string              `json:"method"`
	Host    string              `json:"host"`
	Path    string              `json:"path"`
	Query   string              `json:"query"`
	Headers map[string][]string `json:"headers"`
	Body    string              `json:"body,omitempty"`
	TLS     *TLS                `json:"tls,omitempty"` // nil: in the clear
}

// TLS is what the server saw of the handshake.
type TLS struct {
	Version    string `json:"version"` // "TLS 1.3"
	Cipher     string `json:"cipher"`
	ServerName string `json:"serverName"` // that was asked for
	Client     string `json:"client"`     // subject of the client's certificate
}

func tlsOf(r *http.Request) *TLS {
	if r.TLS == nil {
		return nil
	}
	t := &TLS{Version: tls.VersionName(r.TLS.Version), Cipher: tls.CipherSuiteName(r.TLS.CipherSuite), ServerName: r.TLS.ServerName}
	if len(r.TLS.PeerCertificates) > 0 {
		t.Client = r.TLS.PeerCertificates[0].Subject.String()
	}
	return t
}

// answerTo reads r, including the start of its body.
func answerTo(id Identity, r *http.Request) Answer {
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxBody))
	return Answer{
		Identity: id,
		Port:     localPort(r),
		Client:   r.RemoteAddr,
		Proto:    r.Proto,
		Method:   r.Method,
		Host:     r.Host,
		Path:     r.URL.EscapedPath(),
		Query:    r.URL.RawQuery,
		Headers:  r.Header,
		Body:     string(body),
		TLS:      tlsOf(r),
	}
}

func localPort(r *http.Request) string {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return ""
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return port
}

// writeText prints one "name: value" per line, the headers last, so that
// people can read it and `grep ^pod:` can pick from it.
func (a Answer) writeText(w io.Writer) {
	t := a.TLS
	if t == nil {
		t = &TLS{}
	}
	for _, field := range []struct{ name, value string }{
		{"pod", a.Pod}, {"podIP", a.PodIP}, {"node", a.Node}, {"port", a.Port}, {"client", a.Client},
		{"tls", t.Version}, {"tls cipher", t.Cipher}, {"tls server name", t.ServerName}, {"tls client", t.Client},
		{"proto", a.Proto}, {"method", a.Method}, {"host", a.Host}, {"path", a.Path}, {"query", a.Query},
	} {
		if field.value != "" {
			fmt.Fprintf(w, "%s: %s\n", field.name, field.value)
		}
	}
	names := make([]string, 0, len(a.Headers))
	for name := range a.Headers {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(w, "header %s: %s\n", name, strings.Join(a.Headers[name], ", "))
	}
	if a.Body != "" {
		fmt.Fprintf(w, "body: %s\n", a.Body)
	}
}

// write answers with text, or with JSON if the request asked for it.
func (a Answer) write(w http.ResponseWriter, r *http.Request, status int) {
	if wantsJSON(r) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(a) // the client has gone: nobody to tell
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	a.writeText(w)
}

func wantsJSON(r *http.Request) bool {
	if format := r.URL.Query().Get("format"); format != "" {
		return format == "json"
	}
	return slices.ContainsFunc(r.Header.Values("Accept"), func(v string) bool {
		return strings.Contains(v, "application/json")
	})
}
