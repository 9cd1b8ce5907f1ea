package proxy

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy/h1"
)

// certified says whether the client's certificate is what the host wants; if not,
// it has been answered, in HTTP and not by a failed handshake, as nginx does.
func (x *exchange) certified(host *route.Host) bool {
	c := host.Client
	switch {
	case c.Problem != "":
		x.fail(http.StatusForbidden, c.Problem)
		return false
	case x.tls == nil || x.listener.Hosts.Lookup(route.CanonicalHost(x.tls.ServerName)).Client != c:
		// The handshake was for another host, which may want no certificate, or
		// those of another authority.
		x.fail(http.StatusMisdirectedRequest, "this host is asked for on a connection that was made for another one")
		return false
	}
	verify := "NONE"
	var leaf *x509.Certificate
	if len(x.tls.PeerCertificates) > 0 {
		var err error
		leaf, err = route.VerifyChain(x.tls.PeerCertificates, c.Pool, "", c.Depth, x509.ExtKeyUsageClientAuth)
		if verify = "SUCCESS"; err != nil {
			verify = "FAILED:" + err.Error()
			if unknown := (x509.UnknownAuthorityError{}); c.Mode != "optional_no_ca" || !errors.As(err, &unknown) && err != route.ErrChainTooLong {
				return x.uncertified(c, "the certificate that was sent is not valid here")
			}
		}
	} else if c.Mode == "on" {
		return x.uncertified(c, "a certificate is needed here and none was sent")
	}
	subject, issuer := "", ""
	if leaf != nil {
		subject, issuer = distinguished(leaf.RawSubject), distinguished(leaf.RawIssuer)
	}
	if c.MatchCN != nil && !c.MatchCN.MatchString(subject) {
		x.fail(http.StatusForbidden, "client certificate unauthorized")
		return false
	}
	x.subject, x.issuer, x.verify = subject, issuer, verify
	cert := ""
	if c.Pass && leaf != nil {
		text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
		cert = strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
	}
	for _, h := range []route.Header{{Name: "ssl-client-cert", Value: cert}, {Name: "ssl-client-verify", Value: verify},
		{Name: "ssl-client-subject-dn", Value: subject}, {Name: "ssl-client-issuer-dn", Value: issuer}} {
		if !h1.Cleartext(h.Value) {
			h.Value = "" // nothing, and not the client's own
		}
		x.send = append(x.send, h)
	}
	return true
}

// nameless says that a request without TLS, and so without a certificate, is for a host that
// wants one with a certain name. Without that wish nginx, too, serves it.
func (x *exchange) nameless(host *route.Host) bool {
	return host.Client != nil && host.Client.MatchCN != nil && x.tls == nil
}

func (x *exchange) uncertified(c *route.ClientCert, text string) bool {
	if c.ErrorPage != "" {
		x.redirect(c.ErrorPage, http.StatusFound)
	} else {
		x.fail(http.StatusBadRequest, text)
	}
	return false
}
