package route

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fairway-net/fairway/internal/dialect"
	"github.com/fairway-net/fairway/internal/dialect/nginx"
	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Auth asks a URL whether a request may pass. The answer is 2xx for yes; 401 and
// 403 are passed on; all else is 500, as in nginx's auth_request.
type Auth struct {
	URL          dialect.Template
	Method       string
	Set          []Field          // further headers of the question
	Redirect     dialect.Template // X-Auth-Request-Redirect; nil: the request's URI
	Headers      []string         // of the answer, for the endpoint
	SignIn       dialect.Template // where a 401 sends the client; nil: nowhere
	AlwaysCookie bool             // cookies of the answer are set on errors, too
	CacheKey     dialect.Template // nil: answers are not kept
	CacheTimes   []nginx.CacheTime
	Scope        string // what keeps the answers of one rule apart from another's
}

// Keep is how long an answer with a status is kept; 0 if it is not.
func (a *Auth) Keep(status int) time.Duration {
	for _, c := range a.CacheTimes {
		if slices.Contains(c.Statuses, status) || slices.Contains(c.Statuses, 0) || len(c.Statuses) == 0 && (status == 200 || status == 301 || status == 302) {
			return c.Time
		}
	}
	return 0
}

// Password asks the client for a name and a password (RFC 7617, RFC 7616).
type Password struct {
	Digest bool
	Realm  string
	Users  map[string]string // name -> hash as in htpasswd, or as in htdigest
}

// ClientCert says what a host wants of clients' certificates.
type ClientCert struct {
	Pool      *x509.CertPool
	Mode      string // "on", "optional", "optional_no_ca"
	Depth     int    // authorities between a certificate and one of Pool
	ErrorPage string // "": 400
	Pass      bool   // the endpoint gets the certificate
	MatchCN   *regexp.Regexp
	Problem   string // why nobody can be let in: 403
}

// BackendTLS is how TLS is spoken with endpoints. Config is complete but for the
// name that a certificate is verified for, where Config.ServerName is "".
type BackendTLS struct {
	Config *tls.Config
	Key    string // equal for equal Configs: connections are shared
}

// reading is what a translation may look up, and what it has.
type reading struct {
	snap    *state.Snapshot
	options *nginx.Options
	seen    []dependency
}

// dependency is an object that a fragment was made with.
type dependency struct {
	kind model.Kind
	key  string
}

func (r *reading) secret(name model.Name) *model.Secret {
	r.seen = append(r.seen, dependency{model.KindSecret, name.String()})
	v, _ := r.snap.Secrets.Get(name.String())
	return v
}

func (r *reading) configMap(name model.Name) *model.ConfigMap {
	r.seen = append(r.seen, dependency{model.KindConfigMap, name.String()})
	v, _ := r.snap.ConfigMaps.Get(name.String())
	return v
}

func (r *reading) service(name model.Name) *model.Service {
	r.seen = append(r.seen, dependency{model.KindService, name.String()})
	return r.snap.Service(name)
}

// object resolves the name of a Secret or ConfigMap in an annotation. It is not
// to be of another namespace, for its owner has not agreed.
func (f *fragment) object(r *reading, annotation, text string) (model.Name, bool) {
	name := model.ParseName(text)
	if name.Namespace == "" {
		name.Namespace = f.ing.Namespace
	}
	if name.Namespace == f.ing.Namespace || r.options.CrossNamespace {
		return name, true
	}
	f.reject(annotation, "CrossNamespace", fmt.Sprintf("%s is in another namespace", name), "copy it, or ask for the option allow-cross-namespace-resources")
	return name, false
}

func (f *fragment) reject(annotation, reason, message, fix string) {
	f.rejected = append(f.rejected, model.Rejected{Ref: refOf(f.ing), Field: nginx.Field(nginx.Prefix + annotation), Reason: reason, Message: message, Fix: fix})
}

// close keeps requests out because a guard cannot be followed.
func (f *fragment) close(annotation, reason, message, fix string) {
	f.reject(annotation, reason, message, fix+"; until then requests get 503")
	f.settings.Unguarded = annotation
}

// readGuards resolves what annotations name beside Services.
func (f *fragment) readGuards(r *reading) {
	f.readPassword(r)
	f.readAuth(r)
	f.readClientCert(r)
	f.readBackendTLS(r)
}

