package report

import (
	"fmt"
	"strings"

	"github.com/fairway-net/fairway/internal/plan/service"
)

// why says a verdict in words; nothing where "ready" has said it.
func why(v service.Verdict, e *service.Endpoint, p *service.Port, at here) string {
	switch v {
	case service.Draining:
		return "it is terminating, but no other is ready"
	case service.NotReady:
		return "it is not ready"
	case service.Terminating:
		return "it is terminating, and others are ready"
	case service.NotServing:
		return "it is terminating, and serves no longer"
	case service.OtherNode:
		return fmt.Sprintf("its hint is for %s", strings.Join(e.NodeHints, ", "))
	case service.OtherZone:
		return fmt.Sprintf("its hint is for zone %s, and %s is in %s", strings.Join(e.ZoneHints, ", "), at.node, at.zone)
	case service.NotLocal:
		if e.Node == "" {
			return fmt.Sprintf("policy Local, and its slice does not say that it is on %s", at.node)
		}
		return fmt.Sprintf("policy Local, and it is on %s", e.Node)
	case service.OtherFamily:
		return fmt.Sprintf("the Service is IPv%d only", p.Family)
	case service.DomainName:
		return "a domain name, which no proxy can use"
	case service.HeadlessSlice:
		return fmt.Sprintf("EndpointSlice %s has the label service.kubernetes.io/headless", e.Slice)
	case service.NoPort:
		return fmt.Sprintf("EndpointSlice %s has no port %q for %v", e.Slice, p.Name, p.Protocol)
	case service.Duplicate:
		return "it is listed twice, and another entry counts"
	}
	return ""
}
