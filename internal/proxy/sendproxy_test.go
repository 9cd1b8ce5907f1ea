package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairway-net/fairway/internal/dialect/fairway"
)

// TestProxyProtocolToEndpoints: nginx reads the header, over HTTP/1, HTTP/2 and TLS, and
// sees each client, whoever else has just asked.
func TestProxyProtocolToEndpoints(t *testing.T) {
	t.Parallel()
	w := &twins{world: newWorld(t)}
	var addrs []string
	for range 4 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		l.Close()
	}
	w.nginx = addrs[0]
	cert := secret(t, "tls", "h.example")
	// The first port is for who waits until nginx is there, and sends no header.
	w.runNginx(fmt.Sprintf(`
  access_log off;
  server {
    listen %s; listen %s proxy_protocol; listen %s http2 proxy_protocol; listen %s ssl proxy_protocol;
    ssl_certificate crt.pem; ssl_certificate_key key.pem;
    location / { return 200 "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port $server_protocol $connection"; }
  }
`, addrs[0], addrs[1], addrs[2], addrs[3]), map[string]string{"crt.pem": string(cert.Data["tls.crt"]), "key.pem": string(cert.Data["tls.key"])})

	for i, protocol := range []string{"", "kubernetes.io/h2c", "https"} {
		for _, version := range []string{"v1", "v2"} {
			name := fmt.Sprint("s", i, version)
			svc := service(name)
			svc.Ports[0].AppProtocol = protocol
			svc.Annotations = map[string]string{fairway.Prefix + "proxy-protocol": version, fairway.Prefix + "health-check": "/"}
			w.set(svc, slice(name, netip.MustParseAddrPort(addrs[i+1])), ingress(name, name+".example", "/ "+name))
			seen := map[string]bool{}
			for n := range 4 {
				var local atomic.Value
				client := &http.Client{Transport: &http.Transport{Dial: func(_, _ string) (net.Conn, error) {
					c, err := net.Dial("tcp", w.server.Addr("http").String())
					if err == nil {
						local.Store(c.LocalAddr().String())
					}
					return c, err
				}}}
				for range 2 { // the second on the same connection
					resp, err := client.Get("http://" + name + ".example/")
					if err != nil {
						t.Fatal(err)
					}
					body, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					want := fmt.Sprintf("%s %s HTTP/", local.Load(), w.server.Addr("http"))
					if text := string(body); resp.StatusCode != 200 || !strings.HasPrefix(text, want) {
						t.Errorf("%s, client %d: %d %q, want %q", name, n, resp.StatusCode, text, want)
					}
					if seen[string(body)] {
						t.Errorf("%s: a connection was used twice: %s", name, body)
					}
					seen[string(body)] = true
				}
				client.CloseIdleConnections()
			}
		}
	}
	// A connection without the header is what these ports refuse: the checks have one.
	c := fairway.Defaults().Check
	c.Path = "/"
	for version, well := range []bool{false, true, true} {
		if err := asks(addrs[1], c, "http", version)(t.Context()); (err == nil) != well {
			t.Errorf("check with version %d: %v", version, err)
		}
	}
}

// TestProxyProtocolNamesTheClient whom a load balancer in front has named.
func TestProxyProtocolNamesTheClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.ProxyProtocol = true })
	heads := make(chan string, 10)
	backend := listening(t, func(c net.Conn) {
		var head []byte
		for b := make([]byte, 4096); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
			n, err := c.Read(b)
			if head = append(head, b[:n]...); err != nil {
				break
			}
		}
		heads <- string(head)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	svc := service("a")
	svc.Annotations = map[string]string{fairway.Prefix + "proxy-protocol": "v1"}
	w.set(svc, slice("a", backend), ingress("i", "h", "/ a"))
	for said, want := range map[string]string{
		"PROXY TCP4 192.0.2.7 198.51.100.9 4711 80\r\n": "PROXY TCP4 192.0.2.7 198.51.100.9 4711 80\r\nGET / HTTP/1.1\r\n",
		"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n":    "PROXY TCP6 2001:0db8:0000:0000:0000:0000:0000:0001 2001:0db8:0000:0000:0000:0000:0000:0002 1 2\r\nGET / HTTP/1.1\r\n",
	} {
		c := w.dial("http")
		defer c.Close()
		fmt.Fprintf(c, "%sGET / HTTP/1.1\r\nHost: h\r\n\r\n", said)
		if got := <-heads; !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
