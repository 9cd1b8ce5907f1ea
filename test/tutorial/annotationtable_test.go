package tutorial

import "strings"

// authURL asks pod green, which answers with the status of the path.
const authURL = "auth-url http://green.default.svc.cluster.local/status/"

const passwords = "auth-type basic\nauth-secret annotation-users\nauth-secret-type auth-map\n"

// annotationCases have every annotation that has an effect, and requests that show it.
func annotationCases() []annotated {
	var all []annotated
	for _, group := range [][]annotated{rewriteCases, podCases, choiceCases, guardCases, certificateCases, responseCases, optionCases} {
		all = append(all, group...)
	}
	return all
}

var rewriteCases = []annotated{
	{name: "rewrite", annotations: "rewrite-target /$2\nx-forwarded-prefix /api", path: "/api(/|$)(.*)", kind: "ImplementationSpecific", url: "/api/cart?x=y", text: "path: /cart\nquery: x=y\nheader X-Forwarded-Prefix: /api"},
	{name: "regex", annotations: "use-regex true", path: "/v[0-9]+", kind: "ImplementationSpecific", url: "/V12/x", text: "path: /V12/x"},
	{name: "app-root", annotations: "app-root /login", status: 302, response: "Location: http://app-root.annotations/login"},
	{name: "tls-on", tls: true, url: "/x", status: 308, response: "Location: https://tls-on.annotations/x"},
	{name: "tls-off", tls: true, annotations: "ssl-redirect false", url: "/x", text: "pod: blue"},
	{name: "tls-forced", annotations: "force-ssl-redirect true\npreserve-trailing-slash true", url: "/x/", status: 308, response: "Location: https://tls-forced.annotations/x/"},
	{name: "tls-port", annotations: "force-ssl-redirect true\nuse-port-in-redirects true", url: "/x", status: 308, response: "Location: https://tls-port.annotations:443/x"},
	{name: "permanent", annotations: "permanent-redirect https://new.example$request_uri\npermanent-redirect-code 308", url: "/a?b", status: 308, response: "Location: https://new.example/a?b"},
	{name: "temporal", annotations: "temporal-redirect https://new.example/\ntemporal-redirect-code 307", status: 307, response: "Location: https://new.example/"},
	{name: "relative", annotations: "relative-redirects true", path: "/docs/", kind: "ImplementationSpecific", url: "/docs", status: 301, response: "Location: /docs/"},
	{name: "short", annotations: "from-to-www-redirect true", url: "http://www.short.annotations/x", status: 308, response: "Location: http://short.annotations/x"},
	{name: "alias", annotations: "server-alias other.alias.annotations", url: "http://other.alias.annotations/", text: "pod: blue"},
}