func (f *fragment) readPassword(r *reading) {
	b := &f.settings.Basic
	if b.Type == "" {
		return
	}
	name, ok := f.object(r, "auth-secret", b.Secret)
	if b.Secret == "" {
		f.close("auth-secret", "SecretNotFound", "auth-type is set and auth-secret is not", "name a Secret with users")
		return
	}
	if !ok {
		f.settings.Unguarded = "auth-secret"
		return
	}
	secret := r.secret(name)
	if secret == nil {
		f.close("auth-secret", "SecretNotFound", fmt.Sprintf("Secret %s does not exist", name), fmt.Sprintf("kubectl -n %s create secret generic %s --from-file=auth", name.Namespace, name.Name))
		return
	}
	p := &Password{Digest: b.Type == "digest", Realm: b.Realm, Users: map[string]string{}}
	if b.Map {
		for user, hash := range secret.Data {
			p.Users[user] = strings.TrimSpace(string(hash))
		}
	} else if secret.Data["auth"] == nil {
		f.close("auth-secret", "SecretInvalid", fmt.Sprintf("Secret %s has no key auth", name), "put the htpasswd file there, or set auth-secret-type: auth-map")
		return
	}
	if !b.Map {
		for line := range bytes.Lines(secret.Data["auth"]) {
			p.add(strings.TrimSpace(string(line)), b.Realm)
		}
	}
	if len(p.Users) == 0 {
		f.reject("auth-secret", "SecretInvalid", fmt.Sprintf("Secret %s has no user", name), "make lines with htpasswd")
	}
	f.password = p
}

// add reads a line of htpasswd, or of htdigest if it is for the realm.
func (p *Password) add(line, realm string) {
	if line == "" || line[0] == '#' {
		return
	}
	user, rest, ok := strings.Cut(line, ":")
	if p.Digest && ok {
		var of string
		if of, rest, ok = strings.Cut(rest, ":"); of != realm {
			return
		}
	}
	if ok {
		if !p.Digest { // fields behind the hash are a comment
			rest, _, _ = strings.Cut(rest, ":")
		}
		p.Users[user] = rest
	}
}

// readAuth makes the question of auth-url, or of the option global-auth-url.
func (f *fragment) readAuth(r *reading) {
	s := &f.settings.Auth
	if len(s.URL) == 0 {
		if len(r.options.GlobalAuth.URL) == 0 || !s.Global {
			return
		}
		s = &r.options.GlobalAuth
	}
	a := &Auth{URL: s.URL, Method: s.Method, Redirect: s.Redirect, Headers: s.ResponseHeaders, AlwaysCookie: s.AlwaysSetCookie,
		CacheKey: s.CacheKey, CacheTimes: s.CacheTimes, SignIn: signIn(s), Set: fields(s.Set)}
	if s.SetHeaders.Name != "" {
		name, ok := f.object(r, "auth-proxy-set-headers", s.SetHeaders.String())
		m := r.configMap(name)
		switch {
		case !ok:
			f.settings.Unguarded = "auth-proxy-set-headers"
		case m == nil:
			f.close("auth-proxy-set-headers", "ConfigMapNotFound", fmt.Sprintf("ConfigMap %s does not exist", name), "create it")
		default:
			a.Set = append(a.Set, f.headersOf(m, "auth-proxy-set-headers")...)
		}
	}
	f.auth = a
}

// signIn adds the parameter with the URL that was asked for, unless it is there.
func signIn(s *nginx.Auth) dialect.Template {
	if len(s.SignIn) == 0 {
		return nil
	}
	text, glue := s.SignIn.String(), "?"
	if _, query, ok := strings.Cut(text, "?"); ok {
		if strings.HasPrefix(query, s.SignInParam+"=") || strings.Contains(query, "&"+s.SignInParam+"=") {
			return s.SignIn
		}
		glue = "&"
	}
	return append(slices.Clone(s.SignIn), dialect.Part{Text: glue + s.SignInParam + "="}, dialect.Part{Var: dialect.Scheme}, dialect.Part{Text: "://"},
		dialect.Part{Var: dialect.HTTPHost}, dialect.Part{Var: dialect.EscapedURI})
}

