// Package dns is the DNS server: sockets, and who answers what.
//
//	query → wire.Query → zone (index) ─ ours ────────────────→ reply
//	                       └─ not ours → cache (forward) ─ hit → reply
//	                                       └─ miss: a goroutine → upstream → reply
//
// A name of the cluster, and a name in the cache, is answered on the goroutine
// that read the packet, without allocating. It knows nothing of Kubernetes:
// package agent connects it to the state. Invariants: cluster names are never
// cached and never forwarded; the goroutines that wait for upstream are bounded.
package dns
