package tutorial

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// wrong describes a reply that is not as wanted.
func (r reply) wrong(want string) string {
	return fmt.Sprintf("want %s; got %d %s after %v, %v\n%s", want, r.status, r.problem, r.took.Round(time.Millisecond), r.header, r.text)
}

// seen asks pod green how often it was asked for a path, and for the last request.
func (g *gateway) seen(path string) reply {
	return g.get("http://seen.annotations/seen?path=" + path)
}

func count(r reply) (n int) {
	_, _ = fmt.Sscan(r.line("seen"), &n)
	return n
}

// pods asks n times and counts who answers.
func (a *annotated) pods(g *gateway, n int, url string, headers ...string) (map[string]int, string) {
	by := map[string]int{}
	for range n {
		r := g.get(a.at(url), headers...)
		if r.status != 200 || r.line("pod") == "" {
			return by, r.wrong("200 of a pod")
		}
		by[r.line("pod")]++
	}
	return by, ""
}

// holds says which of the lines text does not hold; "!LINE" must not be there.
func holds(text, lines string) string {
	a := annotated{text: lines}
	return a.compare(reply{status: 200, text: text})
}

func sendTimesOut(a *annotated, g *gateway) string {
	// The pod sleeps before it reads; what it does not read must be more than buffers hold.
	r := g.request("POST", a.at("/sleep?d=15s"), strings.Repeat("x", 40<<20), nil)
	if r.status != 504 || r.took < 900*time.Millisecond || r.took > 12*time.Second { // buffers grow while they fill
		return r.wrong("504 after a second")
	}
	return ""
}

func connectTimesOut(a *annotated, g *gateway) string {
	if r := g.get(a.at("/")); r.status != 504 && r.status != 502 || r.took < 900*time.Millisecond || r.took > 4*time.Second {
		return r.wrong("504 after a second")
	}
	return ""
}

// nextIsAsked: one of three pods is made to answer 503 to /readyz.
func nextIsAsked(a *annotated, g *gateway) string {
	one := annotated{name: "hash-key"} // its requests go to one pod
	say := func(ready string) string {
		if r := g.request("POST", one.at("/readyz?x=1&ready="+ready), "", nil); r.status != 200 {
			return r.wrong("the pod to do as told")
		}
		return ""
	}
	defer say("true")
	if problem := say("false"); problem != "" {
		return problem
	}
	refused := 0
	for range 6 { // of an Ingress without http_503
		if r := g.get("http://sticky.annotations/readyz"); r.status == 503 {
			refused++
		}
	}
	for range 6 {
		if r := g.get(a.at("/readyz")); r.status != 200 {
			return r.wrong("200 of another pod")
		}
	}
	if refused == 0 {
		return "no pod answers 503, so that there is nothing to see"
	}
	return ""
}

// nextTimeEnds: who begins with the endpoint that takes no connection has no time left
// for the other one.
func nextTimeEnds(a *annotated, g *gateway) string {
	var last reply
	for range 4 {
		last = g.get(a.at("/"))
		if last.status >= 500 && last.took > 900*time.Millisecond && last.took < 4*time.Second {
			return ""
		}
	}
	return last.wrong("one of four requests to fail after a second")
}

func ciphersAreChosen(a *annotated, g *gateway) string {
	for suite, want := range map[uint16]bool{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: false} {
		r := g.request("GET", "https://ciphers.annotations/", "", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
		if (r.status == 200) != want || want && r.tls.CipherSuite != suite {
			return tls.CipherSuiteName(suite) + ": " + r.wrong(fmt.Sprint("a handshake: ", want))
		}
	}
	return ""
}

// questionSays looks at the question that pod green was asked about a request.
func questionSays(path, lines string) func(*annotated, *gateway) string {
	return func(_ *annotated, g *gateway) string { return holds(g.seen(path).text, lines) }
}

func answersAreKept(a *annotated, g *gateway) string {
	before := count(g.seen("/cached"))
	key := fmt.Sprint("X-Key: ", time.Now().UnixNano())
	for range 4 {
		if r := g.get(a.at("/"), key); r.status != 200 {
			return r.wrong("200")
		}
	}
	if n := count(g.seen("/cached")) - before; n != 1 {
		return fmt.Sprintf("four requests made %d questions, want 1", n)
	}
	g.get(a.at("/"), key+"0")
	if n := count(g.seen("/cached")) - before; n != 2 {
		return fmt.Sprintf("another key made %d questions, want 2", n)
	}
	return ""
}

func answersAreNotKept(a *annotated, g *gateway) string {
	before := count(g.seen("/cached-not"))
	for range 3 {
		g.get(a.at("/"), "X-Key: k")
	}
	if n := count(g.seen("/cached-not")) - before; n != 3 {
		return fmt.Sprintf("three requests made %d questions, as 200 is not to be kept", n)
	}
	return ""
}

// someAreRefused sends ten requests at once, of which from least to most get through.
func someAreRefused(least, most int) func(*annotated, *gateway) string {
	return func(a *annotated, g *gateway) string {
		replies := together(10, func() reply { return g.get(a.at("/")) })
		ok := 0
		for _, r := range replies {
			switch r.status {
			case 200:
				ok++
			case 503:
			default:
				return r.wrong("200 or 503")
			}
		}
		if ok < least || ok > most {
			time.Sleep(3 * time.Second) // the bucket is still full of the attempts before
			return fmt.Sprintf("%d of 10 got through, want %d to %d", ok, least, most)
		}
		return ""
	}
}

func together(n int, f func() reply) []reply {
	out := make([]reply, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { out[i] = f() })
	}
	wg.Wait()
	return out
}

