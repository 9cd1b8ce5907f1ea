// Package fairway reads Fairway's own annotations: of Services, how requests are spread
// over their endpoints, and how much each may get, as what is known of an endpoint
// belongs to its Service and not to the Ingress that leads there; of Ingresses, what their
// rules ask of requests beside host and path, and whether CONNECT is followed. Every
// annotation is declared once, in the table of its kind.
package fairway

//go:generate go run ./page