func (f *fragment) readClientCert(r *reading) {
	s := &f.settings.ClientCert
	if s.Secret == "" || s.Verify == "off" {
		return
	}
	c := &ClientCert{Mode: s.Verify, Depth: s.Depth, ErrorPage: s.ErrorPage, Pass: s.Pass, MatchCN: s.MatchCN}
	f.client = c
	name, ok := f.object(r, "auth-tls-secret", s.Secret)
	if !ok {
		c.Problem = "annotation auth-tls-secret names a Secret of another namespace"
		return
	}
	secret := r.secret(name)
	if secret == nil || len(secret.Data["ca.crt"]) == 0 {
		c.Problem = fmt.Sprintf("Secret %s does not exist, or has no ca.crt", name)
		f.reject("auth-tls-secret", "SecretNotFound", c.Problem, "put the authorities' certificates there; until then requests get 403")
		return
	}
	c.Pool = x509.NewCertPool()
	if !c.Pool.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		c.Problem = fmt.Sprintf("Secret %s holds no certificate in ca.crt", name)
		f.reject("auth-tls-secret", "SecretInvalid", c.Problem, "put in the PEM file as it is; until then requests get 403")
	}
}

func (f *fragment) readBackendTLS(r *reading) {
	s := &f.settings.BackendTLS
	if s.Secret == "" && !s.SNI && s.Min == 0 && s.Ciphers == nil && s.Name == "" && !s.Verify {
		return
	}
	// InsecureSkipVerify leaves the verification to VerifyConnection below, or to nobody.
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: s.Min, MaxVersion: s.Max, CipherSuites: s.Ciphers} //nolint:gosec
	if s.SNI {
		config.ServerName = s.Name
	}
	var pool *x509.CertPool
	version := ""
	if s.Secret != "" {
		name, ok := f.object(r, "proxy-ssl-secret", s.Secret)
		secret := r.secret(name)
		switch {
		case !ok:
		case secret == nil:
			f.reject("proxy-ssl-secret", "SecretNotFound", fmt.Sprintf("Secret %s does not exist", name), "create it")
		default:
			if pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"]); err == nil {
				config.Certificates = []tls.Certificate{pair}
			} else if len(secret.Data["tls.crt"]) > 0 {
				f.reject("proxy-ssl-secret", "SecretInvalid", fmt.Sprintf("Secret %s cannot be used: %s", name, strings.TrimPrefix(err.Error(), "tls: ")), "tls.crt must belong to tls.key")
			}
			pool = x509.NewCertPool()
			pool.AppendCertsFromPEM(secret.Data["ca.crt"])
			version = digest(secret.Data["tls.crt"], secret.Data["tls.key"], secret.Data["ca.crt"])
		}
	}
	if s.Verify {
		if pool == nil {
			f.reject("proxy-ssl-verify", "SecretNotFound", "there is no ca.crt to verify with", "name a Secret with ca.crt in proxy-ssl-secret; until then no pod's certificate is accepted")
			pool = x509.NewCertPool()
		}
		config.VerifyConnection = verifier(pool, s.Name, s.Depth)
	}
	f.backendTLS = &BackendTLS{Config: config, Key: fmt.Sprintf("%s %s %v %d %s %v %x %x %v", f.ing.Name, s.Secret, s.Verify, s.Depth, s.Name, s.SNI, s.Min, s.Max, s.Ciphers) + version}
}

// verifier accepts certificates from pool. Without a name any of its certificates
// will do: endpoints have addresses, which certificates seldom name.
func verifier(pool *x509.CertPool, name string, depth int) func(tls.ConnectionState) error {
	return func(c tls.ConnectionState) error {
		_, err := VerifyChain(c.PeerCertificates, pool, name, depth, x509.ExtKeyUsageServerAuth)
		return err
	}
}

// digest tells contents apart.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d ", len(p))
		h.Write(p)
	}
	return fmt.Sprintf(" %x", h.Sum(nil))
}

// VerifyChain verifies a peer's certificate with no more than depth authorities
// between it and one of pool.
func VerifyChain(peer []*x509.Certificate, pool *x509.CertPool, name string, depth int, use x509.ExtKeyUsage) (leaf *x509.Certificate, err error) {
	if len(peer) == 0 {
		return nil, fmt.Errorf("no certificate")
	}
	o := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool(), DNSName: name, KeyUsages: []x509.ExtKeyUsage{use}}
	for _, c := range peer[1:] {
		o.Intermediates.AddCert(c)
	}
	chains, err := peer[0].Verify(o)
	if err != nil {
		return peer[0], err
	}
	for _, chain := range chains {
		if len(chain)-2 <= depth { // neither the certificate nor that of pool counts, as with OpenSSL
			return peer[0], nil
		}
	}
	return peer[0], ErrChainTooLong
}

// ErrChainTooLong says that a certificate comes from an authority of pool, over too many others.
var ErrChainTooLong = errors.New("certificate chain too long")
