package zone

import (
	"fmt"
	"net/netip"
	"strings"
)

// Version is what dns-version.ZONE answers: the version of the specification.
const Version = "1.1.0"

// versionTTL is 8 hours, as CoreDNS has it: the record never changes while a server runs.
const versionTTL = 28800

// Fixed lists the records that the zone has without any Service: SOA, NS with
// its glue, and the specification's version.
func Fixed(p Params, serial uint32) []RR {
	apex := p.Zone + "."
	ns := "ns.dns." + apex
	out := []RR{
		{Name: apex, TTL: p.TTL, Type: SOA, Target: ns, Text: "hostmaster." + apex, Timers: [5]uint32{serial, 7200, 1800, 86400, p.TTL}},
		{Name: apex, TTL: p.TTL, Type: NS, Target: ns},
		{Name: "dns-version." + apex, TTL: versionTTL, Type: TXT, Text: Version},
	}
	for _, a := range p.DNS {
		out = append(out, address(ns, p.TTL, a))
	}
	return out
}

// Dashed is the label of an endpoint without a hostname. A label must not end
// in a dash, so "fd00::" is "fd00--0".
func Dashed(a netip.Addr) string {
	if a.Is4() {
		return strings.ReplaceAll(a.String(), ".", "-")
	}
	s := strings.ReplaceAll(a.String(), ":", "-")
	if strings.HasSuffix(s, "-") {
		s += "0"
	}
	return s
}

// ParseDashed is the inverse of Dashed; pods are named like this under pod.ZONE.
func ParseDashed(label string) (netip.Addr, bool) {
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		if a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil {
			return a, true
		}
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return a, err == nil && a.Is6() && !a.Is4In6()
}

// ReverseName is the name under in-addr.arpa or ip6.arpa.
func ReverseName(a netip.Addr) string {
	if a.Is4() {
		b := a.As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa.", b[3], b[2], b[1], b[0])
	}
	const hex = "0123456789abcdef"
	var sb strings.Builder
	b := a.As16()
	for i := 15; i >= 0; i-- {
		sb.Write([]byte{hex[b[i]&15], '.', hex[b[i]>>4], '.'})
	}
	return sb.String() + "ip6.arpa."
}