func connectionsAreCounted(a *annotated, g *gateway) string {
	by := map[int]int{}
	for _, r := range together(5, func() reply { return g.get(a.at("/sleep?d=1s")) }) {
		by[r.status]++
	}
	if by[200] != 2 || by[503] != 3 {
		return fmt.Sprintf("of five at once %v, want 200 for two and 503 for three", by)
	}
	return ""
}

// bandwidthIsBounded: of 64 KiB the second half goes at 32 KiB/s.
func bandwidthIsBounded(a *annotated, g *gateway) string {
	if r := g.request("POST", a.at("/"), strings.Repeat("x", 64<<10), nil); r.status != 200 || len(r.text) < 64<<10 || r.took < 400*time.Millisecond {
		r.text = fmt.Sprint(len(r.text), " octets")
		return r.wrong("64 KiB after a second")
	}
	return ""
}

// copyIs sends a request for /m and looks at the copy that pod green gets.
func copyIs(path, lines string) func(*annotated, *gateway) string {
	return func(a *annotated, g *gateway) string {
		if r := g.request("POST", a.at("/m"), "sent", nil); r.status != 200 || !strings.HasPrefix(r.line("pod"), "blue") || r.line("body") != "sent" {
			return r.wrong("blue's answer")
		}
		return holds(g.seen(path).text, lines)
	}
}

// chunksArrive sends a body in chunks. A gateway that has all of it before it asks the pod
// says how long it is.
func chunksArrive(lines string) func(*annotated, *gateway) string {
	return func(a *annotated, g *gateway) string {
		c, err := net.Dial("tcp", net.JoinHostPort(g.address, "80"))
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "POST /x HTTP/1.1\r\nHost: %s.annotations\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n%s\r\n", a.name, strings.Repeat("x", 20_000))
		time.Sleep(50 * time.Millisecond)
		fmt.Fprintf(c, "4e20\r\n%s\r\n0\r\n\r\n", strings.Repeat("x", 20_000))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err.Error()
		}
		text, _ := io.ReadAll(resp.Body)
		return (&annotated{text: lines}).compare(reply{status: resp.StatusCode, header: resp.Header, text: string(text)})
	}
}

// spanIsSent: the pod gets a trace that is not the client's, and the collector, which is pod
// green, a span of it.
func spanIsSent(a *annotated, g *gateway) string {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r := g.get(a.at("/"), "Traceparent: "+parent)
	if trace := r.line("header Traceparent"); len(trace) != len(parent) || trace[:36] == parent[:36] {
		return r.wrong("a trace of the gateway")
	}
	time.Sleep(2500 * time.Millisecond) // spans go together
	return holds(g.seen("/v1/traces").text, `"name":"told-as-this"`)
}

func (a *annotated) asClient(g *gateway, p *pair) reply {
	config := &tls.Config{}
	if p != nil {
		certificates := p.tls()
		// Sent whatever authorities the gateway names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificates[0], nil }
	}
	return g.request("GET", "https://"+a.name+".annotations/", "", config, "Ssl-Client-Subject-Dn: CN=mallory")
}

// clients says what becomes of a client without a certificate, of one with, and of one
// whose certificate is of another authority: "STATUS" and the beginning of what the pod
// is told of the verification.
func clients(none, good, stranger string) func(*annotated, *gateway) string {
	return func(a *annotated, g *gateway) string {
		for _, c := range []struct {
			who, want string
			pair      *pair
		}{{"nobody", none, nil}, {"a client", good, &g.certs.client}, {"a stranger", stranger, &g.certs.stranger}} {
			r := a.asClient(g, c.pair)
			verify, _, _ := strings.Cut(r.line("header Ssl-Client-Verify"), ":")
			if got := strings.TrimSpace(fmt.Sprint(r.status, " ", verify)); got != c.want {
				return c.who + ": " + r.wrong(c.want)
			}
		}
		return ""
	}
}

func clientIsKnown(a *annotated, g *gateway) string {
	r := a.asClient(g, &g.certs.client)
	if problem := holds(r.text, "header Ssl-Client-Subject-Dn: CN=alice\nheader Ssl-Client-Issuer-Dn: CN=annotations\nheader Ssl-Client-Verify: SUCCESS\n!mallory"); problem != "" {
		return problem
	}
	if cert, err := url.PathUnescape(r.line("header Ssl-Client-Cert")); err != nil || !strings.HasPrefix(g.certs.client.crt, cert) || cert == "" {
		return r.wrong("the certificate")
	}
	return clients("400", "200 SUCCESS", "400")(a, g)
}

// depthSuffices asks with a certificate that an authority in between has issued.
func depthSuffices(ok bool) func(*annotated, *gateway) string {
	return func(a *annotated, g *gateway) string {
		if r := a.asClient(g, &g.certs.deep); (r.status == 200) != ok || !ok && r.status != 400 {
			return r.wrong(fmt.Sprint("to be let in: ", ok))
		}
		return ""
	}
}
