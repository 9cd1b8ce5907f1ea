package proxy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

func pick1[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// fixed asks for one after another.
func fixed(asks ...ask) (func(*rand.Rand) ask, int) {
	i := -1
	return func(*rand.Rand) ask { i++; return asks[i%len(asks)] }, len(asks)
}

func targets(list ...string) (func(*rand.Rand) ask, int) {
	var asks []ask
	for _, t := range list {
		asks = append(asks, ask{target: t})
	}
	return fixed(asks...)
}

// path makes a path of few words, with what servers treat differently in it.
func path(r *rand.Rand, words ...string) string {
	var b strings.Builder
	for range 1 + r.IntN(4) {
		b.WriteString(pick1(r, "/", "/", "/", "/", "//", "/./", "/../"))
		b.WriteString(pick1(r, words...))
	}
	return b.String() + pick1(r, "", "", "/", "?x=1&y=/../a", "?")
}

func (t twin) with(f func(*rand.Rand) ask, n int) twin {
	t.requests, t.n = f, n
	return t
}

// strange says that a path is one that we refuse, or read differently from nginx, on
// purpose: what is escaped there could mean two things to two servers (CanonicalPath).
func strange(a ask, _, ours outcome) bool {
	return ours.status == 400 || strings.Contains(a.target, "%2") || strings.Contains(a.target, "%5") || strings.HasSuffix(a.target, "?")
}

// twinTable has what ingress-nginx would write into nginx.conf for annotations, beside
// the annotations.
func twinTable(auth, copies string) []twin {
	words := []string{"a", "ab", "A", "b", "a.b", "%61", "%2F", "%2e", "", "..", ".", "ä", "%C3%A4", "a;b", "a+b", "a%20b", "~x", "(x)"}
	anyPath := func(r *rand.Rand) ask { return ask{target: path(r, words...)} }
	echoed := func(header string, values ...string) (func(*rand.Rand) ask, int) {
		var asks []ask
		for _, v := range values {
			asks = append(asks, ask{target: "/x?status=302", headers: []string{"X-Answer: " + header + "=" + v}}, ask{target: "/x", headers: []string{"X-Answer: " + header + "=" + v, "X-Answer: " + header + "=second=1"}})
		}
		return fixed(asks...)
	}
	return slicesConcat(routingTwins(words, anyPath), redirectTwins(), guardTwins(auth), combinedTwins(auth), messageTwins(), accelTwins(), responseTwins(echoed, copies))
}

func slicesConcat(lists ...[]twin) (out []twin) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func routingTwins(words []string, anyPath func(*rand.Rand) ask) []twin {
	headers := []string{"X-Forwarded-For: 192.0.2.9", "X-Real-IP: 192.0.2.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example", "X-Forwarded-Port: 1", "X_Under_score: 1", "Proxy: http://evil",
		"Cookie: a=b; c=d", "User-Agent: me/1", "Accept: text/html", "TE: trailers, deflate", "Content-Type: text/plain", "X-Original-Forwarded-For: 192.0.2.7", "X-Original-Forwarded-Host: evil.example", "Authorization: Basic eDp5"}
	return []twin{
		{host: "prefix.example", paths: []string{"Prefix / main", "Prefix /a other", "Prefix /a/b main", "Exact /b other"}, n: 150, requests: anyPath, allow: strange,
			server: "  location / {" + passing + "}\n  location = /a { proxy_pass http://other; }\n  location /a/ { proxy_pass http://other; }\n  location = /a/b {" + passing + "}\n  location /a/b/ {" + passing + "}\n  location = /b { proxy_pass http://other; }\n"},
		// A location is compared letter by letter, and one that ends in a slash redirects to it.
		{host: "text.example", paths: []string{"Text /a main", "Text /ab/ other", "Exact /a/b other"}, n: 150, requests: anyPath, allow: strange,
			server: "  location /a {" + passing + "}\n  location /ab/ { proxy_pass http://other; }\n  location = /a/b { proxy_pass http://other; }\n"},
		// Longest first, not case-sensitive, anchored at the beginning only.
		{host: "regex.example", annotations: []string{"use-regex", "true"}, paths: []string{"Text /a main", "Text /a/b[0-9]+ other", "Text /.*\\.b other", "Text / main"}, n: 150, allow: strange,
			requests: func(r *rand.Rand) ask { return ask{target: path(r, append(words, "b1", "B22", "x.b", "x.B")...)} },
			server:   "  location ~* \"^/a/b[0-9]+\" { proxy_pass http://other; }\n  location ~* \"^/.*\\.b\" { proxy_pass http://other; }\n  location ~* \"^/a\" {" + passing + "}\n  location ~* \"^/\" {" + passing + "}\n"},
		{host: "rewrite.example", annotations: []string{"rewrite-target", "/$2"}, paths: []string{"Text /api(/|$)(.*) main"}, n: 150, allow: strange,
			requests: func(r *rand.Rand) ask {
				return ask{target: pick1(r, "/api", "/API", "/api/", "/apix") + path(r, words...)}
			},
			server: "  location ~* \"^/api(/|$)(.*)\" { rewrite \"(?i)/api(/|$)(.*)\" /$2 break;" + passing + "}\n"},
		{host: "rewritequery.example", annotations: []string{"rewrite-target", "/new?from=$1"}, paths: []string{"Text /old/(.*) main"}, n: 60, allow: strange,
			requests: func(r *rand.Rand) ask { return ask{target: "/old" + path(r, "a", "b", "a+b")} },
			server:   "  location ~* \"^/old/(.*)\" { rewrite \"(?i)/old/(.*)\" /new?from=$1 break;" + passing + "}\n"},
		{host: "headers.example", paths: []string{"Prefix / main"}, n: 100, server: locations("/"),
			requests: func(r *rand.Rand) ask {
				a := ask{method: pick1(r, "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"), target: "/"}
				for range r.IntN(5) {
					a.headers = append(a.headers, pick1(r, headers...))
				}
				if a.method != "GET" && a.method != "HEAD" {
					a.body = strings.Repeat("x", r.IntN(3000))
				}
				return a
			},
			// nginx joins repeated fields differently from version to version; ours have each once.
			allow: func(a ask, _, _ outcome) bool {
				seen := map[string]bool{}
				for _, h := range a.headers {
					if seen[h] {
						return true
					}
					seen[h] = true
				}
				return false
			}},
		twin{host: "alias.example", annotations: []string{"server-alias", "two.alias.example,~^r[0-9]+\\.alias\\.example$"}, paths: []string{"Prefix / main"},
			server: "  server_name alias.example two.alias.example ~^r[0-9]+\\.alias\\.example$;\n" + locations("/")}.
			with(fixed(ask{host: "two.alias.example", target: "/"}, ask{host: "TWO.alias.example", target: "/"}, ask{host: "r12.alias.example", target: "/"}, ask{host: "r.alias.example", target: "/"},
				ask{host: "R1.Alias.Example", target: "/"}, ask{host: "xr1.alias.example", target: "/"}, ask{host: "r1.alias.example.", target: "/"})),
		twin{host: "vhost.example", annotations: []string{"upstream-vhost", "in.example"}, paths: []string{"Prefix / main"},
			server: "  location / { proxy_set_header Host in.example; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port 80; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Scheme $scheme; proxy_set_header X-Scheme $scheme; proxy_set_header Connection \"\"; " + passing + "}\n"}.
			with(targets("/", "/a?b")),
	}
}

func redirectTwins() []twin {
	plain := []string{"/", "/a", "/a?b=c", "/a/b?x=/y", "/a%20b"}
	to := func(host string, annotations []string, server string, list ...string) twin {
		return twin{host: host, annotations: annotations, paths: []string{"Prefix / main"}, server: server}.with(targets(list...))
	}
	return []twin{
		to("permanent.example", []string{"permanent-redirect", "https://new.example$request_uri"}, "  location / { return 301 https://new.example$request_uri; }\n", plain...),
		to("permanentcode.example", []string{"permanent-redirect", "https://new.example/", "permanent-redirect-code", "308"}, "  location / { return 308 https://new.example/; }\n", plain...),
		to("temporal.example", []string{"temporal-redirect", "https://tmp.example", "permanent-redirect", "https://new.example"}, "  location / { return 302 https://tmp.example; }\n", plain...),
		to("tls.example", []string{"force-ssl-redirect", "true"}, "  location / { return 308 https://$host$request_uri; }\n", "/a", "/a?b=c", "/a/b?x=/y", "/a%20b"),
		to("approot.example", []string{"app-root", "/login"}, "  if ($uri = /) { return 302 $scheme://$http_host/login; }\n"+locations("/"), "/", "//", "/?a", "/x", "/."),
		{host: "slash.example", paths: []string{"Text /docs/ main"}, server: locations("/docs/"), n: 5, requests: func() func(*rand.Rand) ask {
			f, _ := targets("/docs", "/docs?a=b", "/docs/", "/docs/x", "/doc")
			return f
		}()},
		{host: "relative.example", annotations: []string{"relative-redirects", "true"}, paths: []string{"Text /docs/ main"}, server: "  absolute_redirect off;\n" + locations("/docs/"), n: 3, requests: func() func(*rand.Rand) ask {
			f, _ := targets("/docs", "/docs?a=b", "/docs/")
			return f
		}()},
		{host: "bare.example", annotations: []string{"from-to-www-redirect", "true"}, paths: []string{"Prefix / main"},
			server: locations("/") + "  }\n  server { listen NGINX; server_name www.bare.example; return 308 $scheme://bare.example$request_uri;\n", n: 4, requests: func() func(*rand.Rand) ask {
				f, _ := fixed(ask{host: "www.bare.example", target: "/a?b"}, ask{host: "www.bare.example", target: "/x"}, ask{target: "/"}, ask{host: "x.bare.example", target: "/"})
				return f
			}()},
	}
}

func guardTwins(auth string) []twin {
	authURL := "http://" + auth
	checked := func(extra string) string {
		return `  location = /_check { internal; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header Host ` + auth + `; proxy_set_header X-Original-URL $scheme://$http_host$request_uri; proxy_set_header X-Original-Method $request_method; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $remote_addr; proxy_pass http://auth$check; }
  location / { set $check /x?status=$arg_auth; auth_request /_check; auth_request_set $user $upstream_http_x_user; proxy_set_header X-User $user; ` + extra + ` proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port 80; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Scheme $scheme; proxy_set_header X-Scheme $scheme; proxy_set_header Connection ""; ` + passing + "}\n"
	}
	// What the question looks like is compared by status and by what the endpoint gets.
	onlyMain := func(_ ask, theirs, ours outcome) bool {
		delete(theirs.seen, "auth")
		delete(ours.seen, "auth")
		return false
	}
	checks := func(r *rand.Rand) ask {
		return ask{method: pick1(r, "GET", "POST"), target: "/p?auth=" + fmt.Sprint(pick1(r, 200, 201, 204, 401, 403, 404, 500, 302)), headers: []string{"X-Answer: X-User=alice", "X-User: mallory"}, body: pick1(r, "", "body")}
	}
	one := func(host string, annotations []string, inside string, asks ...ask) twin {
		return twin{host: host, annotations: annotations, paths: []string{"Prefix / main"}, server: "  location / { " + inside + passing + "}\n"}.with(fixed(asks...))
	}
	var sizes []ask
	for _, n := range []int{0, 1, 1023, 1024, 1025, 5000} {
		sizes = append(sizes, ask{method: "POST", target: "/", body: strings.Repeat("x", n)})
	}
	return []twin{
		one("allowed.example", []string{"allowlist-source-range", "192.0.2.0/24"}, "allow 192.0.2.0/24; deny all; ", ask{target: "/"}),
		one("allowedus.example", []string{"whitelist-source-range", "127.0.0.0/8,192.0.2.1"}, "allow 127.0.0.0/8; allow 192.0.2.1; deny all; ", ask{target: "/"}),
		one("denied.example", []string{"denylist-source-range", "127.0.0.1"}, "deny 127.0.0.1; ", ask{target: "/"}, ask{method: "POST", target: "/", body: "x"}),
		one("size.example", []string{"proxy-body-size", "1k"}, "client_max_body_size 1k; ", sizes...),
		one("nosize.example", []string{"proxy-body-size", "0"}, "client_max_body_size 0; ", ask{method: "POST", target: "/", body: strings.Repeat("x", 2<<20)}),
		one("anysize.example", nil, "", ask{method: "POST", target: "/", body: strings.Repeat("x", 1<<20)}, ask{method: "POST", target: "/", body: strings.Repeat("x", 1<<20+1)}),
		one("basic.example", []string{"auth-type", "basic", "auth-secret", "users", "auth-realm", "Staff"}, "auth_basic \"Staff\"; auth_basic_user_file users; proxy_set_header Authorization \"\"; proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port 80; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Scheme $scheme; proxy_set_header X-Scheme $scheme; proxy_set_header Connection \"\"; ",
			ask{target: "/"}, ask{target: "/", headers: []string{"Authorization: Basic YWxpY2U6c2VjcmV0"}}, ask{target: "/", headers: []string{"Authorization: basic YWxpY2U6c2VjcmV0"}}, ask{target: "/", headers: []string{"Authorization: Basic YWxpY2U6d3Jvbmc="}},
			ask{target: "/", headers: []string{"Authorization: Basic bm9ib2R5OnNlY3JldA=="}}, ask{target: "/", headers: []string{"Authorization: Basic %"}}, ask{target: "/", headers: []string{"Authorization: Bearer x"}}),
		{host: "auth.example", annotations: []string{"auth-url", authURL + "/x?status=$arg_auth", "auth-response-headers", "X-User"}, paths: []string{"Prefix / main"}, server: checked(""), n: 40, requests: checks, allow: onlyMain},
		one("timeout.example", []string{"proxy-read-timeout", "1", "proxy-next-upstream-tries", "1"}, "proxy_read_timeout 1s; ", ask{target: "/?sleep=3s"}, ask{target: "/?sleep=10ms"}),
		{host: "halfdead.example", paths: []string{"Prefix / halfdead"}, server: "  location / { proxy_pass http://halfdead; }\n", n: 12, requests: func(r *rand.Rand) ask {
			return ask{method: pick1(r, "GET", "POST"), target: "/", body: pick1(r, "", "x")}
		}},
		{host: "rate.example", annotations: []string{"limit-rps", "2"}, paths: []string{"Prefix / main"}, server: "  location / { limit_req zone=rate burst=10 nodelay; " + passing + "}\n", n: 1, requests: func(*rand.Rand) ask { return ask{target: "/"} }},
	}
}

// combinedTwins have guards of several kinds, and pods that are not well.
func combinedTwins(auth string) []twin {
	const users = "auth_basic \"Staff\"; auth_basic_user_file users; "
	const forwarded = "proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port 80; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Scheme $scheme; proxy_set_header X-Scheme $scheme; proxy_set_header Connection \"\"; "
	const alice, wrong = "Authorization: Basic YWxpY2U6c2VjcmV0", "Authorization: Basic YWxpY2U6d3Jvbmc="
	passwords := func(more ...string) []string {
		return append([]string{"auth-type", "basic", "auth-secret", "users", "auth-realm", "Staff"}, more...)
	}
	one := func(host string, annotations []string, inside string, asks ...ask) twin {
		return twin{host: host, annotations: annotations, paths: []string{"Prefix / main"}, server: "  location / { " + inside + passing + "}\n"}.with(fixed(asks...))
	}
	both := []ask{{target: "/"}, {target: "/", headers: []string{alice}}, {target: "/", headers: []string{wrong}}, {method: "POST", target: "/", body: "x"}}
	mixed := func(host string, annotations []string, words string, methods ...string) twin {
		return twin{host: host, annotations: annotations, paths: []string{"Prefix / halfill"}, n: 12, server: "  location / { proxy_next_upstream " + words + "; proxy_pass http://halfill; }\n",
			requests: func(r *rand.Rand) ask { return ask{method: pick1(r, methods...), target: "/"} }}
	}
	return []twin{
		one("anyaddress.example", passwords("satisfy", "any", "allowlist-source-range", "127.0.0.0/8"), "satisfy any; allow 127.0.0.0/8; deny all; proxy_set_header Authorization \"\"; "+forwarded+users, both...),
		one("anypassword.example", passwords("satisfy", "any", "allowlist-source-range", "192.0.2.0/24"), "satisfy any; allow 192.0.2.0/24; deny all; proxy_set_header Authorization \"\"; "+forwarded+users, both...),
		one("allboth.example", passwords("allowlist-source-range", "127.0.0.0/8"), "allow 127.0.0.0/8; deny all; proxy_set_header Authorization \"\"; "+forwarded+users, both...),
		one("allnone.example", passwords("allowlist-source-range", "192.0.2.0/24"), "allow 192.0.2.0/24; deny all; proxy_set_header Authorization \"\"; "+forwarded+users, both...),
		{host: "sign.example", annotations: []string{"auth-url", "http://" + auth + "/x?status=$arg_auth", "auth-signin", "https://sign.example/start?rd=$request_uri"}, paths: []string{"Prefix / main"}, n: 6,
			server: `  location = /_check { internal; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header Host ` + auth + `; proxy_pass http://auth$check; }
  location @sign { internal; return 302 https://sign.example/start?rd=$request_uri; }
  location / { set $check /x?status=$arg_auth; auth_request /_check; error_page 401 = @sign; ` + forwarded + passing + "}\n",
			requests: func() func(*rand.Rand) ask {
				f, _ := targets("/a?auth=200", "/a?auth=401", "/a/b?auth=403", "/?auth=500", "/x?auth=401&y=/z", "/a?auth=204&status=401")
				return f
			}(), allow: func(_ ask, theirs, ours outcome) bool {
				delete(theirs.seen, "auth")
				delete(ours.seen, "auth")
				return false
			}},
		mixed("nextstatus.example", []string{"proxy-next-upstream", "error http_503"}, "error http_503", "GET", "PUT", "DELETE", "HEAD"),
		mixed("nextall.example", []string{"proxy-next-upstream", "error http_503 non_idempotent"}, "error http_503 non_idempotent", "GET", "POST", "PATCH"),
		one("conns.example", []string{"limit-connections", "2"}, "limit_conn conns 2; ", ask{target: "/"}),
		one("snippetadd.example", []string{"configuration-snippet", "add_header X-Custom yes;"}, "add_header X-Custom yes; ", ask{target: "/"}, ask{target: "/?status=404"}, ask{target: "/?status=500"}, ask{target: "/?status=302"}),
		one("snippetalways.example", []string{"configuration-snippet", "add_header X-Custom \"a; $request_method\" always;"}, "add_header X-Custom \"a; $request_method\" always; ", ask{target: "/"}, ask{method: "POST", target: "/?status=404"}, ask{target: "/?status=500"}),
		one("snippethide.example", []string{"configuration-snippet", "proxy_hide_header Etag;"}, "proxy_hide_header Etag; ", ask{target: "/", headers: []string{"X-Answer: Etag=x"}}, ask{target: "/?status=404", headers: []string{"X-Answer: Etag=x"}}),
		one("snippetdeny.example", []string{"configuration-snippet", "deny 127.0.0.1;"}, "deny 127.0.0.1; ", ask{target: "/"}),
		twin{host: "snippetreturn.example", annotations: []string{"configuration-snippet", "return 302 https://new.example$request_uri;"}, paths: []string{"Prefix / main"}, server: "  location / { return 302 https://new.example$request_uri; }\n"}.with(targets("/a?b", "/")),
		twin{host: "snippetcode.example", annotations: []string{"configuration-snippet", "return 410;"}, paths: []string{"Prefix / main"}, server: "  location / { return 410; }\n"}.with(targets("/a?b", "/")),
	}
}

// messageTwins have nothing of their own: what counts is how messages pass.
func messageTwins() []twin {
	headers := []string{"Range: bytes=0-1", "If-None-Match: \"x\"", "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT", "Accept-Encoding: gzip", "Content-Encoding: br", "Referer: http://a/", "Origin: https://b",
		"X-Answer: Etag=\"x\"", "X-Answer: Last-Modified=Mon, 01 Jan 2024 00:00:00 GMT", "X-Answer: X-Twice=1", "X-Answer: X-Twice=2", "X-Answer: Cache-Control=no-store", "X-Answer: Vary=Accept", "X-Answer: Retry-After=3", "X-Answer: Allow=GET"}
	return []twin{
		{host: "messages.example", paths: []string{"Prefix / main"}, server: locations("/"), n: 150, requests: func(r *rand.Rand) ask {
			a := ask{method: pick1(r, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-OWN"), target: pick1(r, "/", "/?status=204", "/?status=404", "/?status=500", "/?status=206", "/?status=401", "/a%20b?x=%2F&y=a+b", "http://messages.example/abs?x=y")}
			for _, h := range headers {
				if r.IntN(4) == 0 {
					a.headers = append(a.headers, h)
				}
			}
			if a.method == "POST" || a.method == "PUT" || a.method == "PATCH" || a.method == "DELETE" {
				a.body, a.chunked = strings.Repeat("y", 1+r.IntN(9000)), r.IntN(2) == 0
				if r.IntN(4) == 0 {
					a.headers = append(a.headers, "Expect: 100-continue")
				}
			}
			return a
		}},
	}
}

// accelTwins have pods that say to nginx what to do.
func accelTwins() []twin {
	also := []string{"Content-Type", "Content-Disposition", "Cache-Control", "Expires", "Accept-Ranges", "X-Accel-Redirect", "X-Accel-Expires", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset", "X-Accel-Other"}
	var said []ask
	for _, h := range []string{"X-Accel-Expires=10", "X-Accel-Limit-Rate=100000", "X-Accel-Limit-Rate=no", "X-Accel-Buffering=no", "X-Accel-Charset=koi8-r", "X-Accel-Other=1"} {
		said = append(said, ask{target: "/", headers: []string{"X-Answer: " + h}}, ask{target: "/", headers: []string{"X-Answer: " + h, "X-Answer: Content-Type=text/html"}})
	}
	extra := []string{"X-Answer: Set-Cookie=a=b", "X-Answer: Content-Disposition=inline", "X-Answer: Cache-Control=private", "X-Answer: Expires=Thu, 01 Jan 1970 00:00:01 GMT", "X-Answer: Etag=\"x\""}
	var sent []ask
	for _, target := range []string{"/?accel=/other/x", "/a?accel=/other/%2561?b%26c", "/?accel=/other/x&status=500", "/?accel=/other/y%3Fstatus%3D404", "/?accel=/%3Faccel%3D/other/z", "/?accel=/none/x"} {
		sent = append(sent, ask{target: target}, ask{method: "HEAD", target: target}, ask{method: "POST", target: target, body: "body"}, ask{target: target, headers: extra})
	}
	sent = append(sent, ask{method: "PUT", target: "/?accel=/other/x", body: strings.Repeat("y", 200_000), chunked: true})
	bodiless := func(a ask, theirs, _ outcome) bool { // nginx sends the body on, with the GET
		for who, s := range theirs.seen {
			if s.method == "GET" {
				theirs.seen[who].body = ""
			}
		}
		return false
	}
	return []twin{
		twin{host: "accel.example", paths: []string{"Prefix / main"}, server: locations("/"), also: also}.with(fixed(said...)),
		twin{host: "accelredirect.example", paths: []string{"Prefix / main", "Prefix /other other"}, server: "  location /other/ { proxy_pass http://other; }\n" + locations("/"), also: also, allow: bodiless}.with(fixed(sent...)),
	}
}

func responseTwins(echoed func(string, ...string) (func(*rand.Rand) ask, int), copies string) []twin {
	one := func(host string, annotations []string, inside string) twin {
		return twin{host: host, annotations: annotations, paths: []string{"Prefix / main"}, server: "  location / { " + inside + passing + "}\n"}
	}
	cookies := []string{"a=b; Path=/one/x; Domain=in.example", "a=b; path=/one", "a=b; Path=/two/x; Domain=.IN.example; Secure", "a=b; Domain=www.in.example; HttpOnly", "a=b", "a=b;Path=/one;Domain=in.example", "a=b; Max-Age=3; Path=/"}
	places := []string{"http://in.example/x?y", "http://in.example:8080/x", "https://other.example/", "/relative", "http://h1.in.example/z"}
	cors := `add_header Access-Control-Allow-Origin "*" always; add_header Access-Control-Allow-Credentials "true" always; add_header Access-Control-Allow-Methods "GET, PUT, POST, DELETE, PATCH, OPTIONS" always; add_header Access-Control-Allow-Headers "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization" always; add_header Access-Control-Max-Age 1728000 always; `
	return []twin{
		one("cookiepath.example", []string{"proxy-cookie-path", "/one /uno"}, "proxy_cookie_path /one /uno; ").with(echoed("Set-Cookie", cookies...)),
		one("cookiepathregex.example", []string{"proxy-cookie-path", "~*^/ONE/?(.*)$ /uno/$1"}, "proxy_cookie_path \"~*^/ONE/?(.*)$\" /uno/$1; ").with(echoed("Set-Cookie", cookies...)),
		one("cookiepathpart.example", []string{"proxy-cookie-path", "~on /x"}, "proxy_cookie_path ~on /x; ").with(echoed("Set-Cookie", cookies...)),
		one("cookieflags.example", []string{"proxy-cookie-path", "/ \"/; HttpOnly; SameSite=strict\""}, "proxy_cookie_path / \"/; HttpOnly; SameSite=strict\"; ").with(echoed("Set-Cookie", cookies...)),
		one("cookiedomain.example", []string{"proxy-cookie-domain", "in.example out.example"}, "proxy_cookie_domain in.example out.example; ").with(echoed("Set-Cookie", cookies...)),
		one("cookiedomainregex.example", []string{"proxy-cookie-domain", "~\\.?([a-z]+)\\.example$ $1.test"}, "proxy_cookie_domain \"~\\.?([a-z]+)\\.example$\" $1.test; ").with(echoed("Set-Cookie", cookies...)),
		one("cookiedomainhost.example", []string{"proxy-cookie-domain", "in.example $host"}, "proxy_cookie_domain in.example $host; ").with(echoed("Set-Cookie", cookies...)),
		one("location.example", []string{"proxy-redirect-from", "http://in.example/", "proxy-redirect-to", "https://$host/"}, "proxy_redirect http://in.example/ https://$host/; ").with(echoed("Location", places...)),
		one("locationregex.example", []string{"proxy-redirect-from", "~^http://([^:/]+)(:[0-9]+)?(/.*)$", "proxy-redirect-to", "https://$1$3"}, "proxy_redirect ~^http://([^:/]+)(:[0-9]+)?(/.*)$ https://$1$3; ").with(echoed("Location", places...)),
		one("locationcase.example", []string{"proxy-redirect-from", "~*HTTP://IN", "proxy-redirect-to", "/all"}, "proxy_redirect ~*HTTP://IN /all; ").with(echoed("Location", places...)),
		one("refresh.example", []string{"proxy-redirect-from", "http://in.example/", "proxy-redirect-to", "/"}, "proxy_redirect http://in.example/ /; ").with(echoed("Refresh", "5; url=http://in.example/x", "5", "5; url=http://other.example/")),
		one("custom.example", []string{"custom-headers", "default/custom"}, "add_header X-Custom yes always; proxy_hide_header X-Custom; ").with(fixed(ask{target: "/"}, ask{target: "/?status=500"}, ask{target: "/", headers: []string{"X-Answer: X-Custom=no"}})),
		one("hidden.example", nil, "proxy_hide_header X-Hidden; ").with(fixed(ask{target: "/", headers: []string{"X-Answer: X-Hidden=1"}})),
		one("cors.example", []string{"enable-cors", "true"}, "if ($request_method = OPTIONS) { "+cors+" return 204; } proxy_hide_header Access-Control-Allow-Origin; "+cors).with(fixed(
			ask{target: "/", headers: []string{"Origin: https://a.example"}}, ask{target: "/?status=404", headers: []string{"Origin: https://a.example"}}, ask{method: "OPTIONS", target: "/", headers: []string{"Origin: https://a.example"}},
			ask{target: "/", headers: []string{"Origin: https://a.example", "X-Answer: Access-Control-Allow-Origin=https://pod.example"}})),
		{host: "pages.example", annotations: []string{"custom-http-errors", "404,503", "default-backend", "pages"}, paths: []string{"Prefix / main"},
			server: "  proxy_intercept_errors on; error_page 404 = @404; error_page 503 = @503;\n" + locations("/") + errorLocation(404) + errorLocation(503), n: 9, requests: func() func(*rand.Rand) ask {
				f, _ := fixed(ask{target: "/?status=404"}, ask{target: "/?status=503"}, ask{target: "/?status=500"}, ask{target: "/?status=200"}, ask{target: "/x"}, ask{target: "/?status=403"},
					ask{method: "HEAD", target: "/?status=404"}, ask{method: "POST", target: "/?status=404"}, ask{method: "DELETE", target: "/?status=503"})
				return f
			}(), allow: func(_ ask, theirs, ours outcome) bool {
				for _, o := range []outcome{theirs, ours} { // who asks is in our own headers; and the page's query is the request's
					if s := o.seen["pages"]; s != nil {
						for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Scheme", "X-Real-Ip", "X-Forwarded-For", "X-Original-Forwarded-For", "X-Original-Forwarded-Host", "Connection", "User-Agent"} {
							s.header.Del(name)
						}
						s.path, s.query = "", ""
					}
				}
				return false
			}},
		{host: "mirror.example", annotations: []string{"mirror-target", "http://" + copies + "$request_uri"}, paths: []string{"Prefix / main"},
			server: "  location = /_mirror { internal; proxy_set_header Host " + copies + "; proxy_pass http://copies$request_uri; }\n  location / { mirror /_mirror; mirror_request_body on; " + passing + "}\n", n: 4,
			requests: func() func(*rand.Rand) ask {
				f, _ := fixed(ask{target: "/a?b=c"}, ask{method: "POST", target: "/x", body: "copied"}, ask{method: "PUT", target: "/a%20b", body: strings.Repeat("y", 5000)}, ask{method: "DELETE", target: "/"})
				return f
			}(), allow: func(_ ask, theirs, ours outcome) bool {
				for _, o := range []outcome{theirs, ours} {
					if s := o.seen["copies"]; s != nil {
						s.header = nil
					}
				}
				time.Sleep(time.Millisecond)
				return false
			}},
	}
}

func errorLocation(code int) string {
	return fmt.Sprintf("  location @%d { internal; proxy_intercept_errors off; proxy_set_header X-Code %[1]d; proxy_set_header X-Format $http_accept; proxy_set_header X-Original-URI $request_uri; proxy_set_header X-Namespace default; proxy_set_header X-Ingress-Name pages-example; proxy_set_header X-Service-Name main; proxy_set_header X-Service-Port 80; proxy_set_header Host $http_host; rewrite ^ / break; proxy_pass http://pages; }\n", code)
}
