package nginx

import "strings"

// unsupported returns the keys that ingress-nginx v1.15 knows (its page
// "Annotations Scope and Risk", and aliases) and this package does not. It
// tells a missing feature from a spelling mistake.
func unsupported() []string { return strings.Fields(unsupportedKeys) }

const unsupportedKeys = `
affinity-canary-behavior affinity-mode auth-always-set-cookie auth- cache-duration auth-cache-key auth-
keepalive auth-keepalive-requests auth-keepalive-share-vars auth-keepalive- timeout auth-method auth-proxy-
set-headers auth-realm auth-request-redirect auth-response-headers auth-secret auth-secret-type auth-signin
auth-signin-redirect-param auth-snippet auth-tls-error-page auth-tls-match-cn auth-tls-pass-certificate-to-
upstream auth-tls-secret auth-tls-verify-client auth-tls-verify-depth auth-type auth-url canary-by- cookie
canary- weight configuration-snippet connection-proxy-header cors-allow- credentials custom- headers custom-
http-errors default-backend disable-proxy-intercept-errors enable-access- log enable-global-auth enable-
modsecurity enable-opentelemetry enable-owasp-core-rules enable- rewrite-log fastcgi-index fastcgi-params-
configmap from- to-www-redirect http2-push-preload limit-rate limit- rate-after load- balance mirror-host
mirror-request-body mirror-target modsecurity-snippet modsecurity-transaction-id opentelemetry-operation-name
opentelemetry-trust- incoming-span preserve-trailing-slash proxy-busy- buffers-size proxy-cookie-domain proxy-
cookie-path proxy- max-temp- file- size proxy-next-upstream proxy-next-upstream-timeout proxy- redirect-from
proxy-redirect-to proxy-ssl-ciphers proxy-ssl-name proxy-ssl-protocols proxy-ssl-secret proxy-ssl-server-name
proxy-ssl-verify proxy-ssl-verify- depth relative- redirects satisfy server-snippet service-upstream session-
cookie-change-on- failure session- cookie-conditional-samesite-none session- cookie-name session-cookie-
partitioned ssl- ciphers ssl-passthrough ssl-prefer-server-ciphers stream-snippet upstream-hash-by upstream-
hash-by-subset upstream- hash-by-subset-size use-port-in-redirects
`
