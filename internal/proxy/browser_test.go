package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairway-net/fairway/internal/model"
)

// installed finds a client that is not part of the repository.
func installed(t *testing.T, name string) string {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: apt-get install %s", name, name)
	}
	return file
}

// run runs a client for at most d.
func run(t *testing.T, d time.Duration, input io.Reader, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // browsers have children
	cmd.WaitDelay = time.Second
	var out, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Errorf("%s %q: %v\n%s", name, args, err, &complaints)
	}
	if t.Failed() || out.Len() == 0 {
		t.Logf("%s says %s", name, &complaints)
	}
	return out.String()
}

// TestCurl asks with each version that curl speaks.
func TestCurl(t *testing.T) {
	t.Parallel()
	curl := installed(t, "curl")
	w := newWorld(t)
	w.set(service("a"), slice("a", w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		rw.Header().Set("X-Got", fmt.Sprint(r.Method, " ", r.URL, " ", len(b)))
		rw.Write(b)
	})), ingress("i", "h.example", "/ a"))
	body := strings.Repeat("0123456789abcdef", 1<<16)
	for version, how := range map[string][]string{"1.0": {"--http1.0"}, "1.1": {"--http1.1"}, "2": {"--http2"}, "2 without TLS": {"--http2-prior-knowledge"}} {
		scheme, listener := "https", "https"
		if version == "2 without TLS" {
			scheme, listener = "http", "http"
		}
		port := w.server.Addr(listener).(*net.TCPAddr).Port
		url := fmt.Sprintf("%s://h.example:%d/x?y=z", scheme, port)
		base := append([]string{"-sSk", "-i", "--resolve", fmt.Sprintf("h.example:%d:127.0.0.1", port), "-w", "\n%{http_version} %{http_code}"}, how...)
		number, _, _ := strings.Cut(version, " ")
		number = strings.Replace(number, "1.0", "1.1", 1) // what we answer with
		for what, args := range map[string][]string{
			"GET /x?y=z 0":         {},
			"HEAD /x?y=z 0":        {"--head"},
			"POST /x?y=z 1048576":  {"--data-binary", "@-"},
			"PUT /x?y=z 1048576":   {"-T", "-"},
			"PATCH /x?y=z 1048576": {"-X", "PATCH", "-H", "Expect: 100-continue", "--data-binary", "@-"},
			"OPTIONS /x?y=z 0":     {"-X", "OPTIONS"},
			"DELETE /x?y=z 0":      {"-X", "DELETE"},
		} {
			if version == "1.0" && strings.HasPrefix(what, "PUT") {
				continue // without a length HTTP/1.0 cannot
			}
			out := run(t, 30*time.Second, strings.NewReader(body), curl, append(append(base, args...), url)...)
			if !strings.Contains(strings.ToLower(out), "x-got: "+strings.ToLower(what)+"\r\n") || !strings.HasSuffix(out, "\n"+number+" 200") {
				t.Errorf("HTTP/%s %s: %.600s … %s", version, what, out, out[max(0, len(out)-20):])
			}
			if strings.Contains(what, "1048576") && !strings.Contains(out, body) {
				t.Errorf("HTTP/%s %s: the body did not come back", version, what)
			}
		}
	}
}

// TestChromium opens a page that says which version it came with.
func TestChromium(t *testing.T) {
	chromium := installed(t, "chromium")
	w := newWorld(t, func(o *Options) { o.HTTP3 = true })
	cert := secret(t, "s", "h.example")
	ing := ingress("i", "h.example", "/ a")
	annotate(ing, "ssl-redirect", "false")
	ing.TLS = append(ing.TLS, model.IngressTLS{Hosts: []string{"h.example"}, Secret: "s"})
	w.set(cert, service("a"), slice("a", w.backendFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		io.WriteString(rw, `<body><script>document.body.textContent = "over " + performance.getEntriesByType("navigation")[0].nextHopProtocol</script>`)
	})), ing)
	block, _ := pem.Decode(cert.Data["tls.crt"])
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pin := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	at := func(listener string) string {
		return fmt.Sprint("h.example:", w.server.Addr(listener).(*net.TCPAddr).Port)
	}
	for want, args := range map[string][]string{
		"http/1.1": {"http://" + at("http") + "/"},
		"h2":       {"--disable-quic", "https://" + at("https") + "/"},
		"h3":       {"--origin-to-force-quic-on=" + at("https"), "https://" + at("https") + "/"},
	} {
		home, err := os.MkdirTemp("", "chromium")
		if err != nil {
			t.Fatal(err)
		}
		out := run(t, 2*time.Minute, nil, chromium, append([]string{"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
			"--user-data-dir=" + home, "--host-resolver-rules=MAP * 127.0.0.1", "--ignore-certificate-errors-spki-list=" + base64.StdEncoding.EncodeToString(pin[:]), "--dump-dom"}, args...)...)
		if !strings.Contains(out, "over "+want) {
			t.Errorf("want %s: %s", want, out)
		}
		os.RemoveAll(home)
	}
}
