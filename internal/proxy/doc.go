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
// The files follow a request:
//
//   - the process: server (life cycle), handover (to the next process), listen (its
//     connections), tls, preamble (what comes before HTTP and TLS), layer4 (ports and names
//     that are passed on as they are), admin
//   - clients: front with deliver and answer (HTTP/1), stream (HTTP/2), third with errand and
//     quic (HTTP/3), clients (their limits). Each is a downstream of a call
//   - what a rule asks for: handler (in which order), client and policy (who it is, and who may
//     ask), clientcert, distinguished, password, digest, auth, limit, connect, header, variable
//   - which endpoint: forward (which backend), pool, balance with hash, affinity, capacity and
//     pace; endpoint and check (what is known of one)
//   - the exchange with it: call (attempts, and the way of the response), prepare, hold (bodies
//     that wait until all has come), pump (bodies under way), mirror with spool; link (HTTP/1), mux
//     (HTTP/2) and script (FastCGI). Each is an upstream of a call
//   - the response: revise and replace, accel, compress, throttle, backlog, errorpage, respond
//     (answers of our own)
//   - what is told of it: accesslog, logformat, trace, metrics, routemetric
//
// Upstreams and downstreams see heads in the form of HTTP/1. Invariants:
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
