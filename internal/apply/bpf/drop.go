package bpf

import "fmt"

// Drop is a reason for which the datapath drops a packet. The values are those
// of enum drop in bpf/lib/types.h; TestDropsMatchC compares them.
type Drop uint8

// The reasons.
const (
	DropNone Drop = iota
	DropMalformed
	DropSpoofed
	DropPodUnknown
	DropPolicyIngress
	DropPolicyEgress
	DropNoEndpoints
	DropNoLocalEndpoints
	DropUnknownPort
	DropSourceRange
	DropNoNATPort
	DropTableFull
	DropRewrite
	DropNoRoute
	DropTTL
	DropFragment
	DropUnallocated
	DropBackendGone
	DropNoFlow
	DropHandover
	NumDrops int = iota
)

var dropNames = [NumDrops]string{
	"None", "Malformed", "Spoofed", "PodUnknown", "PolicyIngress", "PolicyEgress", "NoEndpoints", "NoLocalEndpoints",
	"UnknownPort", "SourceRange", "NoNATPort", "TableFull", "Rewrite", "NoRoute", "TTL", "Fragment",
	"Unallocated", "BackendGone", "NoFlow", "Handover",
}

// String is the reason in CamelCase, as metrics and explain show it.
func (d Drop) String() string {
	if int(d) < NumDrops {
		return dropNames[d]
	}
	return fmt.Sprintf("Drop(%d)", uint8(d))
}

// OfService reports whether the reason lies with a Service, and not with a
// policy or with the packet.
func (d Drop) OfService() bool {
	switch d {
	case DropNoEndpoints, DropNoLocalEndpoints, DropUnknownPort, DropSourceRange, DropNoNATPort, DropTableFull:
		return true
	}
	return false
}
