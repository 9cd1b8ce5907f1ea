// Package proxy is the HTTP proxy that a route.Plan is served with.
//
// It decides nothing about routing: the plan says which rule a request has and
// which endpoints a backend has, the proxy moves bytes. It talks to endpoints
// directly, never through a ClusterIP. The files follow a request: server
// (listeners, life cycle), tls, handler (which rule, and what it asks for in which
// order), policy and limit (who may ask), header, forward (the exchange with a
// backend), retry, timeout, pool and endpoint (which endpoint), respond (answers of
// our own), accesslog, metrics, admin. Invariants:
//
//   - Apply swaps the plan as a whole. A request keeps the rule that it began
//     with; no connection, stream or upgraded connection is ever closed because
//     of a change.
//   - A request is offered to another endpoint only if the first cannot have
//     acted on it, or the method says that acting twice does no harm.
//   - Bodies are always framed anew, so that a backend never sees another end of
//     a request than we did, and a path never means more to it than to us
//     (route.CanonicalPath).
package proxy
