// Package zone plans the cluster's DNS zone: which names each Service has and
// what they answer, by the Kubernetes DNS specification 1.1
// (github.com/kubernetes/dns, docs/specification.md).
//
// It is pure and works one Service at a time, so that a change costs what the
// changed Service costs. It knows nothing of the wire format, of sockets and of
// names outside the zone; package dns serves what is planned here.
//
// Invariants: everything below "SERVICE.NAMESPACE.svc.ZONE" belongs to that one
// Service. Lists are sorted and free of duplicates, so equal inputs plan equally.
package zone