var podCases = []annotated{
	{name: "read", annotations: "proxy-read-timeout 1\nproxy-next-upstream-tries 1", url: "/sleep?d=3s", status: 504},
	{name: "send", annotations: "proxy-send-timeout 1\nproxy-body-size 0", effect: sendTimesOut},
	{name: "connect", service: "shut", annotations: "proxy-connect-timeout 1", effect: connectTimesOut},
	{name: "next", service: "many", annotations: "proxy-next-upstream error http_503\nproxy-next-upstream-tries 3", effect: nextIsAsked},
	{name: "next-time", service: "half-shut", annotations: "proxy-connect-timeout 1\nproxy-next-upstream-timeout 1", effect: nextTimeEnds},
	{name: "held", annotations: "proxy-request-buffering on\nclient-body-buffer-size 32k", effect: chunksArrive("header Content-Length: 40000")},
	{name: "held-not", annotations: "proxy-request-buffering off", effect: chunksArrive("!header Content-Length")},
	{name: "taken", annotations: "proxy-buffering on\nproxy-buffers-number 8\nproxy-buffer-size 8k\nproxy-max-temp-file-size 64m", method: "POST", body: 500_000, text: "pod: blue\nbody: " + strings.Repeat("x", 5000)},
	{name: "body", annotations: "proxy-body-size 1k", method: "POST", body: 1025, status: 413},
	{name: "body-fits", annotations: "proxy-body-size 1k", method: "POST", body: 1024, text: "body: xxx"},
	{name: "vhost", annotations: "upstream-vhost $service_name.internal", text: "host: blue.internal"},
	{name: "unlogged", annotations: "enable-access-log false", text: "pod: blue"}, // see testAccessLog
	{name: "protocol", service: "secure", annotations: "backend-protocol HTTPS", text: "tls: TLS 1.3\npod: many"},
	{name: "script", service: "script", annotations: "backend-protocol FCGI\nfastcgi-index index.php\nfastcgi-params-configmap annotation-params", method: "POST", body: 3, url: "/x/?y", text: "pod: many\nmethod: POST\npath: /x/\nquery: y\nheader X-Given: yes\nbody: xxx"},
	{name: "script-not", annotations: "backend-protocol FCGI\nfastcgi-params-configmap absent", status: 503},
	{name: "protocol-not", service: "secure", annotations: "backend-protocol HTTP", status: 400, text: "HTTP request to an HTTPS server"},
	{name: "pod-name", service: "secure", annotations: "backend-protocol HTTPS\nproxy-ssl-verify on\nproxy-ssl-server-name on\nproxy-ssl-name pods.internal\nproxy-ssl-secret annotation-client", text: "tls server name: pods.internal\ntls client: CN=alice"},
	{name: "pod-name-not", service: "secure", annotations: "backend-protocol HTTPS\nproxy-ssl-verify on\nproxy-ssl-name other.internal\nproxy-ssl-secret annotation-client", status: 502},
	{name: "pod-depth", service: "secure", annotations: "backend-protocol HTTPS\nproxy-ssl-verify on\nproxy-ssl-verify-depth 0\nproxy-ssl-name pods.internal\nproxy-ssl-secret annotation-client", text: "tls: TLS"},
	{name: "pod-tls", service: "secure", annotations: "backend-protocol HTTPS\nproxy-ssl-protocols TLSv1.2\nproxy-ssl-ciphers ECDHE-ECDSA-CHACHA20-POLY1305", text: "tls: TLS 1.2\ntls cipher: TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
	{name: "ciphers", tls: true, annotations: "ssl-ciphers ECDHE-ECDSA-AES128-GCM-SHA256", effect: ciphersAreChosen},
	{name: "passthrough", service: "secure", annotations: "ssl-passthrough true", url: "https://passthrough.annotations/x", text: "tls: TLS 1.3\ntls server name: passthrough.annotations\npath: /x"},
	{name: "cluster-ip", annotations: "service-upstream true", text: "pod: blue"},
	{name: "cluster-ip-nobody", service: "nobody", annotations: "service-upstream true", status: 502}, // refused by the Service
	{name: "pods-nobody", service: "nobody", status: 503},
}

var choiceCases = []annotated{
	{name: "ewma", service: "mixed", annotations: "load-balance ewma", effect: lateIsAvoided},
	{name: "hash", service: "many", annotations: "upstream-hash-by $request_uri", effect: hashGoesToOne},
	{name: "hash-key", service: "many", annotations: "upstream-hash-by $arg_x", url: "/?x=1", text: "pod: many"},
	{name: "hash-some", service: "many", annotations: "upstream-hash-by $arg_x\nupstream-hash-by-subset true\nupstream-hash-by-subset-size 2", effect: hashGoesToTwo},
	{name: "sticky", service: "many", annotations: "affinity cookie\naffinity-mode persistent\nsession-cookie-name route\nsession-cookie-path /x\nsession-cookie-max-age 60\nsession-cookie-expires 60\nsession-cookie-samesite Lax\n" +
		"session-cookie-secure true\nsession-cookie-domain sticky.annotations", effect: cookieSticks},
	{name: "sticky-none", annotations: "affinity cookie\nsession-cookie-samesite None\nsession-cookie-conditional-samesite-none true", effect: noneIsConditional},
	{name: "sticky-keep", service: "half-keep", annotations: "affinity cookie\nsession-cookie-change-on-failure false", effect: failureKeepsCookie},
	{name: "sticky-change", service: "half-change", annotations: "affinity cookie\nsession-cookie-change-on-failure true", effect: failureChangesCookie},
	{name: "stay", annotations: "affinity cookie\naffinity-canary-behavior sticky", effect: canaryStays},
	{name: "stay-of", host: "stay.annotations", annotations: "canary true\ncanary-by-header X-Canary", service: "green", headers: "X-Canary: always", text: "pod: green"},
	{name: "leave", annotations: "affinity cookie\naffinity-canary-behavior legacy", effect: canaryLeaves},
	{name: "leave-of", host: "leave.annotations", annotations: "canary true\ncanary-by-header X-Canary", service: "green", headers: "X-Canary: always", text: "pod: green"},
	{name: "canary", text: "pod: blue"},
	{name: "canary-of", host: "canary.annotations", annotations: "canary true\ncanary-by-header X-Canary\ncanary-by-header-value beta\ncanary-by-cookie canary\ncanary-weight 0\ncanary-weight-total 1000", service: "green", effect: canaryOrder},
	{name: "canary-pattern", text: "pod: blue"},
	{name: "canary-pattern-of", host: "canary-pattern.annotations", annotations: "canary true\ncanary-by-header X-Canary\ncanary-by-header-pattern ^be.a$", service: "green", headers: "X-Canary: beta", text: "pod: green"},
	{name: "canary-weight"},
	{name: "canary-weight-of", host: "canary-weight.annotations", annotations: "canary true\ncanary-weight 500\ncanary-weight-total 1000", service: "green", effect: canaryHalf},
}

var guardCases = []annotated{
	{name: "allowed", annotations: "whitelist-source-range 192.0.2.0/24", status: 403},
	{name: "allowed-too", annotations: "allowlist-source-range 0.0.0.0/0", text: "pod: blue"},
	{name: "allowed-not", annotations: "allowlist-source-range 192.0.2.0/24", status: 403},
	{name: "denied", annotations: "denylist-source-range 0.0.0.0/0", status: 403},
	{name: "auth", annotations: authURL + "200?auth\nauth-method POST\nauth-response-headers X-Echo-Pod\nauth-request-redirect /x\nauth-proxy-set-headers annotation-headers", url: "/", headers: "X-Echo-Pod: mallory", text: "pod: blue\nheader X-Echo-Pod: green\n!mallory",
		effect: questionSays("/status/200", "method: POST\nquery: auth\nheader X-Auth-Request-Redirect: /x\nheader X-Custom: yes\nheader X-Original-Method: GET\nheader X-Original-Url: http://auth.annotations/")},
	{name: "auth-cached", annotations: "auth-url http://green.default.svc.cluster.local/cached\nauth-cache-key $http_x_key\nauth-cache-duration 200 1m", effect: answersAreKept},
	{name: "auth-cached-not", annotations: "auth-url http://green.default.svc.cluster.local/cached-not\nauth-cache-key $http_x_key\nauth-cache-duration 401 1m", effect: answersAreNotKept},
	{name: "auth-cookie", annotations: authURL + "200?header=Set-Cookie:a%3Db\nauth-always-set-cookie true", url: "/status/404", status: 404, response: "Set-Cookie: a=b"},
	{name: "auth-cookie-not", annotations: authURL + "200?header=Set-Cookie:a%3Db", url: "/status/404", status: 404, response: "Set-Cookie:"},
	{name: "auth-cookie-ok", annotations: authURL + "200?header=Set-Cookie:a%3Db", url: "/status/201", status: 201, response: "Set-Cookie: a=b"},
	{name: "auth-no", annotations: authURL + "403", status: 403},
	{name: "auth-sign", annotations: authURL + "401\nauth-signin https://$host/start\nauth-signin-redirect-param next", url: "/x", status: 302, response: "Location: https://auth-sign.annotations/start?next=http://auth-sign.annotations%2Fx"},
	{name: "password", annotations: passwords + "auth-realm Staff", status: 401, response: `WWW-Authenticate: Basic realm="Staff"`},
	{name: "password-yes", annotations: passwords, headers: "Authorization: Basic YWxpY2U6c2VjcmV0", text: "pod: blue\n!Authorization"},
	{name: "password-no", annotations: passwords, headers: "Authorization: Basic YWxpY2U6d3Jvbmc=", status: 401},
	{name: "any", annotations: passwords + "satisfy any\nallowlist-source-range 0.0.0.0/0", text: "pod: blue"},
	{name: "any-none", annotations: passwords + "satisfy any\nallowlist-source-range 192.0.2.0/24", status: 401},
	{name: "all", annotations: passwords + "satisfy all\nallowlist-source-range 0.0.0.0/0", status: 401},
	{name: "rate", annotations: "limit-rps 1\nlimit-burst-multiplier 2", effect: someAreRefused(3, 6)},
	{name: "rate-minute", annotations: "limit-rpm 1\nlimit-burst-multiplier 3", effect: someAreRefused(4, 5)},
	{name: "rate-free", annotations: "limit-rps 1\nlimit-burst-multiplier 1\nlimit-allowlist 0.0.0.0/0", effect: someAreRefused(10, 10)},
	{name: "rate-free-old", annotations: "limit-rps 1\nlimit-burst-multiplier 1\nlimit-whitelist 0.0.0.0/0", effect: someAreRefused(10, 10)},
	{name: "connections", annotations: "limit-connections 2", effect: connectionsAreCounted},
	{name: "bandwidth", annotations: "limit-rate 32\nlimit-rate-after 32", effect: bandwidthIsBounded},
}

var certificateCases = []annotated{
	{name: "client", tls: true, annotations: "auth-tls-secret annotation-ca\nauth-tls-verify-client on\nauth-tls-pass-certificate-to-upstream true", effect: clientIsKnown},
	{name: "client-optional", tls: true, annotations: "auth-tls-secret annotation-ca\nauth-tls-verify-client optional", effect: clients("200 NONE", "200 SUCCESS", "400")},
	{name: "client-any", tls: true, annotations: "auth-tls-secret annotation-ca\nauth-tls-verify-client optional_no_ca", effect: clients("200 NONE", "200 SUCCESS", "200 FAILED")},
	{name: "client-cn", tls: true, annotations: "auth-tls-secret annotation-ca\nauth-tls-match-cn CN=alice", effect: clients("400", "200 SUCCESS", "400")},
	{name: "client-cn-not", tls: true, annotations: "auth-tls-secret annotation-ca\nauth-tls-match-cn CN=bob", effect: clients("400", "403", "400")},
	{name: "client-page", tls: true, annotations: "auth-tls-secret annotation-ca\nauth-tls-error-page https://help.example/", url: "https://client-page.annotations/", status: 302, response: "Location: https://help.example/"},
	{name: "client-depth", tls: true, annotations: "auth-tls-secret annotation-ca\nauth-tls-verify-depth 1", effect: depthSuffices(true)},
	{name: "client-depth-not", tls: true, annotations: "auth-tls-secret annotation-ca\nauth-tls-verify-depth 0", effect: depthSuffices(false)},
}

var responseCases = []annotated{
	{name: "cors", annotations: "enable-cors true\ncors-allow-origin https://*.cors.example\ncors-allow-methods GET\ncors-allow-headers X-A\ncors-expose-headers X-B\ncors-allow-credentials false\ncors-max-age 5", method: "OPTIONS", headers: "Origin: https://a.cors.example",
		status: 204, response: "Access-Control-Allow-Origin: https://a.cors.example\nAccess-Control-Allow-Methods: GET\nAccess-Control-Allow-Headers: X-A\nAccess-Control-Expose-Headers: X-B\nAccess-Control-Max-Age: 5\nAccess-Control-Allow-Credentials:"},
	{name: "cors-error", service: "nobody", annotations: "enable-cors true", headers: "Origin: https://a.example", status: 503, response: "Access-Control-Allow-Origin: *\nAccess-Control-Allow-Credentials: true"},
	{name: "cors-refused", annotations: "enable-cors true\ndenylist-source-range 0.0.0.0/0", headers: "Origin: https://a.example", status: 403, response: "Access-Control-Allow-Origin: *"},
	{name: "errors", annotations: "custom-http-errors 418\ndefault-backend green", url: "/status/418", status: 200, text: "pod: green\nheader X-Code: 418\nheader X-Ingress-Name: errors"},
	{name: "errors-own", annotations: "custom-http-errors 418\ndefault-backend green\ndisable-proxy-intercept-errors true", url: "/status/418", status: 418, text: "pod: blue"},
	{name: "errors-nobody", annotations: "custom-http-errors 418\ndefault-backend nobody", url: "/status/418", status: 404, text: "nobody to ask"},
	{name: "spare", service: "nobody", annotations: "default-backend green", url: "/x?y", text: "pod: green\npath: /x\nquery: y\nheader X-Code: 503\nheader X-Service-Name: nobody"},
	{name: "accel", url: "/status/200?header=X-Accel-Redirect:/sent%3Fon&header=X-Accel-Expires:9", text: "path: /sent\nquery: on", response: "X-Accel-Redirect:\nX-Accel-Expires:"},
	{name: "mirror", annotations: "mirror-target http://green.default.svc.cluster.local/copy$request_uri\nmirror-host copy.internal\nmirror-request-body off", effect: copyIs("/copy/m", "method: POST\nhost: copy.internal\n!body:")},
	{name: "mirror-body", annotations: "mirror-target http://green.default.svc.cluster.local/whole$request_uri", effect: copyIs("/whole/m", "method: POST\nhost: green.default.svc.cluster.local\nbody: sent")},
	{name: "seen", service: "green", annotations: "enable-global-auth false", url: "/seen?path=/none", text: "seen: 0"}, // whom effects ask
	{name: "revised", annotations: "proxy-cookie-domain in.example out.example\nproxy-cookie-path /in /out\nproxy-redirect-from http://in.example/\nproxy-redirect-to https://out.example/",
		url: "/status/302?header=Location:http://in.example/x&header=Set-Cookie:a%3Db%3B+Domain%3Din.example%3B+Path%3D/in/x", status: 302, response: "Location: https://out.example/x\nSet-Cookie: a=b; Domain=out.example; Path=/out/x"},
	{name: "headers-not", annotations: "custom-headers default/annotation-headers", response: "X-Custom:"}, // no option allows it
	{name: "snippet-not", annotations: "configuration-snippet more_set_headers \"X-A: b\";\nserver-snippet return 404;", response: "X-A:", text: "pod: blue"},
	{name: "snippet-guard", annotations: "auth-snippet proxy_set_header a b;", text: "pod: blue"},
}

// optionCases are asked with the options of optionsManifest.
var optionCases = []annotated{
	{name: "global", options: true, status: 403},
	{name: "auth-open", options: true, annotations: "enable-global-auth false", text: "pod: blue"},
	{name: "headers", options: true, annotations: "enable-global-auth false\ncustom-headers default/annotation-headers", response: "X-Custom: yes"},
	{name: "snippet", options: true, annotations: "enable-global-auth false\nconfiguration-snippet more_set_headers \"X-A: b\";", response: "X-A: b", text: "pod: blue"},
	{name: "snippet-server", options: true, annotations: "enable-global-auth false\nserver-snippet return 418;", status: 418},
	{name: "snippet-auth", options: true, annotations: authURL + "202?snippet\nauth-snippet proxy_set_header X-Snippet b;", url: "/", text: "pod: blue", effect: questionSays("/status/202", "header X-Snippet: b")},
	{name: "default-backend", options: true, annotations: "enable-global-auth false\ncustom-http-errors 418", url: "/status/418", text: "pod: green\nheader X-Code: 418"},
	{name: "traced", options: true, annotations: "enable-global-auth false\nenable-opentelemetry true\nopentelemetry-operation-name told-as-this\nopentelemetry-trust-incoming-span false", effect: spanIsSent},
	{name: "packed", options: true, annotations: "enable-global-auth false", url: "/x?" + strings.Repeat("long", 200), headers: "Accept-Encoding: gzip", response: "Content-Encoding: gzip\nVary: Accept-Encoding\nContent-Length:"},
	{name: "default-host", options: true, annotations: "enable-global-auth false", url: "http://nobodys.annotations/x", text: "pod: green"},
}
