package cluster

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/fairway-net/fairway/internal/cli"
)

// IPFamily says which address families a cluster has. "" is what its
// serviceSubnets are of, and IPv4 without any.
type IPFamily string

// The families; Dual is both, IPv4 being the primary one unless serviceSubnets
// begin with IPv6.
const (
	IPv4 IPFamily = "ipv4"
	IPv6 IPFamily = "ipv6"
	Dual IPFamily = "dual"
)

// of returns those of a list that belong to IPv4 or IPv6.
func (f IPFamily) of(list []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		if p.Addr().Is6() == (f == IPv6) {
			out = append(out, p)
		}
	}
	return out
}

// families returns the families of the cluster's addresses, primary first.
func (n Networking) families() ([]IPFamily, error) {
	given, err := prefixes("serviceSubnets", n.Services)
	if err != nil {
		return nil, err
	}
	v6first := len(given) > 0 && given[0].Addr().Is6()
	both := len(IPv4.of(given)) > 0 && len(IPv6.of(given)) > 0
	switch {
	case n.IPFamily == IPv4, n.IPFamily == IPv6:
		return []IPFamily{n.IPFamily}, nil
	case n.IPFamily != "" && n.IPFamily != Dual:
		return nil, cli.Hint(fmt.Errorf("ipFamily %q is not known", n.IPFamily), "use ipv4, ipv6 or dual")
	case (n.IPFamily == Dual || both) && v6first:
		return []IPFamily{IPv6, IPv4}, nil
	case n.IPFamily == Dual || both:
		return []IPFamily{IPv4, IPv6}, nil
	case v6first:
		return []IPFamily{IPv6}, nil
	}
	return []IPFamily{IPv4}, nil
}

// List is a list of strings that may be written as one string.
type List []string

// UnmarshalJSON takes a string or a list of them.
func (l *List) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*l = List{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}
