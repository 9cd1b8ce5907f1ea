// Package proxy is the HTTP proxy that a route.Plan is served with.
//
// It decides nothing about routing: the plan says which rule a request has and
// which endpoints a backend has, the proxy moves bytes. It talks to endpoints
// directly, never through a ClusterIP. HTTP/1.1 and HTTP/2 are spoken by our own
// engines (packages h1 and h2), on both sides, over the connections of package sock.
// One goroutine serves a client's connection (HTTP/1) or stream (HTTP/2), writes the
// request to the endpoint and reads the response; another one moves a long body only
// while somebody has to be waited for (pump).
//
// The files follow a request: server (life cycle), handover (to the next process),
// listen (connections), preamble (what comes before HTTP and TLS), tls, layer4 (ports
// that are passed on as they are); the clients, front with deliver and answer
// (HTTP/1), stream (HTTP/2), third and errand (HTTP/3); handler (which rule, and what it asks
// for in which order), policy and limit (who may ask), forward (which backend), call
// (attempts, and the way of the response), header, pool, balance with hash, affinity, capacity and pace (which endpoint), endpoint and check (what is known of one); the endpoints, link (HTTP/1), mux (HTTP/2) and script (FastCGI), pump and hold (bodies of requests), backlog and compress (of responses).
// Last: respond (answers of our own), accesslog, trace, metrics, admin. Every client
// is a downstream of a call, every endpoint an upstream, and both see heads in the
// form of HTTP/1. Invariants:
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
