// Package fairway reads Fairway's own annotations of Services: how requests are
// spread over a Service's endpoints, and how much each may get. What is known of
// an endpoint belongs to its Service, not to the Ingress that leads there, and so do
// these. Every annotation is declared once, in the table.
package fairway

//go:generate go run ./page
