// Package fairway reads Fairway's own annotations: of Services, how requests are spread
// over their endpoints, and how much each may get, as what is known of an endpoint
// belongs to its Service and not to the Ingress that leads there; of Ingresses, which
// requests beside those for a host and path they are for. Every annotation is declared
// once, in the table of its kind.
package fairway

//go:generate go run ./page
