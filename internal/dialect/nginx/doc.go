// Package nginx reads the annotations of ingress-nginx into a typed value.
//
// Every annotation is declared once, in the tables of its groups, with its
// parser, scope, risk and documentation. A value becomes a Go value or an
// error, never text that something else interprets: that is how ingress-nginx
// came by CVE-2025-1974. The package does not know routes; package plan/route
// says what a setting means for a request.
package nginx

//go:generate go run ./page
