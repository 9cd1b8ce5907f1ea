// Package proxy is the HTTP proxy that a route.Plan is served with.
//
// It decides nothing about routing: the plan says which rule a request has and
// which endpoints a backend has, the proxy moves bytes. It talks to endpoints
// directly, never through a ClusterIP. HTTP/1.1 is spoken by our own engine (package
// h1), where one goroutine serves a client's connection, writes the request to the
// endpoint and reads the response; HTTP/2, on either side, by net/http.
//
// The files follow a request: server (life cycle), listen (connections), tls, front
// (an HTTP/1 client), handler (which rule, and what it asks for in which
// order), policy and limit (who may ask), header, pool and endpoint (which
// endpoint). With HTTP/1 on both sides then: relay (attempts), link (connections to
// endpoints), pump (bodies of requests), deliver (responses). Else: adapt (from
// front to net/http), forward, retry, timeout. Last: respond (answers of our own),
// answer (their way to an HTTP/1 client), accesslog, metrics, admin. Invariants:
//
//   - Apply swaps the plan as a whole. A request keeps the rule that it began
//     with; no connection, stream or upgraded connection is ever closed because
//     of a change.
//   - A request is offered to another endpoint only if the first cannot have
//     acted on it, or the method says that acting twice does no harm.
//   - Bodies are always framed anew, so that a backend never sees another end of
//     a request than we did, and a path never means more to it than to us
//     (route.CanonicalPath). A request that two readers could read in two ways
//     gets 400, and its connection ends.
package proxy
