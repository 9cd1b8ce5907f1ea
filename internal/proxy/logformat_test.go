package proxy

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/testkit"
)

// ingressLog is log-format-upstream of ingress-nginx, but for times, and with more.
const ingressLog = `$remote_addr - $remote_user "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_length [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_status $host $request_uri $scheme $args $server_protocol`

// TestLogLikeNginx: the records of both are the same, with all three ways to escape.
func TestLogLikeNginx(t *testing.T) {
	for _, escape := range []string{"default", "json", "none"} {
		t.Run(escape, func(t *testing.T) {
			var log testkit.Text
			w := &twins{world: newWorld(t, func(o *Options) { o.AccessLog = &AccessLog{To: &log} }), seen: map[string]*sight{}, next: 100}
			main, dead := w.endpoint("main"), "127.0.0.1:"+freePorts(t, 1)[0]
			file := filepath.Join(t.TempDir(), "access.log")
			w.nginx = "127.0.0.1:" + freePorts(t, 1)[0]
			server := func(host, upstream string) string {
				return fmt.Sprintf("  server { listen %s; server_name %s; set $proxy_upstream_name default-%s-80; set $proxy_alternative_upstream_name \"\"; access_log %s up; location / { proxy_http_version 1.1; proxy_buffering off; proxy_pass http://%[3]s; } }\n", w.nginx, host, upstream, file)
			}
			w.runNginx(fmt.Sprintf("  access_log off; log_format up escape=%s '%s';\n  upstream main { server %s; }\n  upstream dead { server %s; }\n%s%s", escape, ingressLog, main, dead, server("log.example", "main"), server("dead.example", "dead")), nil)
			w.set(service("main"), slice("main", netip.MustParseAddrPort(main)), service("dead"), slice("dead", netip.MustParseAddrPort(dead)), ingress("i", "log.example", "/ main"), ingress("j", "dead.example", "/ dead"),
				configMap("fairway-system", "ingress-nginx-controller", "log-format-upstream", ingressLog, "log-format-escape-"+escape, "true"))
			if escape == "default" {
				w.set(configMap("fairway-system", "ingress-nginx-controller", "log-format-upstream", ingressLog))
			}
			asks := []ask{{target: "/x?y=%20z"}, {target: "/", headers: []string{`Referer: http://a/"q"\\`, "User-Agent: a\tä\xff", "Authorization: Basic YWxpY2U6c2VjcmV0"}}, {method: "POST", target: "/?status=404", body: "hello"},
				{method: "HEAD", target: "/"}, {target: "/?status=204"}, {host: "dead.example", target: "/"}}
			for _, a := range asks {
				if a.method == "" {
					a.method = "GET"
				}
				if a.host == "" {
					a.host = "log.example"
				}
				w.send(w.nginx, a, nil)
				w.send(w.server.Addr("http").String(), a, nil)
			}
			var theirs []string
			eventually(t, func() bool {
				b, _ := os.ReadFile(file)
				theirs = strings.Split(string(b), "\n")
				return len(theirs) == len(asks)+1 && strings.Count(log.String(), "\n") == len(asks)
			}, "all is logged")
			ours := strings.Split(log.String(), "\n")
			for i, a := range asks {
				if a.host == "dead.example" { // our page for it has another length
					cut := regexp.MustCompile(`(HTTP/1.1" 502) \d+`)
					theirs[i], ours[i] = cut.ReplaceAllString(theirs[i], "$1"), cut.ReplaceAllString(ours[i], "$1")
				}
				if escape == "json" { // where nginx writes what is no JSON
					theirs[i] = strings.ToValidUTF8(theirs[i], "\ufffd")
				}
				if theirs[i] != ours[i] {
					t.Errorf("%+v:\n%s\nnginx:\n%s", a, ours[i], theirs[i])
				}
			}
		})
	}
}

// TestLogFormat: the format of ingress-nginx, and that of JSON, in effect at once; tries are
// told one by one.
func TestLogFormat(t *testing.T) {
	t.Parallel()
	var log testkit.Text
	w := newWorld(t, func(o *Options) { o.AccessLog = &AccessLog{To: &log} })
	dead := netip.MustParseAddrPort("127.0.0.1:" + freePorts(t, 1)[0])
	good := addrOf(w.backend("a"))
	w.set(service("a"), sliceNamed("a-1", "a", dead), sliceNamed("a-2", "a", good), ingress("i", "h.example", "/ a"), configMap("fairway-system", "ingress-nginx-controller", "log-format-escape-json", "true"))
	w.turnOf(named("a"), dead)
	w.get("http://h.example/x")
	number := `\d+\.\d{3}`
	eventually(t, func() bool { return strings.Count(log.String(), "\n") == 1 }, "the request is logged")
	want := `^127\.0\.0\.1 -  \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /x HTTP/1\.1" 200 \d+ "" "Go-http-client/1\.1" \d+ ` + number + ` \[default-a-80\] \[\] ` +
		regexp.QuoteMeta(dead.String()+", "+good.String()) + ` 0, \d+ ` + number + `, ` + number + ` 502, 200 [0-9a-f]{32}\n$`
	if got := log.String(); !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("got %s\nwant %s", got, want)
	}
	w.set(configMap("fairway-system", "ingress-nginx-controller", "log-format-upstream", `{"status": $status, "path": "$uri", "ingress": "$namespace/$ingress_name", "tls": "$ssl_protocol"}`, "log-format-escape-json", "true"))
	w.get("https://h.example/y")
	eventually(t, func() bool {
		return strings.Contains(log.String(), `{"status": 200, "path": "/y", "ingress": "default/i", "tls": "TLSv1.3"}`+"\n")
	}, "the other format is in effect")
	w.raw("http").send("nonsense\r\n\r\n") // has no plan, and no rule
	eventually(t, func() bool { return strings.Count(log.String(), "\n") == 3 }, "what is no request is logged")
}
